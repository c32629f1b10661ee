"""Students trained on the synthetic set, and gradients through their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

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


def advanced(
    net: nn.Module, parameters: Parameters, images: Tensor, labels: Tensor, lr: Tensor, step: Step
) -> Parameters:
    """The parameters after one SGD step on the synthetic set, with the graph to images, lr and parameters.

    images : [M, C, H, W]. labels : int64 [M], or probabilities [M, classes]. lr : a scalar.
    """
    picks = step.picks.to(images.device, non_blocking=True)
    seen = augment.apply(images[picks], step.drawn)
    loss = F.cross_entropy(functional_call(net, parameters, (seen,)), labels[picks])
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    return {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}


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


def unrolled_gradients(
    net: nn.Module, start: Parameters, target: Parameters, images: Tensor, labels: Tensor, lr: Tensor,
    plan: Sequence[Step],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """The matching loss, and its gradients by images and lr, through the graph of all steps at once.

    images : [M, C, H, W] and lr, a scalar, require gradients. labels : int64 [M].

    >>> import torch
    >>> from bilp_core.distillers.unrolling import checkpointed_gradients, plan, unrolled_gradients
    >>> from bilp_core.nets import network
    >>> rng = torch.Generator().manual_seed(0)
    >>> net = network("convnet:depth=1,width=4", (1, 8, 8), 2)
    >>> start = {name: 0.1 * torch.randn(p.shape, generator=rng) for name, p in net.named_parameters()}
    >>> target = {name: p + 0.1 for name, p in start.items()}
    >>> images = torch.randn(4, 1, 8, 8, generator=rng, requires_grad=True)
    >>> labels, lr = torch.tensor([0, 0, 1, 1]), torch.tensor(0.01, requires_grad=True)
    >>> steps = plan(4, steps=2, batch=0, strategy="none", size=(8, 8), rng=rng)
    >>> loss, (by_images, by_lr) = unrolled_gradients(net, start, target, images, labels, lr, steps)
    >>> by_images.shape, by_lr.shape
    (torch.Size([4, 1, 8, 8]), torch.Size([]))
    >>> same, gradients = checkpointed_gradients(net, start, target, images, labels, lr, steps)
    >>> torch.allclose(loss, same), torch.allclose(by_images, gradients[0], atol=1e-7)
    (True, True)
    """
    parameters = leaves(start)
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
        after = advanced(net, leaves(path[-1]), images.detach(), labels, lr.detach(), step)
        path.append({name: p.detach() for name, p in after.items()})
    end = leaves(path.pop())
    loss = matching_loss(end, start, target)
    behind = torch.autograd.grad(loss, list(end.values()))
    by_images, by_lr = torch.zeros_like(images), torch.zeros_like(lr)
    for step in reversed(plan):
        before = leaves(path.pop())
        after = advanced(net, before, images, labels, lr, step)
        found = torch.autograd.grad(list(after.values()), [images, lr, *before.values()], behind)
        by_images += found[0]
        by_lr += found[1]
        behind = found[2:]
    return loss.detach(), (by_images, by_lr)


def unrolled_bytes(net: nn.Module, images: Tensor, labels: Tensor, step: Step, steps: int, checkpoint: bool) -> int:
    """Memory that the graph of `steps` steps like `step` holds, from the tensors that one of them keeps.

    One step's worth with `checkpoint`, plus the parameters of each step; without it, that of all steps.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no address is used twice
        return tensor

    held: list[Tensor] = []
    lr = torch.tensor(0.01, device=images.device, requires_grad=True)
    parameters = leaves(dict(net.named_parameters()))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        advanced(net, parameters, images, labels, lr, step)
    one, size = sum(kept.values()), sum(p.numel() * p.element_size() for p in parameters.values())
    return one + steps * size if checkpoint else one * steps
