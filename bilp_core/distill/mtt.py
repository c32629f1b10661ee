"""Dataset distillation by matching training trajectories, MTT (Cazenavette et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from .. import augment
from ..data import ImageData
from ..errors import InputError
from ..experts import Buffer, Training, build, key
from ..networks import network
from ..synthetic import SyntheticSet
from ..training import free_memory
from .base import Distiller, Diverged, Progress, Run


@dataclass(frozen=True)
class Setting:
    """What the authors choose for a data set and an IPC: the steps of a student, the expert epochs it should span,
    the epochs it may start from (fewer than `starts`), and learning rates. batch 0: the whole synthetic set."""

    zca: str
    steps: int
    span: int
    starts: int
    image_lr: float
    step_lr: float
    start_lr: float
    batch: int = 0
    experts: int = 100


# by IPC; between two of them the larger one's holds
CIFAR10 = {
    1: Setting("absolute", 50, 2, 2, 1e2, 1e-7, 1e-2),
    10: Setting("absolute", 30, 2, 20, 1e5, 1e-4, 1e-2),
    50: Setting("none", 30, 2, 40, 1e3, 1e-5, 1e-3),
}
CIFAR100 = {
    1: Setting("absolute", 20, 3, 20, 1e3, 1e-5, 1e-2),
    10: Setting("none", 20, 2, 20, 1e3, 1e-5, 1e-2),
    50: Setting("absolute", 80, 2, 40, 1e3, 1e-5, 1e-2, 125),
}
TINY = {  # Tiny ImageNet
    1: Setting("none", 10, 2, 10, 1e4, 1e-4, 1e-2),
    10: Setting("none", 20, 2, 40, 1e4, 1e-4, 1e-2, 200),
    50: Setting("none", 20, 2, 40, 1e4, 1e-4, 1e-2, 300),
}
SUBSETS = {  # ten classes of ImageNet, 128x128
    1: Setting("none", 20, 2, 10, 1e3, 1e-6, 1e-2),
    10: Setting("none", 20, 2, 10, 1e4, 1e-6, 1e-2, 20),
}
IMAGENET = {1: Setting("none", 5, 2, 5, 3e4, 1e-6, 1e-2, experts=60)}  # BiLP, supplement Sec. 6.6
KINETICS = {1: Setting("none", 5, 2, 5, 3e4, 1e-6, 1e-2, 64, experts=40)}
DIGITS = {1: Setting("none", 10, 2, 6, 1e2, 1e-5, 2e-2, experts=5)}  # ours


def setting(data: ImageData, ipc: int) -> Setting:
    """The data set's own, else that of the data set which is most like it in classes and pixels."""
    if data.name == "digits":
        table = DIGITS
    elif data.num_classes >= 1000:
        table = IMAGENET
    elif data.num_classes >= 400:
        table = KINETICS
    elif min(data.shape[1:]) >= 128:
        table = SUBSETS
    elif min(data.shape[1:]) >= 64:
        table = TINY
    else:
        table = CIFAR100 if data.num_classes >= 100 else CIFAR10
    return table[min((known for known in table if known >= ipc), default=max(table))]


@dataclass
class Learning:
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
    experts, epochs, expert_* : networks trained on the real data first, and for how long; see `bilp_core.experts`.
    augment : whether students and experts see augmented images (DSA).
    checkpoint : keep only the student's parameters of each step and compute the rest anew on the way back: about a
                 quarter more time, and the memory of one step instead of all (`unrolled_bytes`).
    0 and 'auto' stand for the authors' choice for the data set and the IPC (see `setting`).
    iterations are BiLP's (supplement Sec. 6.3); on ImageNet and Kinetics it runs 5000 (Sec. 6.6). The loss
    is no sum over real samples: adaptive pruning is refused.
    """

    name: ClassVar[str] = "mtt"
    summary: ClassVar[str] = "trajectory matching: students trained on the set end where experts do"
    default_init: ClassVar[str] = "real"
    staged: ClassVar[bool] = True

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

    def stage_key(self, data: ImageData, spec: str) -> str:
        return key(data, spec, self.training(data))

    def stage_size(self) -> int:
        return self.experts

    def first_stage(self, data: ImageData, spec: str, home: Path, progress: Progress | None) -> Buffer:
        return build(data, spec, self.training(data), self.experts, home, progress)

    def prepare(self, run: Run) -> None:
        if run.images.device.type == "cuda":
            check_memory(run, self, free_memory(run.images.device))
        lr = torch.tensor(self.start_lr, device=run.images.device, requires_grad=True)
        run.state = Learning(lr, torch.optim.SGD([lr], lr=self.step_lr, momentum=0.5), [])

    def state_dict(self, run: Run) -> dict[str, Any]:
        own: Learning = run.state
        return {"lr": own.lr.detach(), "optimizer": own.optimizer.state_dict(), "order": own.order}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        own: Learning = run.state
        own.lr.data.copy_(state["lr"])
        own.optimizer.load_state_dict(state["optimizer"])
        own.order = state["order"]

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


@dataclass(frozen=True)
class Step:
    """One step of a student: which synthetic images, int64 [B] on the CPU, and how they are augmented."""

    picks: Tensor
    drawn: augment.Draw


def plan(count: int, steps: int, batch: int, strategy: str, size: tuple[int, int], rng: Generator) -> list[Step]:
    """Batches from one shuffled pass over `count` images after the other, each augmented by a draw of its own.

    batch : images of a step, 0 for all. rng : on the CPU.
    """
    made: list[Step] = []
    parts: list[Tensor] = []
    for _ in range(steps):
        if not parts:
            parts = list(torch.randperm(count, generator=rng).split(batch or count))
        picks = parts.pop()
        made.append(Step(picks, augment.draw(strategy, len(picks), size, rng)))
    return made


Parameters = dict[str, Tensor]


def advanced(
    net: nn.Module, parameters: Parameters, images: Tensor, labels: Tensor, lr: Tensor, step: Step
) -> Parameters:
    """The parameters after one SGD step on the synthetic set, with the graph to images, lr and parameters."""
    picks = step.picks.to(images.device, non_blocking=True)
    seen = augment.apply(images[picks], step.drawn)
    loss = F.cross_entropy(functional_call(net, parameters, (seen,)), labels[picks])
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    return {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}


def matching_loss(end: Parameters, start: Parameters, target: Parameters) -> Tensor:
    """|end - target|^2 / |start - target|^2 over all parameters (Eq. 2 of the MTT paper)."""
    missed, way = (torch.stack([(p[n] - target[n]).square().sum() for n in target]).sum() for p in (end, start))
    return missed / way


def _leaves(parameters: Parameters) -> Parameters:
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


def unrolled_gradients(
    net: nn.Module, start: Parameters, target: Parameters, images: Tensor, labels: Tensor, lr: Tensor,
    plan: Sequence[Step],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """The matching loss, and its gradients by images and lr, through the graph of all steps at once."""
    parameters = _leaves(start)
    for step in plan:
        parameters = advanced(net, parameters, images, labels, lr, step)
    loss = matching_loss(parameters, start, target)
    by_images, by_lr = torch.autograd.grad(loss, (images, lr))
    return loss.detach(), (by_images, by_lr)


def checkpointed_gradients(
    net: nn.Module, start: Parameters, target: Parameters, images: Tensor, labels: Tensor, lr: Tensor,
    plan: Sequence[Step],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """The same, one step's graph at a time: forward keeping only parameters, then back, each step computed anew."""
    path = [start]
    for step in plan:
        after = advanced(net, _leaves(path[-1]), images.detach(), labels, lr.detach(), step)
        path.append({name: p.detach() for name, p in after.items()})
    end = _leaves(path.pop())
    loss = matching_loss(end, start, target)
    behind = torch.autograd.grad(loss, list(end.values()))
    by_images, by_lr = torch.zeros_like(images), torch.zeros_like(lr)
    for step in reversed(plan):
        before = _leaves(path.pop())
        after = advanced(net, before, images, labels, lr, step)
        found = torch.autograd.grad(list(after.values()), [images, lr, *before.values()], behind)
        by_images += found[0]
        by_lr += found[1]
        behind = found[2:]
    return loss.detach(), (by_images, by_lr)


def student_path(synthetic: SyntheticSet, start: Parameters, steps: int = 0, seed: int = 0) -> Tensor:
    """[steps + 1, P]: all parameters, flat, of a student of a set that MTT made, from `start` on.

    steps : those it was distilled with if 0.
    """
    meta, options = synthetic.meta, synthetic.meta["options"]
    channels, height, width = synthetic.images.shape[1:]
    net = network(meta["network"], (channels, height, width), len(synthetic.classes))
    steps, rng = steps or options["steps"], torch.Generator().manual_seed(seed)
    size = (height, width)
    lr, parameters, path = torch.tensor(meta["lr"]), start, [start]
    for step in plan(len(synthetic.images), steps, options["batch_synthetic"], meta["augment"], size, rng):
        after = advanced(net, _leaves(parameters), synthetic.images, synthetic.labels, lr, step)
        parameters = {name: p.detach() for name, p in after.items()}  # without the step's graph
        path.append(parameters)
    return torch.stack([torch.cat([p.flatten() for p in row.values()]) for row in path])


def unrolled_bytes(run: Run, method: MTT) -> int:
    """Memory that the graph of a round holds, from the tensors that one step keeps.

    One step's worth with `checkpoint`, plus the parameters of each step; without it, that of all steps. With the
    authors' settings and ConvNet in float32, without and with: CIFAR-10 at IPC 1 1.6 and 0.1 GB, at 10 7.6 and 0.3, at
    50 37 and 1.3; CIFAR-100 at IPC 10 43 and 2.2; Tiny ImageNet at 50 64 and 3.3.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no address is used twice
        return tensor

    held: list[Tensor] = []
    lr = torch.tensor(0.01, device=run.images.device, requires_grad=True)
    parameters = _leaves(dict(run.net.named_parameters()))
    rng = torch.Generator().manual_seed(0)  # the run's own is left alone
    (step,) = plan(len(run.images), 1, method.batch_synthetic, run.strategy, run.data.shape[1:], rng)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        advanced(run.net, parameters, run.images, run.labels, lr, step)
    one, size = sum(kept.values()), sum(p.numel() * p.element_size() for p in parameters.values())
    return one + method.steps * size if method.checkpoint else one * method.steps


def check_memory(run: Run, method: MTT, free: int) -> None:
    """Raise InputError if the graph of a round does not fit into `free` bytes."""
    needed = unrolled_bytes(run, method)
    if needed > free:
        remedy = "fewer batch_synthetic" if method.checkpoint else "checkpoint=true, or fewer batch_synthetic"
        raise InputError(
            f"mtt: {method.steps} steps on {method.batch_synthetic or len(run.images)} synthetic images hold about "
            f"{needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: {remedy}"
        )
