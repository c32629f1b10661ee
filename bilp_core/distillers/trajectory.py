"""What methods share whose students should end where experts do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..data.images import ImageData
from ..errors import Diverged, InputError
from ..nets.networks import network
from ..utils.progress import Report
from .experts import Buffer, Training, build, disk_bytes, key, network_size
from .method import Distiller, Kept, Stage, for_clips, siamese_strategy
from .mtt_settings import MTT, Tables, setting
from .run import Run
from .unrolling import (
    Found,
    Parameters,
    Student,
    checkpointed,
    first_order,
    matching_loss,
    plan,
    student_bytes,
    unrolled,
)

WAYS = {"unrolled": unrolled, "checkpointed": checkpointed, "first-order": first_order}


@dataclass
class Learning(Kept):
    """What a run has beside the images: the student's step size, and the experts in the order they come."""

    lr: Tensor
    optimizer: torch.optim.Optimizer
    order: list[int]


@dataclass(frozen=True)
class Trajectory(Distiller):
    """A student starts where an expert was after some epoch, trains on the synthetic set, and should end where the
    expert was `span` epochs later.

    steps : SGD steps of the student. starts : the epoch it starts from is below. batch_synthetic : images of a step.
    step_lr : SGD on the step size, which starts at `start_lr` and is learned with the images.
    experts, epochs, expert_* : networks trained on the real data first, and for how long; see
             `bilp_core.distillers.experts`.
    augment : whether students and experts see augmented images (DSA). False on clips, see `check_augment`.
    0 and 'auto' stand for the authors' choice for the data set and the IPC.
    A method is its `tables` of settings, its `way` to a gradient, and a `step` made of `stretch`, `student`, `follow`.
    The loss is no sum over real samples: adaptive pruning is refused.
    Raises InputError for a value out of range, for starts and span beyond the experts' epochs, and for a graph too
    large for the memory; Diverged as soon as the learned step size is not above 0.
    """

    default_init: ClassVar[str] = "real"
    staged: ClassVar[bool] = True
    tables: ClassVar[Tables] = MTT
    auto: ClassVar[tuple[str, ...]] = (
        "image_lr", "zca", "steps", "span", "starts", "batch_synthetic", "step_lr", "start_lr", "experts",
    )  # fmt: skip

    iterations: int = 10000
    image_lr: float = 0.0
    zca: str = "auto"
    steps: int = 0
    span: int = 0
    starts: int = 0
    batch_synthetic: int = 0
    step_lr: float = 0.0
    start_lr: float = 0.0
    augment: bool = True
    experts: int = 0
    epochs: int = 50
    expert_lr: float = 0.01
    expert_momentum: float = 0.0
    expert_decay: float = 0.0
    expert_batch: int = 256

    def resolved(self, data: ImageData, ipc: int) -> Self:
        own = setting(self.tables, data, ipc)
        chosen = {f: getattr(own, f) for f in self.auto if getattr(self, f) in (0, "auto")}
        made = replace(for_clips(self, data), **chosen)
        last = made.starts - 1 + made.span
        if last > made.epochs:
            raise InputError(
                f"{self.name}: starts = {made.starts} and span = {made.span} reach epoch {last} of experts that are "
                f"trained for epochs = {made.epochs}: fewer, or longer experts"
            )
        return made

    def strategy(self, data: ImageData) -> str:
        return siamese_strategy(self, data)

    def training(self, data: ImageData) -> Training:
        """How the experts are trained."""
        return Training(
            self.epochs, self.expert_lr, self.expert_momentum, self.expert_decay, self.expert_batch,
            self.strategy(data),
        )  # fmt: skip

    def first_stage(self, data: ImageData, spec: str) -> Stage:
        training = self.training(data)

        def make(home: Path, progress: Report | None) -> Buffer:
            try:
                return build(data, spec, training, self.experts, home, progress)
            except FloatingPointError as error:
                raise Diverged(f"{self.name}: {error}".replace("lower lr", "lower expert_lr")) from None

        def disk() -> int:
            return disk_bytes(self.experts, self.epochs, network_size(spec, data))

        return Stage(key(data, spec, training), self.experts, make, disk)

    def prepare(self, run: Run) -> Learning:
        return Learning(*self.step_size(run), order=[])

    def step_size(self, run: Run, momentum: float = 0.5) -> tuple[Tensor, torch.optim.Optimizer]:
        """The step size, and what it is learned by."""
        lr = torch.tensor(self.start_lr, device=run.images.device, requires_grad=True)
        return lr, torch.optim.SGD([lr], lr=self.step_lr, momentum=momentum)

    def round_bytes(self, data: ImageData, ipc: int, spec: str) -> int:
        """About the memory that the graph of a round holds.

        With the authors' settings of MTT and ConvNet in float32, unrolled and checkpointed: CIFAR-10 at IPC 1 1.6 and
        0.1 GB, at 10 7.6 and 0.3, at 50 37 and 1.3; CIFAR-100 at IPC 10 43 and 2.2; Tiny ImageNet at 50 64 and 3.3.
        """
        net = network(spec, data.shape, data.num_classes).to(data.device)
        batch = min(self.batch_synthetic or sys.maxsize, data.num_classes * self.bases(data, ipc))
        return student_bytes(net, data, batch, self.steps, whole=self.way() == "unrolled")

    def smaller(self) -> str:
        return "checkpoint=true, or fewer batch_synthetic" if self.way() == "unrolled" else "fewer batch_synthetic"

    def bases(self, data: ImageData, ipc: int) -> int:  # noqa: ARG002
        """Images of a class that a student may see in a step."""
        return ipc

    def learned(self, run: Run) -> dict[str, Any]:
        lr = run.state.lr.item()
        if not isfinite(lr):
            raise self.astray(run)
        stage = run.stage
        return {"lr": lr, "experts": stage.folder.name, "stage_seconds": stage.seconds, "augment": run.strategy}

    def move_step_size(self, run: Run) -> None:
        run.state.optimizer.step()
        if run.state.lr <= 0:  # one that is not finite shows in the loss
            raise self.astray(run)

    def astray(self, run: Run) -> Diverged:
        lr = run.state.lr.item()
        return Diverged(f"{self.name}: the learned step size is {lr:.4g}; lower step_lr = {self.step_lr:g}")

    def way(self) -> str:
        """One of `WAYS`, by which gradients go through the student's training."""
        return "unrolled"

    # Parts of a round.

    def bounds(self, run: Run) -> tuple[int, int]:  # noqa: ARG002
        """The epochs from which a student of this round may start: from the first on, below the second."""
        return 0, self.starts

    def stretch(self, run: Run) -> tuple[Parameters, Parameters]:
        """Where an expert, each once in a pass, was after an epoch, and `span` epochs later."""
        state, buffer = run.state, run.stage
        if not state.order:
            state.order = torch.randperm(len(buffer), generator=run.host).tolist()
        expert, (low, high) = state.order.pop(), self.bounds(run)
        epoch = low + int(torch.randint(high - low, (), generator=run.host))
        first, last = (buffer.parameters(expert, e, run.images.device) for e in (epoch, epoch + self.span))
        return first, last

    def student(self, run: Run, labels: Tensor) -> Student:
        """What trains in a round. labels : int64 [M], or probabilities."""
        steps = plan(len(run.images), self.steps, self.batch_synthetic, run.strategy, run.data.shape[1:], run.host)
        return Student(run.net, run.images, labels, run.state.lr, steps)

    def follow(self, student: Student, start: Parameters, target: Parameters, wanted: Sequence[Tensor]) -> Found:
        """The matching loss, and its gradients by `wanted`."""
        student.net.train()
        return WAYS[self.way()](student, start, partial(matching_loss, start=start, target=target), wanted)

    def labels(self, run: Run, target: Parameters) -> Tensor:  # noqa: ARG002
        """What a student that should end at `target` learns."""
        return run.labels

    def step(self, run: Run) -> Tensor:
        start, target = self.stretch(run)
        lr = run.state.lr
        student = self.student(run, self.labels(run, target))
        loss, (run.images.grad, lr.grad) = self.follow(student, start, target, (run.images, lr))
        run.descend()
        self.move_step_size(run)
        return loss
