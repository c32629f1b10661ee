"""Students' training, and gradients through it."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from bilp_core.distillers import unrolling
from bilp_core.distillers.unrolling import Student, checkpointed, first_order, matching_loss, unrolled
from bilp_core.nets import initialise, network
from bilp_core.nets.augment import apply

from .common import NET, rng


@pytest.fixture
def case():
    """A student of four augmented steps in double precision, where it starts, and where it should end."""
    net = network(NET, (1, 8, 8), 3)
    initialise(net, rng())  # for some starts a step of the differences crosses a kink
    net = net.double()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    target = {name: p + 0.05 * torch.randn(p.shape, generator=rng(1)).double() for name, p in start.items()}
    images = torch.randn(6, 1, 8, 8, generator=rng(2)).double().requires_grad_()
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(3).repeat_interleave(2)
    plan = unrolling.plan(6, 4, 4, "color_crop_scale", (8, 8), rng(3))
    return Student(net, images, labels, lr, plan), start, target


def soft(count=6, classes=3):
    return torch.randn(count, classes, generator=rng(7)).double().softmax(1).requires_grad_()


def brute_force(student, start, target):
    """The whole training as one graph, written with plain loops: its loss."""
    names, weights = list(start), [p.clone().requires_grad_() for p in start.values()]
    speeds = [torch.zeros_like(w) for w in weights]
    for step in student.plan:
        seen = apply(student.images[step.picks], step.drawn)
        logits = functional_call(student.net, dict(zip(names, weights, strict=True)), (seen,))
        labels = student.labels[step.picks]
        loss = -(labels * logits.log_softmax(1)).sum() / len(seen)
        for k, slope in enumerate(torch.autograd.grad(loss, weights, create_graph=True)):
            speeds[k] = student.momentum * speeds[k] + slope
        weights = [w - student.lr * v for w, v in zip(weights, speeds, strict=True)]
    missed = sum((w - target[name]).square().sum() for name, w in zip(names, weights, strict=True))
    return missed / sum((start[name] - target[name]).square().sum() for name in names)


@pytest.mark.parametrize("way", [unrolled, checkpointed])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_loss_and_gradients_against_brute_force(case, steps, momentum, way):
    student, start, target = case
    plan, lr = unrolling.plan(6, steps, 4, "color_crop_scale", (8, 8), rng(3)), torch.tensor(0.01).double()
    student = replace(student, plan=plan, momentum=momentum, labels=soft(), lr=lr.requires_grad_())
    wanted = (student.images, student.lr, student.labels)
    loss = brute_force(student, start, target)
    slopes = torch.autograd.grad(loss, wanted)
    found, gradients = way(student, start, partial(matching_loss, start=start, target=target), wanted)
    assert float(found) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(gradients, slopes, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-10


def test_gradients_against_differences(case):
    student, start, target = case
    finish = partial(matching_loss, start=start, target=target)
    _, (by_images, by_lr) = checkpointed(student, start, finish, (student.images, student.lr))

    def at(images, lr):
        *_, (end, _) = replace(student, images=images, lr=torch.tensor(lr, dtype=torch.float64)).walk(start)
        return float(finish(end))

    images, e = student.images.detach(), 1e-5
    slope = (at(images, 0.1 + e) - at(images, 0.1 - e)) / (2 * e)
    assert float(by_lr) == pytest.approx(slope, rel=1e-4)
    way = torch.randn(images.shape, generator=rng(5)).double()
    slope = (at(images + e * way, 0.1) - at(images - e * way, 0.1)) / (2 * e)
    assert float((by_images * way).sum()) == pytest.approx(slope, rel=1e-3)


def frozen(student, start, target):
    """TESLA's gradients written out: -(2 lr/D) r . dg_i/d. with every parameter vector taken as a constant, and
    -(2/D) r . G by lr."""
    path = [start, *(parameters for parameters, _ in student.walk(start))]
    missed = {name: path[-1][name] - target[name] for name in target}
    way = sum((start[name] - target[name]).square().sum() for name in target)
    total = by_lr = 0
    for parameters, step in zip(path, student.plan, strict=False):
        here = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        logits = functional_call(student.net, here, (apply(student.images[step.picks], step.drawn),))
        loss = F.cross_entropy(logits, student.labels[step.picks])
        slopes = torch.autograd.grad(loss, list(here.values()), create_graph=True)
        along = sum((r * g).sum() for r, g in zip(missed.values(), slopes, strict=True))
        total = total - 2 * student.lr.detach() / way * torch.autograd.grad(along, student.images)[0]
        by_lr = by_lr - 2 / way * along.detach()
    return total, by_lr


def errors(student, start, target):
    """Relative, of the first-order gradients by images and step size."""
    finish, wanted = partial(matching_loss, start=start, target=target), (student.images, student.lr)
    loss, exact = checkpointed(student, start, finish, wanted)
    same, first = first_order(student, start, finish, wanted)
    assert float(same) == pytest.approx(loss.item(), rel=1e-12)
    return [float((one - other).norm() / other.norm()) for one, other in zip(first, exact, strict=True)]


def test_first_order_is_what_it_says(case):
    student, start, target = case
    finish = partial(matching_loss, start=start, target=target)
    _, found = first_order(student, start, finish, (student.images, student.lr))
    for ours, theirs in zip(found, frozen(student, start, target), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-10
    assert min(errors(student, start, target)) > 1e-3


def test_first_order_is_exact_for_one_step_and_of_first_order_for_two(case):
    student, start, target = case
    assert max(errors(replace(student, plan=student.plan[:1]), start, target)) < 1e-12
    rates = [torch.tensor(lr, dtype=torch.float64, requires_grad=True) for lr in (4e-3, 2e-3, 1e-3)]
    found = [errors(replace(student, plan=student.plan[:2], lr=lr), start, target)[0] for lr in rates]
    assert found[0] / found[1] == pytest.approx(2, rel=0.1)
    assert found[1] / found[2] == pytest.approx(2, rel=0.1)


class Linear(torch.nn.Module):
    """Two logits: a linear one and 0."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(64, generator=rng()).double())

    def forward(self, images):
        return torch.stack([images.flatten(1) @ self.weight, torch.zeros(len(images)).double()], 1)


def test_without_a_second_derivative_first_order_is_exact():
    """Labels (1, -1) make the cross-entropy linear in the logits: its second derivative by parameters is 0."""
    net = Linear()
    start = {"weight": net.weight.detach().clone()}
    target = {"weight": start["weight"] + 0.1}
    images = torch.randn(4, 1, 8, 8, generator=rng(1)).double().requires_grad_()
    labels, lr = torch.tensor([[1.0, -1.0]] * 4).double(), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    student = Student(net, images, labels, lr, unrolling.plan(4, 5, 2, "none", (8, 8), rng(2)))
    assert max(errors(student, start, target)) < 1e-12


def test_images_may_be_made_step_by_step(case):
    """From tables, by a function of the picks: as from all images at once."""
    student, start, target = case
    bases = torch.randn(2, 64, generator=rng(4)).double().requires_grad_()
    shares = torch.randn(6, 2, generator=rng(5)).double().requires_grad_()
    finish = partial(matching_loss, start=start, target=target)
    step_by_step = replace(student, images=lambda picks: (shares[picks] @ bases).view(-1, 1, 8, 8), momentum=0.9)
    _, found = checkpointed(step_by_step, start, finish, (bases, shares))
    at_once = replace(student, images=(shares @ bases).view(-1, 1, 8, 8), momentum=0.9)
    _, wanted = unrolled(at_once, start, finish, (bases, shares))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_a_student_on_the_spot_loses_nothing_but_the_way():
    here = {"w": torch.zeros(3)}
    there = {"w": torch.tensor([3.0, 0.0, 4.0])}
    assert float(unrolling.matching_loss(here, here, there)) == 1
    assert float(unrolling.matching_loss(there, here, there)) == 0
    assert float(unrolling.matching_loss({"w": torch.tensor([3.0, 0.0, 0.0])}, here, there)) == pytest.approx(16 / 25)
