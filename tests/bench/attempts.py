"""What was tried to make steps quicker, each beside what the library does: sides of rows of `bench.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import ours
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from bilp_core.distillers import Run, make
from bilp_core.distillers.unrolling import Parameters, Slopes, Step, Student, matching_loss, plan, unrolled
from bilp_core.nets import augment, network


class Compiled(Student):
    """A student whose gradient of a step is compiled, with its derivative: torch.compile can follow `torch.func.grad`,
    but not a gradient with its graph."""

    @cached_property
    def by_parameters(self) -> Callable[[Parameters, Tensor, Tensor], Parameters]:
        def loss(parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self.net, parameters, (images,)), labels)

        return torch.compile(grad(loss), dynamic=False)

    def slopes(self, parameters: Parameters, step: Step, graph: bool = True) -> Slopes:
        images = augment.apply(self.images[step.picks], step.drawn)
        found = self.by_parameters(parameters, images, self.labels[step.picks])
        return [found[name] for name in parameters]


def student(device: str, kind: type[Student], images: int, steps: int) -> ours.Side:
    """The gradient through so many steps of a student of MTT on so many images."""
    rng = torch.Generator().manual_seed(0)
    net = network("convnet", ours.SHAPE, ours.CLASSES).to(device)
    start = {name: p.detach() for name, p in net.named_parameters()}
    target = {name: p + 0.01 * torch.randn(p.shape, generator=rng).to(device) for name, p in start.items()}
    synthetic = torch.randn(images, *ours.SHAPE, generator=rng).to(device).requires_grad_()
    labels = torch.arange(images, device=device) % ours.CLASSES
    lr = torch.tensor(0.01, device=device, requires_grad=True)
    way = kind(net, synthetic, labels, lr, plan(images, steps, 0, "none", ours.SHAPE[1:], rng))
    finish = partial(matching_loss, start=start, target=target)
    return lambda: unrolled(way, start, finish, (synthetic, lr))


def products(device: str, name: str, together: bool, ipc: int = 10, count: int = 14) -> ours.Side:
    """So many products of J^T, as a sketch of the ITE takes them, in one call of autograd or one after the other."""
    data = ours.cifar_shaped(ours.PER_CLASS, device)
    method = make(name, iterations=1)
    rng = torch.Generator(data.device).manual_seed(0)
    run = Run(method, data, method.start(data, ipc, "noise", rng, "convnet"), "convnet", rng)
    run.fresh_network()
    of = method.treatments(run, 0, run.batches.indices(0))
    given = [torch.randn(count, *s.shape, generator=rng, device=rng.device) for s in of.ours]
    if together:
        return lambda: torch.autograd.grad(of.ours, of.stored, given, retain_graph=True, is_grads_batched=True)
    return lambda: [of.transposed(one) for one in zip(*given, strict=True)]
