"""Synthetic images as sums of shared bases, learned through whole trainings: LinBa (Deng & Russakovsky, 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.func import functional_call

from ..data.images import ImageData
from ..errors import InputError
from ..nets import augment
from ..nets.networks import network
from ..synthetic.decoders import Bases
from ..synthetic.set import SyntheticSet
from .method import Distiller, Kept, siamese_strategy
from .run import Run
from .unrolling import Parameters, Step, Student, checkpointed, student_bytes

BASES = 16


@dataclass
class State(Kept):
    """What a run has beside the bases, which are its images: float32 [classes x r, K]."""

    coefficients: Tensor


@dataclass(frozen=True)
class LinBa(Distiller):
    """A student trains on the set from a fresh start, with momentum; the loss that it then has on real images goes back
    through all of its steps. All images are sums of the same small bases, magnified.

    IPC is a budget: bases and coefficients together are as many numbers as `ipc` images a class. What the bases leave
    goes into coefficients, so a set has many more images than `ipc` a class.
    iterations, image_lr : of SGD on bases and coefficients. BiLP runs 5000 rounds (supplement Sec. 6.3).
    image_momentum : 0.5 in the authors' code; the 0.9 that the supplement names is the students' momentum there.
    clip : the largest joint norm of both gradients; a longer one is shortened to it.
    batch : real images a class and round.
    bases : how many; 0 is 16, or as many as take half of the budget where that is fewer. shrink : their sides are
            those of the images divided by it.
    steps : of a student. network_lr, network_momentum : its SGD. batch_synthetic : images of a class in a step.
    classes : of a round, drawn anew; 0 for all.
    augment : one operation with the same parameters for the real images and all steps of a round (DSA's).
    The gradient is exact, in the memory of one step and the parameters of all (see `unrolling.checkpointed`).
    Adaptive pruning is refused: the loss is no sum over real samples that each act by themselves.
    Raises InputError for a value out of range, and for bases that leave no budget for coefficients.
    Source: Deng & Russakovsky, Remember the Past: Distilling Datasets into Addressable Memories, NeurIPS 2022.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("linba", iterations=2, steps=3), train, ipc=1, network="convnet:depth=1,width=4")
    >>> made.images.shape, made.decoder.bases.shape, made.numbers <= 10 * 64
    (torch.Size([20, 1, 8, 8]), torch.Size([16, 1, 4, 4]), True)
    """

    name: ClassVar[str] = "linba"
    summary: ClassVar[str] = "sums of shared bases; the loss on real images after a training with momentum"
    learns: ClassVar[str] = "bases, coefficients"
    inits: ClassVar[tuple[str, ...]] = ("noise",)
    judged_like: ClassVar[str] = "linba"
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 250, "image_lr": 0.3, "steps": 20, "network_lr": 0.02,
    }  # fmt: skip
    tiny: ClassVar[Mapping[str, Any]] = {"shrink": 1, "image_lr": 1.0}  # half of so few pixels holds little

    iterations: int = 5000
    image_lr: float = 0.1
    batch: int = 64
    bases: int = 0
    shrink: int = 2
    steps: int = 150
    network_lr: float = 0.01
    network_momentum: float = 0.9
    batch_synthetic: int = 32
    classes: int = 0
    clip: float = 2.0
    augment: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shrink", "steps", "batch_synthetic"):
            if getattr(self, name) < 1:
                raise InputError(f"linba: {name} = {getattr(self, name)}: must be at least 1")
        if not self.clip:
            raise InputError("linba: clip = 0: must be above 0, or nothing moves")

    def resolved(self, data: ImageData, ipc: int) -> LinBa:
        c, height, width = data.shape
        one, whole = c * ceil(height / self.shrink) * ceil(width / self.shrink), c * height * width
        bases = self.bases or max(1, min(BASES, ipc * data.num_classes * whole // (2 * one)))
        if images_a_class(data, ipc, bases, one) < 1:
            raise InputError(
                f"linba: bases = {bases} take {bases * one} of the {ipc * data.num_classes * whole} numbers that "
                f"ipc = {ipc} allows, too many for a coefficient of each and class: fewer, or a larger ipc or shrink"
            )
        return replace(self, bases=bases)

    def strategy(self, data: ImageData) -> str:
        return siamese_strategy(self, data)

    def round_bytes(self, data: ImageData, ipc: int, spec: str) -> int:
        c, height, width = data.shape
        size = c * ceil(height / self.shrink) * ceil(width / self.shrink)
        seen = min(self.batch_synthetic, images_a_class(data, ipc, self.bases, size))
        net = network(spec, data.shape, data.num_classes).to(data.device)
        batch = seen * (self.classes or data.num_classes)
        return student_bytes(net, data, batch, self.steps, whole=False)

    def smaller(self) -> str:
        return "fewer batch_synthetic or classes"

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:  # noqa: ARG002
        c, height, width = data.shape
        own = self.resolved(data, ipc)
        small = (c, ceil(height / self.shrink), ceil(width / self.shrink))
        count = images_a_class(data, ipc, own.bases, small[0] * small[1] * small[2])
        tables = [_xavier(own.bases, small[0] * small[1] * small[2], rng)]
        tables += [_xavier(count * data.num_classes, own.bases, rng)]
        decoder = Bases(tables[0].view(-1, *small), tables[1], (height, width))
        labels = torch.arange(data.num_classes, device=data.device).repeat_interleave(count)
        return SyntheticSet(
            decoder.decoded(),
            labels,
            data.classes,
            data.mean,
            data.std,
            whitening=data.whitening,
            decoder=decoder,
            frames=data.frames,
        )

    def prepare(self, run: Run) -> State:
        decoder: Any = run.start.decoder
        run.images = decoder.bases.clone().requires_grad_()
        coefficients = decoder.coefficients.clone().requires_grad_()
        run.optimizer = torch.optim.SGD([run.images, coefficients], lr=self.image_lr, momentum=self.image_momentum)
        return State(coefficients)

    def decoder(self, run: Run) -> Bases:
        return Bases(run.images, run.state.coefficients, run.data.shape[1:])

    def step(self, run: Run) -> Tensor:
        run.fresh_network()
        wanted = (run.images, run.state.coefficients)
        classes = torch.randperm(run.data.num_classes, generator=run.host)[: self.classes or None].sort().values
        real = [run.batches(c) for c in classes.tolist()]
        targets = torch.cat([run.classes[c].expand(len(part)) for c, part in zip(classes.tolist(), real, strict=True)])
        drawn = augment.draw(run.strategy, 1, run.data.shape[1:], run.host)
        seen = augment.apply(torch.cat(real), drawn)

        def finish(end: Parameters) -> Tensor:
            return F.cross_entropy(functional_call(run.net, end, (seen,)), targets)

        steps = [Step(self.picks(run, classes), drawn) for _ in range(self.steps)]
        rate = torch.tensor(self.network_lr, device=run.images.device)
        student = Student(run.net, self.decoder(run).rows, run.labels, rate, steps, self.network_momentum)
        start = {name: p.detach().clone() for name, p in run.net.named_parameters()}
        loss, found = checkpointed(student, start, finish, wanted)
        for table, gradient in zip(wanted, found, strict=True):
            table.grad = gradient
        torch.nn.utils.clip_grad_norm_(wanted, self.clip)
        run.descend()
        return loss

    def picks(self, run: Run, classes: Tensor) -> Tensor:
        """Which images a step sees, of each class as many, each once: int64 on the CPU."""
        shares = torch.rand(len(classes), run.ipc, generator=run.host)
        return (classes[:, None] * run.ipc + shares.topk(min(self.batch_synthetic, run.ipc)).indices).flatten()


def images_a_class(data: ImageData, ipc: int, bases: int, size: int) -> int:
    """What the budget of `ipc` images a class leaves after `bases` of `size` numbers each.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.distillers.linba import images_a_class
    >>> images_a_class(load("digits").train, ipc=1, bases=16, size=4 * 4)
    2
    """
    c, height, width = data.shape
    return (ipc * data.num_classes * c * height * width - bases * size) // (data.num_classes * bases)


def _xavier(rows: int, columns: int, rng: Generator) -> Tensor:
    bound = (6 / (rows + columns)) ** 0.5
    return (2 * torch.rand(rows, columns, generator=rng, device=rng.device) - 1) * bound
