"""Dataset condensation with distribution matching (Zhao & Bilen, WACV 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.images import ImageData
from ..nets.memory import split
from .matching import Matching
from .method import siamese_strategy
from .run import Run


def summed_features(net: nn.Module, images: Tensor, weights: Tensor | None = None) -> Tensor:
    """Features before the last linear layer, summed over the images: [E]. weights : [N], 1 if None."""
    features = net.embed(images)  # type: ignore[operator]
    return features.sum(0) if weights is None else weights @ features


@dataclass(frozen=True)
class DM(Matching):
    """Match the mean features of synthetic and real images, class by class, under random untrained networks.

    augment : under the augmentation of DSA, one draw for the real and the synthetic images of a class. False on clips,
              see `check_augment`.
    Raises InputError for a value out of range.
    Source: Zhao & Bilen, Dataset Condensation with Distribution Matching, WACV 2023.

    >>> import torch
    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("dm", iterations=2), train, ipc=2, network="convnet:depth=1,width=4")
    >>> made.images.shape, made.meta["init"]
    (torch.Size([20, 1, 8, 8]), 'real')

    The loss of a class is the squared distance between two means.

    >>> float(make("dm").distance([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 5.0])]))
    9.0
    """

    name: ClassVar[str] = "dm"
    summary: ClassVar[str] = "distribution matching: mean features under random networks"
    default_init: ClassVar[str] = "real"
    parts: ClassVar[str] = "exact"
    effects: ClassVar[tuple[str, str]] = ("fine", "fine:top=4")
    small: ClassVar[Mapping[str, Any]] = {"iterations": 1000, "batch": 64}

    iterations: int = 20000
    image_lr: float = 1.0
    augment: bool = True

    def strategy(self, data: ImageData) -> str:
        return siamese_strategy(self, data)

    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:  # noqa: ARG002
        if not real:
            return [summed_features(run.net, images) / len(images)]
        with torch.no_grad():
            return [torch.stack(list(run.in_chunks(summed_features, images))).sum(0) / len(images)]

    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:  # noqa: ARG002
        with torch.no_grad():
            return [torch.cat([run.net.embed(part) for part in split(images)])]

    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        return ((synthetic[0] - real[0]) ** 2).sum()

    def step(self, run: Run) -> Tensor:
        run.fresh_network()
        if run.batchnorms:
            loss = self.joint_loss(run)
            loss.backward(inputs=[run.images])
        else:
            loss = torch.zeros((), device=run.images.device)
            for label in range(run.data.num_classes):
                if label not in run.own:
                    run.pass_over(label)
                    continue
                one = self.class_loss(run, label)
                one.backward(inputs=[run.images])
                loss += one.detach()
        run.descend()
        return loss.detach() / len(run.own)

    def joint_loss(self, run: Run) -> Tensor:
        """All classes in one forward pass: BatchNorm has to see them mixed."""
        pairs = [run.siamese(run.batches(c), run.images_of(c)) for c in range(run.data.num_classes)]
        real, synthetic = zip(*pairs, strict=True)
        with torch.no_grad():
            targets = run.net.embed(torch.cat(real)).split([len(r) for r in real])
        features = run.net.embed(torch.cat(synthetic)).split([len(s) for s in synthetic])
        return torch.stack(
            [self.distance([f.mean(0)], [t.mean(0)]) for f, t in zip(features, targets, strict=True)]
        ).sum()
