"""CAFE: condensing data by aligning features (Wang et al., CVPR 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets.layers import ACTIVATIONS
from ..nets.memory import split
from .dc import train_network
from .matching import Matching
from .method import Kept, siamese_strategy
from .run import Run

HALVED = (0.6, 0.8, 0.9)  # of the rounds: after 1,200, 1,600 and 1,800 of 2,000
WINDOW = 10  # accuracies whose range decides whether a loop ends
TESTED = 128  # real images a class that an accuracy is of
OF_BLOCK = tuple({type(make()) for make in ACTIVATIONS.values()})


def maps(net: nn.Module, images: Tensor, shallow: float, deep: float) -> tuple[Tensor, Tensor]:
    """Maps after each block, flat, side by side and times the root of their weight, [N, P]; and the features, [N, E].

    A block ends in an activation, or is one of residual layers. The last map and the features weigh `deep`, the
    features twice (before and after they are flattened), the maps before them `shallow`.
    """
    found, x = [], images
    for module in net.features:  # type: ignore[union-attr]
        x = module(x)
        if isinstance(module, OF_BLOCK) or next(module.children(), None) is not None:
            found.append(x.flatten(1))
    features = x.flatten(1)
    weights = [*[shallow] * (len(found) - 1), *[deep] * min(len(found), 1), 2 * deep]
    return torch.cat([math.sqrt(w) * f for w, f in zip(weights, [*found, features], strict=True)], 1), features


def logits(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)


def summed_maps(
    net: nn.Module, images: Tensor, shallow: float, deep: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The maps summed over images, [P], and the features of each, [N, E]. weights : [N], 1 if None."""
    flat, features = maps(net, images, shallow, deep)
    return flat.sum(0) if weights is None else weights @ flat, features


def summed(
    net: nn.Module, images: Tensor, shallow: float, deep: float, centres: Tensor, label: Tensor,
    weights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The maps, and the pull of `pulls`, side by side and summed over images: [P + E]. weights : [N], 1 if None."""
    flat, features = maps(net, images, shallow, deep)
    each = torch.cat([flat, pulls(features, centres, label)], 1)
    return each.sum(0) if weights is None else weights @ each


def pulls(features: Tensor, centres: Tensor, label: Tensor) -> Tensor:
    """Slope of each real image's cross-entropy, classified by `centres`, in the centre of its own class: [N, E]."""
    likelihood = (features @ centres.T).softmax(1)[:, label]
    return (likelihood - 1)[:, None] * features


@dataclass(frozen=True)
class CAFE(Matching):
    """Match the mean maps after every block, and let class means of synthetic features classify real ones.

    shallow, deep : weights of the maps of all blocks but the last, and of the last.
    inner_weight  : of the discrimination loss, a sum over real images.
    network_lr    : SGD, no momentum, in training the network on the synthetic set inside a round.
    steady : a round ends when ten accuracies on real images, one a step, lie closer together than this.
    rising : between two steps the network trains until its last ten accuracies, one an epoch, lie further apart.
    most   : steps of a round, and epochs between two of them, at most (the reference has no limit).
    augment : under the augmentation of DSA ("CAFE+DSA").
    `image_lr` is halved after 60, 80 and 90 % of the rounds.
    Raises InputError for a value out of range.
    Source: Wang et al., CAFE: Learning to Condense Dataset by Aligning Features, CVPR 2022, and its code; supplement
    Sec. 6.3, whose "inner layer" weight is that of the discrimination loss.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("cafe", iterations=1, most=2), train, ipc=1, network="convnet:depth=1,width=4")
    >>> made.images.shape, made.meta["init"]
    (torch.Size([10, 1, 8, 8]), 'noise')
    """

    name: ClassVar[str] = "cafe"
    parts: ClassVar[str] = "task"
    summary: ClassVar[str] = "aligned features of every block, discrimination by class means, dynamic loops"
    judged_like: ClassVar[str] = "dc"
    small: ClassVar[Mapping[str, Any]] = {"iterations": 20, "batch": 64, "most": 10}

    iterations: int = 2000
    image_lr: float = 0.1
    network_lr: float = 0.01
    shallow: float = 0.1
    deep: float = 1.0
    inner_weight: float = 0.01
    steady: float = 0.04
    rising: float = 0.03
    most: int = 50
    augment: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise InputError(f"cafe: most = {self.most}: must be at least 1")

    def strategy(self, data: ImageData) -> str:
        return siamese_strategy(self, data)

    def passes(self, ipc: int) -> int:  # noqa: ARG002
        return min(WINDOW, self.most)

    def prepare(self, run: Run) -> Rounds:  # noqa: ARG002
        return Rounds()

    # The real side as a mean over samples: maps, and the pull on the class's centre. The pull is of the discrimination
    # loss at the present centres, which makes the gradient exact and the effect of a sample a difference of means.

    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        if not real:
            flat, features = maps(run.net, images, self.shallow, self.deep)
            return [flat.mean(0), features.mean(0)]
        centres = self.centres(run)
        with torch.no_grad():
            parts = run.in_chunks(summed, images, self.shallow, self.deep, centres, run.classes[label])
            total = torch.stack(list(parts)).sum(0) / len(images)
        flat, pull = total.split([len(total) - centres.shape[1], centres.shape[1]])
        return [flat, self.nominal(run, label) * pull]

    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:
        centres = self.centres(run)
        with torch.no_grad():
            found = [maps(run.net, part, self.shallow, self.deep) for part in split(images)]
            flat, features = (torch.cat(parts) for parts in zip(*found, strict=True))
        return [flat, self.nominal(run, label) * pulls(features, centres, run.classes[label])]

    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        return ((synthetic[0] - real[0]) ** 2).sum() + self.inner_weight * (synthetic[1] @ real[1])

    def nominal(self, run: Run, label: int) -> int:
        """Real images whose losses the sum is of: a full batch, however many of it survive adaptive pruning."""
        return min(run.batches.size, len(run.batches.members[label]))

    def centres(self, run: Run) -> Tensor:
        """Mean features of the synthetic images of each class: [classes, E], detached."""
        with torch.no_grad():
            features = run.net.embed(self.decoded(run, run.images))
        return features.unflatten(0, (run.data.num_classes, -1)).mean(1)

    def step(self, run: Run) -> Tensor:
        run.fresh_network()
        state: Rounds = run.state
        for group in run.optimizer.param_groups:
            group["lr"] = self.image_lr * 0.5 ** sum(state.done >= share * self.iterations for share in HALVED)
        state.done += 1
        seen, accuracies = torch.zeros((), device=run.images.device), []
        while True:
            loss = self.joint_loss(run)
            loss.backward(inputs=[run.images])
            run.descend()
            seen += loss.detach()
            accuracies.append(self.accuracy(run))
            if len(accuracies) >= self.most or _range(accuracies) < self.steady:
                return seen / (len(accuracies) * run.data.num_classes)
            self.train(run)

    def joint_loss(self, run: Run) -> Tensor:
        """The loss of all classes; the discrimination loss sees them together."""
        pairs = [self.pair(run, label, self.chosen(run, label)) for label in range(run.data.num_classes)]
        _, synthetic, real = zip(*pairs, strict=True)
        ours, ours_features = maps(run.net, torch.cat(synthetic), self.shallow, self.deep)
        with torch.no_grad():
            theirs, features = self.real_maps(run, real)
        centres = ours_features.unflatten(0, (len(pairs), -1)).mean(1)
        aligned = (ours.unflatten(0, (len(pairs), -1)).mean(1) - theirs).square().sum()
        for label, each in enumerate(features):
            target = run.classes[label].expand(len(each))
            share = self.nominal(run, label) / len(each)
            aligned = aligned + self.inner_weight * share * F.cross_entropy(each @ centres.T, target, reduction="sum")
        return aligned

    def chosen(self, run: Run, label: int) -> Tensor:
        """The next batch of a class: what adaptive pruning leaves of it."""
        if not run.batches.due(label):
            return run.batches.indices(label)
        picks, adaptive = run.batches.indices(label), run.batches.adaptive
        assert adaptive is not None
        effects = adaptive.found.norms(self.treatments(run, label, picks, adaptive.found.top), run.rng)
        return picks[run.batches.prune(label, picks, effects)]

    def real_maps(self, run: Run, real: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        """Mean maps of each class, [classes, P], and features of its images. BatchNorm has to see the classes mixed."""
        sizes = [len(images) for images in real]
        if run.batchnorms:
            flat, features = maps(run.net, torch.cat(real), self.shallow, self.deep)
            return torch.stack([part.mean(0) for part in flat.split(sizes)]), list(features.split(sizes))
        means, kept = [], []
        for images in real:
            found = run.in_chunks(summed_maps, images, self.shallow, self.deep)
            totals, each = zip(*found, strict=True)
            means.append(torch.stack(totals).sum(0) / len(images))
            kept.append(torch.cat(each)[: len(images)])  # without what a part was filled up with
        return torch.stack(means), kept

    def accuracy(self, run: Run) -> float:
        """Of the network on real images, a fresh batch of each class: a mean over classes."""
        found = []
        with torch.no_grad():
            for label in range(run.data.num_classes):
                images = run.batches(label, TESTED)
                outputs = run.net(images) if run.batchnorms else run.rows(logits, images)
                found.append((outputs.argmax(1) == label).float().mean())
        return float(torch.stack(found).mean())

    def train(self, run: Run) -> None:
        """On the synthetic set, epoch by epoch, until the accuracies on real images have moved."""
        accuracies: list[float] = []
        while len(accuracies) < self.most and not self.rising < _range(accuracies) < math.inf:
            train_network(run, self.network_lr, 1)
            accuracies.append(self.accuracy(run))


def _range(accuracies: list[float]) -> float:
    """Of the last ten; infinite before there are as many."""
    last = accuracies[-WINDOW:]
    return max(last) - min(last) if len(last) == WINDOW else math.inf


@dataclass
class Rounds(Kept):
    """Rounds that are done: the step on the images shrinks with them."""

    done: int = 0
