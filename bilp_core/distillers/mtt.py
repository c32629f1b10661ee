"""Dataset distillation by matching training trajectories, MTT (Cazenavette et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..data.images import ImageData
from ..errors import Diverged, InputError
from ..nets import augment
from ..nets.memory import free_memory
from ..utils.progress import Report
from .experts import Buffer, Training, build, key
from .method import Distiller, Kept, Stage
from .mtt_settings import setting
from .run import Run
from .unrolling import Step, checkpointed_gradients, plan, unrolled_bytes, unrolled_gradients


@dataclass
class Learning(Kept):
    """What a run has beside the images: the student's step size, and the experts in the order they come."""

    lr: Tensor
    optimizer: torch.optim.Optimizer
    order: list[int]


@dataclass(frozen=True)
class MTT(Distiller):
    """A student starts where an expert was after some epoch, trains on the synthetic set, and should end where the
    expert was `span` epochs later.

    steps : SGD steps of the student. starts : the epoch it starts from is below. batch_synthetic : images of a step.
    step_lr : SGD on the step size, which starts at `start_lr` and is learned with the images.
    experts, epochs, expert_* : networks trained on the real data first, and for how long; see
             `bilp_core.distillers.experts`.
    augment : whether students and experts see augmented images (DSA).
    checkpoint : keep only the student's parameters of each step and compute the rest anew on the way back: about a
                 quarter more time, and the memory of one step instead of all (`unrolled_bytes`).
    0 and 'auto' stand for the authors' choice for the data set and the IPC (see `setting`).
    iterations are BiLP's (supplement Sec. 6.3); on ImageNet and Kinetics it runs 5000 (Sec. 6.6). The loss
    is no sum over real samples: adaptive pruning is refused.
    Raises InputError for a value out of range, for starts and span beyond the experts' epochs, and on a GPU for a graph
    too large for its memory.
    Source: Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022, Eq. 2.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("mtt", iterations=2, steps=3, span=1, starts=1, experts=2, epochs=1)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", home="experts")
    >>> made.images.shape, made.meta["lr"] > 0, len(made.meta["experts"])
    (torch.Size([10, 1, 8, 8]), True, 16)
    """

    name: ClassVar[str] = "mtt"
    summary: ClassVar[str] = "trajectory matching: students trained on the set end where experts do"
    default_init: ClassVar[str] = "real"
    staged: ClassVar[bool] = True
    # experts as long as they are used, in batches small enough for hundreds of steps
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 150, "experts": 4, "epochs": 8, "expert_batch": 16, "expert_lr": 0.02, "image_lr": 30.0,
        "step_lr": 1e-6,
    }  # fmt: skip

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
    checkpoint: bool = False
    experts: int = 0
    epochs: int = 50
    expert_lr: float = 0.01
    expert_momentum: float = 0.0
    expert_decay: float = 0.0
    expert_batch: int = 256

    def resolved(self, data: ImageData, ipc: int) -> MTT:
        own = setting(data, ipc)
        made = replace(
            self,
            image_lr=self.image_lr or own.image_lr,
            zca=own.zca if self.zca == "auto" else self.zca,
            steps=self.steps or own.steps,
            span=self.span or own.span,
            starts=self.starts or own.starts,
            batch_synthetic=self.batch_synthetic or own.batch,
            step_lr=self.step_lr or own.step_lr,
            start_lr=self.start_lr or own.start_lr,
            experts=self.experts or own.experts,
        )
        if made.starts - 1 + made.span > made.epochs:
            raise InputError(
                f"mtt: starts = {made.starts} and span = {made.span} reach epoch {made.starts - 1 + made.span} of "
                f"experts that are trained for epochs = {made.epochs}: fewer, or longer experts"
            )
        return made

    def strategy(self, data: ImageData) -> str:
        return augment.dsa_strategy(data.flip) if self.augment else "none"

    def training(self, data: ImageData) -> Training:
        """How the experts are trained."""
        return Training(
            self.epochs, self.expert_lr, self.expert_momentum, self.expert_decay, self.expert_batch,
            self.strategy(data),
        )  # fmt: skip

    def first_stage(self, data: ImageData, spec: str) -> Stage:
        training = self.training(data)

        def make(home: Path, progress: Report | None) -> Buffer:
            return build(data, spec, training, self.experts, home, progress)

        return Stage(key(data, spec, training), self.experts, make)

    def prepare(self, run: Run) -> Learning:
        if run.images.device.type == "cuda":
            check_memory(run, self, free_memory(run.images.device))
        lr = torch.tensor(self.start_lr, device=run.images.device, requires_grad=True)
        return Learning(lr, torch.optim.SGD([lr], lr=self.step_lr, momentum=0.5), [])

    def learned(self, run: Run) -> dict[str, Any]:
        lr = run.state.lr.item()
        if not 0 < lr < float("inf"):
            raise Diverged(f"mtt: the learned step size is {lr}; lower step_lr = {self.step_lr}")
        stage = run.stage
        return {"lr": lr, "experts": stage.folder.name, "stage_seconds": stage.seconds, "augment": run.strategy}

    def step(self, run: Run) -> Tensor:
        state, buffer = run.state, run.stage
        if not state.order:
            state.order = torch.randperm(len(buffer), generator=run.host).tolist()
        expert = state.order.pop()
        epoch = int(torch.randint(self.starts, (), generator=run.host))
        start, target = (buffer.parameters(expert, e, run.images.device) for e in (epoch, epoch + self.span))
        plan = self.plan(run)
        run.net.train()
        gradients = checkpointed_gradients if self.checkpoint else unrolled_gradients
        loss, (run.images.grad, state.lr.grad) = gradients(
            run.net, start, target, run.images, run.labels, state.lr, plan
        )
        run.descend()
        state.optimizer.step()
        return loss

    def plan(self, run: Run) -> list[Step]:
        """What the student of a round does."""
        return plan(len(run.images), self.steps, self.batch_synthetic, run.strategy, run.data.shape[1:], run.host)


def check_memory(run: Run, method: MTT, free: int) -> None:
    """Raise InputError if the graph of a round does not fit into `free` bytes.

    With the authors' settings and ConvNet in float32, without `checkpoint` and with it: CIFAR-10 at IPC 1 1.6 and 0.1
    GB, at 10 7.6 and 0.3, at 50 37 and 1.3; CIFAR-100 at IPC 10 43 and 2.2; Tiny ImageNet at 50 64 and 3.3.
    """
    rng = torch.Generator().manual_seed(0)  # the run's own is left alone
    (step,) = plan(len(run.images), 1, method.batch_synthetic, run.strategy, run.data.shape[1:], rng)
    needed = unrolled_bytes(run.net, run.images, run.labels, step, method.steps, method.checkpoint)
    if needed > free:
        remedy = "fewer batch_synthetic" if method.checkpoint else "checkpoint=true, or fewer batch_synthetic"
        raise InputError(
            f"mtt: {method.steps} steps on {method.batch_synthetic or len(run.images)} synthetic images hold about "
            f"{needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: {remedy}"
        )
