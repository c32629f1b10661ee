"""Kernel inducing points, KIP (Nguyen et al., ICLR 2021 and NeurIPS 2021), judged on finite networks ("KIP-NN")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..data.images import ImageData
from ..errors import InputError
from ..nets.kernels import HELD, Kernel
from ..nets.memory import free_memory
from ..nets.networks import kernel_network
from ..nets.recipe import LOSSES, centred
from ..pruning import ite
from .regression import Regression, factored, sides
from .run import Run

CHUNK_BYTES = 2**29  # of pairs that pass together on a CPU


@dataclass(frozen=True)
class KIP(Regression):
    """Learn images and labels from which kernel ridge regression predicts real labels, the kernel being the exact one
    of a network of endless width, and no network drawn.

    The network of a run plays no part in distilling; it judges. Published on `kernel-convnet:stem=conv,width=1024`.

    iterations : steps; the code's default is 300 and calls 1,000 or more converged, published sets have up to 50,000.
                 BiLP takes "longer training steps" (Sec. 6.3).
    image_lr, image_momentum : Adam on images and labels.
    batch  : real images a step, the same number of each class, without repetition; of smaller classes, all.
    zca    : 'auto' whitens, but not grey images nor those too large.
    kernel : 'fc', 'conv' (no pooling) or 'convnet' (averages after each block). depth : its hidden layers or blocks.
    stem   : whether a convolution comes before the blocks. head : 'flat' or 'global'. of : 'ntk' or 'nngp'.
    learn_labels : whether labels move from where they start, centred one-hot vectors, as in BiLP (Sec. 6.3). On our
                 digits fixed ones teach finite networks more, so they are fixed there.
    ridge  : in units of the kernel's mean diagonal element.
    hours  : longer than which a run is not begun, by the time that its first pairs take.
    Labels are float32 [classes x ipc, classes].
    Raises InputError for a value that is not allowed, fewer than two classes, images too alike to be told apart (see
    `regressed`), and a run that cannot fit in memory or time.
    Source: Nguyen, Chen & Lee, Dataset Meta-Learning from Kernel Ridge-Regression, ICLR 2021; Nguyen, Novak, Xiao &
    Lee, Dataset Distillation with Infinitely Wide Convolutional Networks, NeurIPS 2021, and their notebooks.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("kip", iterations=3, batch=100), train, ipc=1)
    >>> made.images.shape, made.labels.shape, made.hard_labels.tolist()
    (torch.Size([10, 1, 8, 8]), torch.Size([10, 10]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    name: ClassVar[str] = "kip"
    summary: ClassVar[str] = (
        "ridge regression with the exact kernel of an endlessly wide network; published on kernel-convnet:stem=conv"
    )
    learns: ClassVar[str] = "images, labels"
    default_init: ClassVar[str] = "real"
    judged_like: ClassVar[str] = "kip"
    small: ClassVar[Mapping[str, Any]] = {"iterations": 300, "batch": 500, "learn_labels": False}

    iterations: int = 5000
    image_lr: float = 0.04
    image_momentum: float = 0.9
    batch: int = 5000
    zca: str = "auto"
    kernel: str = "fc"
    depth: int = 1
    stem: bool = False
    head: str = "flat"
    of: str = "ntk"
    learn_labels: bool = True
    ridge: float = 1e-6
    hours: float = 48.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem and self.kernel == "fc":
            raise InputError("kip: stem = True: must be False with kernel = 'fc', which has no convolutions")
        self.function()

    def function(self) -> Kernel:
        return Kernel(self.kernel, self.depth, self.head, self.of, self.stem)

    def network(self, data: ImageData) -> str:
        return kernel_network(data.shape)

    def resolved(self, data: ImageData, ipc: int) -> KIP:  # noqa: ARG002
        zca = self.whitening(data)
        self.fits(data)
        return replace(self, zca=zca)

    def fits(self, data: ImageData) -> int:
        """Pairs of images that pass together. Raises InputError if not even one does."""
        held = HELD * self.function().numbers(data.shape)
        free = CHUNK_BYTES if data.device.type == "cpu" else free_memory(data.device) // 2
        if held > 8 * free:
            raise InputError(
                f"kip: one pair of {data.shape[1]}x{data.shape[2]} images takes {held / 2**30:.1f} GB with kernel = "
                f"{self.kernel!r}, depth = {self.depth}, head = {self.head!r}, more than the {8 * free / 2**30:.1f} GB "
                f"there are for it; smaller images or head = 'flat' need less"
            )
        return max(1, free // held)

    def prepare(self, run: Run) -> None:
        run.labels = centred(run.labels, run.data.num_classes)
        learned = [run.images, run.labels.requires_grad_()] if self.learn_labels else [run.images]
        run.optimizer = torch.optim.Adam(learned, self.image_lr, (self.image_momentum, 0.999))
        self.check_time(run)

    def check_time(self, run: Run) -> None:
        """Raise InputError if all steps would take longer than `hours`, by what a few pairs take."""
        support, targets = len(run.images), sum(len(picks) for picks in self.by_class(run, shuffled=False))
        rows = max(1, min(targets, self.fits(run.data) // support, 16))
        some = run.data.batch(torch.arange(min(rows, len(run.data)), device=run.images.device))
        begin = 0.0
        for _ in range(2):  # what only a first pass costs is not counted
            begin = time.perf_counter()
            total = self.function()(some, run.images).sum()
            float(torch.autograd.grad(total, run.images)[0].sum())
        pairs = support * (support + targets)
        # a step passes once without and once with its graph
        hours = 1.5 * self.iterations * pairs * (time.perf_counter() - begin) / (len(some) * support) / 3600
        if hours > self.hours and rows * support < pairs:
            raise InputError(
                f"kip: {self.iterations} steps on {pairs} pairs of images take about {hours:.0f} hours here, more than "
                f"hours = {self.hours:g}; kernel = 'fc', a smaller batch or fewer steps take less"
            )

    def step(self, run: Run) -> Tensor:
        picks = self.chosen(run, lambda: torch.cat(self.by_class(run)))
        loss = self.loss(run, picks)
        loss.backward(inputs=run.optimizer.param_groups[0]["params"])
        run.descend()
        return loss.detach()

    def by_class(self, run: Run, *, shuffled: bool = True) -> list[Tensor]:
        """The picks of each class: as many as the batch has for it, or all."""
        each, rng = max(1, self.batch // run.data.num_classes), run.rng
        return [
            (members[torch.randperm(len(members), generator=rng, device=rng.device)] if shuffled else members)[:each]
            for members in run.batches.members
        ]

    def between(self, run: Run, one: Tensor, other: Tensor) -> Tensor:
        """The kernel [N, M], float64, in parts whose layers are not kept but computed again on the way back."""
        rows = max(1, self.fits(run.data) // len(other))
        function, parts = self.function(), one.split(rows)
        if len(parts) == 1:
            return function(one, other)
        found = [checkpoint(function, part, other, use_reentrant=False) for part in parts]
        return torch.cat(found)

    def predicted(self, run: Run, picks: Tensor) -> Tensor:
        factor = factored(self.between(run, run.images, run.images), self.ridge)
        cross = self.between(run, run.data.batch(picks), run.images)
        return cross @ torch.cholesky_solve(run.labels.double(), factor)

    def losses(self, run: Run, predicted: Tensor, picks: Tensor) -> Tensor:
        return LOSSES["mean_mse"](predicted, run.data.labels[picks]) / 2

    def treatments(self, run: Run, label: int, picks: Tensor, top: int = 0) -> ite.Terms:  # noqa: ARG002
        count, size = len(picks), len(run.images)
        self.check_memory(count * (count + size) * size, run.images)
        kernel, cross = self.between(run, run.images, run.images), self.between(run, run.data.batch(picks), run.images)
        labels = run.labels.detach().double()
        with torch.no_grad():
            predicted = cross @ torch.cholesky_solve(labels, factored(kernel, self.ridge))
        g = self.by_prediction(run, predicted, picks)
        with torch.no_grad():
            a, b = sides(kernel, labels, cross, self.ridge, g)
            identity = torch.eye(size, dtype=a.dtype, device=a.device)
            by_kernel = -a[:, :, None] * b[:, None] - self.ridge / size * (a * b).sum(1)[:, None, None] * identity
            by_cross = torch.diag_embed(b.T).permute(1, 2, 0)  # sample i knows no row of `cross` but its own
        return ite.Terms(run.images, [kernel, cross], [by_kernel, by_cross])
