"""Dataset condensation with gradient matching (Zhao, Mopuri & Bilen, ICLR 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.images import ImageData
from .gradients import GradientMatching, mean_loss
from .method import siamese_strategy
from .run import Run

# (outer, inner) loops of the reference for each IPC
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def loops(ipc: int) -> tuple[int, int]:
    """(outer, inner) loops; where the reference gives none, ipc and about 500 / ipc, which its table follows.

    >>> from bilp_core.distillers.dc import loops
    >>> loops(10), loops(5)
    ((10, 50), (5, 100))
    """
    return LOOPS.get(ipc, (ipc, max(1, round(500 / ipc))))


def layerwise_cosine(synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
    """Sum over layers and output units of 1 - cos(gradients); biases and norm parameters do not count.

    Each list holds one gradient a parameter, the first dimension of weights being the output unit (Eq. 5, 6 of
    the DC paper).

    >>> import torch
    >>> from bilp_core.distillers.dc import layerwise_cosine
    >>> ours, theirs = torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, -1.0]])  # one unit agrees, one is opposite
    >>> round(float(layerwise_cosine([ours], [theirs])), 3)
    2.0
    """
    total = synthetic[0].new_zeros(())
    for a, b in zip(synthetic, real, strict=True):
        if a.ndim > 1:
            a, b = a.flatten(1), b.flatten(1)
            cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)
            total = total + (1 - cosine).sum()
    return total


def train_network(run: Run, lr: float, epochs: int) -> None:
    """Train the network of a run on the synthetic set as it is now, by SGD without momentum."""
    run.net.train()
    images = run.images.detach()
    optimizer = torch.optim.SGD(run.net.parameters(), lr=lr)
    size = min(256, len(images))
    rounds = run.method.iterations * run.method.passes(run.ipc) * epochs
    compiled = run.compiled(mean_loss, rounds * len(images) * run.data.positions, size)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=run.rng, device=run.rng.device)
        for picks in order.split(size):
            call = compiled if len(picks) == size else mean_loss
            loss = call(run.net, run.augmented(images[picks]), run.labels[picks])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@dataclass(frozen=True)
class DC(GradientMatching):
    """Match the gradient of the mean loss on synthetic images to that on real ones, class by class.

    network_lr : SGD, no momentum, in training the network on the synthetic set between outer loops.
    outer, inner : loops of a round; 0 takes those of the reference for the IPC.
    augment : under the augmentation of DSA.
    An MLP as network needs image_lr = 0.01 (a note of the reference).
    Raises InputError for a value out of range.
    Source: Zhao, Mopuri & Bilen, Dataset Condensation with Gradient Matching, ICLR 2021, Eq. 5 and 6.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("dc", iterations=2)
    >>> method.loops(ipc=1)
    (1, 1)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", seed=0)
    >>> made.images.shape, made.labels.tolist()
    (torch.Size([10, 1, 8, 8]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> made.meta["init"]
    'noise'
    """

    name: ClassVar[str] = "dc"
    summary: ClassVar[str] = "gradient matching"
    freezes_batchnorm: ClassVar[bool] = True
    parts: ClassVar[str] = "task"
    turns: ClassVar[str] = "outer"
    small: ClassVar[Mapping[str, Any]] = {"iterations": 200, "batch": 64}

    iterations: int = 1000
    image_lr: float = 0.1
    network_lr: float = 0.01
    outer: int = 0
    inner: int = 0
    augment: bool = False

    def loops(self, ipc: int) -> tuple[int, int]:
        outer, inner = loops(ipc)
        return self.outer or outer, self.inner or inner

    def strategy(self, data: ImageData) -> str:
        return siamese_strategy(self, data)

    def passes(self, ipc: int) -> int:
        return self.loops(ipc)[0]

    def weights(self, net: nn.Module) -> list[Tensor]:
        """Parameters whose gradients are matched: the distance ignores the others."""
        return [p for p in net.parameters() if p.ndim > 1]

    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        return layerwise_cosine(synthetic, real)

    def step(self, run: Run) -> Tensor:
        outer, inner = self.loops(run.ipc)
        run.fresh_network()
        seen = torch.zeros((), device=run.images.device)
        for turn in range(outer):
            self.freeze_batchnorm(run)
            for label in range(run.data.num_classes):
                loss = self.class_loss(run, label)
                loss.backward(inputs=[run.images])  # class by class: the graph of one class at a time
                seen += loss.detach()
            run.descend()
            if turn < outer - 1:
                train_network(run, self.network_lr, inner)
        return seen / (outer * run.data.num_classes)

    def freeze_batchnorm(self, run: Run) -> None:
        """Running statistics from 16 real images a class, then fixed: one image has no statistics of its own."""
        if run.batchnorms:
            run.net.train()
            with torch.no_grad():
                run.net(torch.cat([run.batches(c, 16) for c in range(run.data.num_classes)]))
            for module in run.batchnorms:
                module.eval()
