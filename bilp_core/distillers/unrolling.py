"""Students trained on the synthetic set, and gradients through their training.

A student takes SGD steps on synthetic images; a loss of where it ends is differentiated by what it was trained with:

    unrolled      through the graph of all steps at once
    checkpointed  the same gradient, one step's graph at a time: forward keeping only parameters, then back by the
                  adjoint, each step computed anew
    first_order   as `checkpointed`, but a change of one step is taken to leave the slopes of later steps as they
                  were: no second derivative by parameters. TESLA's gradient. Exact for one step; for more its
                  relative error is of the order of the step size
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from ..data.images import ImageData
from ..nets import augment


@dataclass(frozen=True)
class Step:
    """One step of a student: which synthetic images, int64 [B] on the CPU, and how they are augmented."""

    picks: Tensor
    drawn: augment.Draw


def plan(count: int, steps: int, batch: int, strategy: str, size: tuple[int, int], rng: Generator) -> list[Step]:
    """Batches from one shuffled pass over `count` images after the other, each augmented by a draw of its own.

    batch : images of a step, 0 for all. rng : on the CPU.

    >>> import torch
    >>> from bilp_core.distillers.unrolling import plan
    >>> steps = plan(5, steps=3, batch=2, strategy="none", size=(8, 8), rng=torch.Generator().manual_seed(0))
    >>> [len(step.picks) for step in steps], torch.cat([step.picks for step in steps]).sort().values.tolist()
    ([1, 2, 2], [0, 1, 2, 3, 4])
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
Slopes = list[Tensor]  # one of each parameter, in their order


@dataclass(frozen=True, eq=False)
class Student:
    """A network, and how it is trained: cross-entropy on synthetic images, SGD, one step of the plan after the other.

    images : [M, C, H, W], or a function of picks, int64 [B], that gives [B, C, H, W].
    labels : int64 [M], or probabilities [M, classes]. lr : a scalar. momentum : of the steps, without dampening.

    >>> import torch
    >>> from bilp_core.distillers.unrolling import Student, plan
    >>> from bilp_core.nets import network
    >>> net = network("convnet:depth=1,width=4", (1, 8, 8), 2)
    >>> steps = plan(4, steps=2, batch=0, strategy="none", size=(8, 8), rng=torch.Generator().manual_seed(0))
    >>> student = Student(net, torch.ones(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), torch.tensor(0.01), steps)
    >>> path = [parameters["classifier.weight"] for parameters, _ in student.walk(dict(net.named_parameters()))]
    >>> len(path), path[0].shape
    (2, torch.Size([2, 64]))
    """

    net: nn.Module
    images: Tensor | Callable[[Tensor], Tensor]
    labels: Tensor
    lr: Tensor
    plan: Sequence[Step]
    momentum: float = 0.0

    def slopes(self, parameters: Parameters, step: Step, graph: bool = True) -> Slopes:
        """Of the loss of a step by the parameters, which need gradients; with the graph to all they depend on."""
        picks = step.picks.to(self.labels.device, non_blocking=True)
        images = self.images[picks] if isinstance(self.images, Tensor) else self.images(picks)
        logits = functional_call(self.net, parameters, (augment.apply(images, step.drawn),))
        loss = F.cross_entropy(logits, self.labels[picks])
        return list(torch.autograd.grad(loss, list(parameters.values()), create_graph=graph))

    def moved(self, parameters: Parameters, speed: Slopes | None, slopes: Slopes) -> tuple[Parameters, Slopes]:
        """Parameters and speed after a step. speed : that of the step before, None before the first."""
        if self.momentum and speed is not None:
            slopes = [self.momentum * v + g for v, g in zip(speed, slopes, strict=True)]
        return {name: p - self.lr * v for (name, p), v in zip(parameters.items(), slopes, strict=True)}, slopes

    @torch.no_grad()
    def walk(self, start: Parameters) -> Iterator[tuple[Parameters, Slopes]]:
        """Parameters, and the speed that led there, after each step; no graph is kept."""
        parameters, speed = start, None
        for step in self.plan:
            with torch.enable_grad():
                slopes = self.slopes(leaves(parameters), step, graph=False)
            parameters, speed = self.moved(parameters, speed, slopes)
            yield parameters, speed


def matching_loss(end: Parameters, start: Parameters, target: Parameters) -> Tensor:
    """|end - target|^2 / |start - target|^2 over all parameters (Eq. 2 of the MTT paper).

    >>> import torch
    >>> from bilp_core.distillers.unrolling import matching_loss
    >>> start, end, target = ({"w": torch.tensor([x])} for x in (0.0, 1.0, 2.0))
    >>> float(matching_loss(end, start, target))  # half of the way is left
    0.25
    """
    missed, way = (torch.stack([(p[n] - target[n]).square().sum() for n in target]).sum() for p in (end, start))
    return missed / way


def leaves(parameters: Parameters) -> Parameters:
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


# (student, start, loss of its end, what to differentiate by) -> the loss, and the gradients
Finish = Callable[[Parameters], Tensor]
Found = tuple[Tensor, tuple[Tensor, ...]]


def unrolled(student: Student, start: Parameters, finish: Finish, wanted: Sequence[Tensor]) -> Found:
    """The loss of where the student ends, and its gradients, through the graph of all steps at once.

    finish : function(parameters) -> a scalar. wanted : tensors that need gradients, on which the student's images,
    labels or lr depend, or which they are.

    >>> from functools import partial
    >>> import torch
    >>> from bilp_core.distillers.unrolling import Student, checkpointed, first_order, matching_loss, plan, unrolled
    >>> from bilp_core.nets import network
    >>> rng = torch.Generator().manual_seed(0)
    >>> net = network("convnet:depth=1,width=4", (1, 8, 8), 2)
    >>> start = {name: 0.1 * torch.randn(p.shape, generator=rng) for name, p in net.named_parameters()}
    >>> finish = partial(matching_loss, start=start, target={name: p + 0.1 for name, p in start.items()})
    >>> images = torch.randn(4, 1, 8, 8, generator=rng, requires_grad=True)
    >>> labels, lr = torch.tensor([0, 0, 1, 1]), torch.tensor(0.01, requires_grad=True)
    >>> steps = plan(4, steps=2, batch=0, strategy="none", size=(8, 8), rng=rng)
    >>> student = Student(net, images, labels, lr, steps)
    >>> loss, (by_images, by_lr) = unrolled(student, start, finish, (images, lr))
    >>> by_images.shape, by_lr.shape
    (torch.Size([4, 1, 8, 8]), torch.Size([]))
    >>> same, gradients = checkpointed(student, start, finish, (images, lr))
    >>> torch.allclose(loss, same), torch.allclose(by_images, gradients[0], atol=1e-7)
    (True, True)
    >>> same, gradients = first_order(student, start, finish, (images, lr))
    >>> torch.allclose(loss, same), 0.001 < float((gradients[0] - by_images).norm() / by_images.norm()) < 0.1
    (True, True)
    """
    parameters, speed = leaves(start), None
    for step in student.plan:
        parameters, speed = student.moved(parameters, speed, student.slopes(parameters, step))
    loss = finish(parameters)
    return loss.detach(), torch.autograd.grad(loss, list(wanted))


def checkpointed(
    student: Student, start: Parameters, finish: Finish, wanted: Sequence[Tensor], exact: bool = True
) -> Found:
    """The same, one step's graph at a time; not `exact` is `first_order`. Memory: the parameters of each step besides.

    With v_t = m v_{t-1} + g_t(w_{t-1}) and w_t = w_{t-1} - lr v_t, the adjoints go back as
    v' <- m v' - lr w', then w' <- w' + (dg_t/dw)^T v', and what g_t depends on gets (dg_t/d.)^T v'.
    """
    learns_lr = any(t is student.lr for t in wanted)
    path, speeds = [start], []
    for parameters, speed in student.walk(start):
        path.append(parameters)
        if learns_lr and student.momentum:
            speeds.append(speed)
    end = leaves(path.pop())
    loss = finish(end)
    behind: Sequence[Tensor] = torch.autograd.grad(loss, list(end.values()))
    others = [t for t in wanted if t is not student.lr]
    totals, by_lr = [torch.zeros_like(t) for t in others], torch.zeros_like(student.lr)
    carried: Slopes | None = None
    for step in reversed(student.plan):
        before = leaves(path.pop())
        slopes = student.slopes(before, step)
        if learns_lr:
            by_lr = by_lr - _inner(behind, speeds.pop() if student.momentum else [g.detach() for g in slopes])
        back = [-student.lr.detach() * w for w in behind]
        if student.momentum and carried is not None:
            back = [student.momentum * v + b for v, b in zip(carried, back, strict=True)]
        sources = [*others, *before.values()] if exact else others
        found = torch.autograd.grad(slopes, sources, back, materialize_grads=True)
        totals = [total + part for total, part in zip(totals, found, strict=False)]
        if exact:
            behind = [w + part for w, part in zip(behind, found[len(others) :], strict=True)]
        carried = back
    given = iter(totals)
    return loss.detach(), tuple(by_lr if t is student.lr else next(given) for t in wanted)


def first_order(student: Student, start: Parameters, finish: Finish, wanted: Sequence[Tensor]) -> Found:
    """As `checkpointed`, without the second derivative by parameters. The example is at `unrolled`.

    Source: Cui et al., Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023.
    """
    return checkpointed(student, start, finish, wanted, exact=False)


def _inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def unrolled_bytes(student: Student, checkpoint: bool) -> int:
    """Memory that the graph of a student's steps holds, from the tensors that the first of them keeps.

    One step's worth with `checkpoint`, plus the parameters of each step; without it, that of all steps.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no address is used twice
        return tensor

    held: list[Tensor] = []
    parameters = leaves(dict(student.net.named_parameters()))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        student.moved(parameters, None, student.slopes(parameters, student.plan[0]))
    one, size = sum(kept.values()), sum(p.numel() * p.element_size() for p in parameters.values())
    return one + len(student.plan) * size if checkpoint else one * len(student.plan)


def student_bytes(net: nn.Module, data: ImageData, batch: int, steps: int, *, whole: bool) -> int:
    """`unrolled_bytes` of a student of images like those of `data`, from steps on few of them: linear in the batch.
    What augmentation holds, which is little, is left out.

    batch : images of a step. whole : the graph of all steps at once.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.unrolling import student_bytes
    >>> from bilp_core.nets import network
    >>> train, _ = load("digits")
    >>> net = network("convnet:depth=1,width=8", train.shape, 10)
    >>> ten, twenty = (student_bytes(net, train, 100, steps, whole=True) for steps in (10, 20))
    >>> ten > 1_000_000, twenty == 2 * ten
    (True, True)
    """
    found = []
    for few in (2, 4):
        images = torch.zeros(few, *data.shape, device=data.device, requires_grad=True)
        labels, lr = torch.zeros(few, dtype=torch.int64, device=data.device), torch.tensor(0.01, device=data.device)
        plans = plan(few, 1, 0, "none", data.shape[1:], torch.Generator().manual_seed(0)) * steps
        student = Student(net, images, labels, lr.requires_grad_(), plans)
        found.append(unrolled_bytes(student, checkpoint=not whole))
    return found[0] + (found[1] - found[0]) * (batch - 2) // 2
