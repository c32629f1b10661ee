"""TESLA: its round and its labels written out, its settings, and what it refuses. Its gradient: test_unrolling."""

from functools import partial

import pytest
import torch
from torch.func import functional_call

from bilp_core.distillers import distill, experts, make, unrolling
from bilp_core.errors import InputError
from bilp_core.pruning import Adaptive

from .common import NET, a_run, short
from .test_mtt import Recorder, cell


def prepared(data, **options):
    run = a_run(short("tesla", **options), data)
    run.stage = Recorder(run, 8)
    run.state = run.method.prepare(run)
    return run


@pytest.mark.parametrize("exact", [False, True])
def test_a_round_follows_its_gradient(data, exact):
    run = prepared(data, steps=2, exact=exact, step_lr=1e-3, image_lr=3.0)
    start, target = (run.stage.parameters(0, epoch, "cpu") for epoch in (0, 1))
    before, state = run.images.detach().clone().requires_grad_(), run.rng.get_state()
    run.method.step(run)
    run.rng.set_state(state)
    torch.randperm(8, generator=run.rng)
    torch.randint(1, (), generator=run.rng)
    steps = unrolling.plan(6, 2, 0, "none", (8, 8), run.rng)
    lr = torch.tensor(0.01, requires_grad=True)
    student = unrolling.Student(run.net, before, run.labels, lr, steps)
    finish = partial(unrolling.matching_loss, start=start, target=target)
    way = unrolling.unrolled if exact else unrolling.first_order
    _, (by_images, by_lr) = way(student, start, finish, (before, lr))
    torch.testing.assert_close(run.images.detach(), before.detach() - 3.0 * by_images, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(run.state.lr.detach(), 0.01 - 1e-3 * by_lr, rtol=1e-4, atol=1e-7)


def test_mtt_and_tesla_share_experts_and_agree_for_one_step(data, tmp_path):
    one, other = (
        distill(short(name, steps=1, iterations=2), data, 2, network=NET, home=tmp_path) for name in ("mtt", "tesla")
    )
    assert one.meta["experts"] == other.meta["experts"]
    torch.testing.assert_close(other.images, one.images, rtol=1e-4, atol=1e-6)


def test_students_learn_the_labels_of_the_expert_where_they_should_end(data, monkeypatch):
    run, seen = prepared(data, teacher="on"), []
    follow = type(run.method).follow
    monkeypatch.setattr(type(run.method), "follow", lambda *args: seen.append(args[1:4]) or follow(*args))
    before = run.images.detach().clone()
    run.method.step(run)
    ((student, _, target),) = seen
    logits = functional_call(run.net, target, (before,))
    torch.testing.assert_close(student.labels, logits.softmax(1))
    assert not student.labels.requires_grad


def test_the_set_gets_the_labels_of_all_experts(data, tmp_path):
    made = distill(short("tesla", iterations=1, teacher="on"), data, 2, network=NET, home=tmp_path)
    buffer = experts.load(tmp_path / made.meta["experts"], 2)
    run = a_run(short("tesla"), data)
    logits = sum(functional_call(run.net, buffer.parameters(k, 2), (made.images,)) for k in range(2)) / 2
    torch.testing.assert_close(made.labels, logits.softmax(1).detach())
    assert made.meta["teachers"] == 2
    made.check()


def test_settings_of_the_authors_and_mtt_s_beside():
    names = ("zca", "steps", "span", "starts", "image_lr", "step_lr", "start_lr", "batch_synthetic", "teacher")
    chosen = partial(cell, "tesla", names)
    assert chosen("cifar10", 10, 32, 1) == ("absolute", 50, 2, 5, 500, 1e-7, 0.01, 0, "off")
    assert chosen("cifar100", 100, 32, 50) == ("absolute", 80, 2, 40, 500, 1e-5, 0.01, 125, "off")
    assert chosen("imagenet", 1000, 64, 1) == ("none", 10, 3, 10, 5000, 1e-4, 0.01, 100, "on")
    for where in (("cifar10", 10, 32, 50), ("tiny", 200, 64, 10)):
        assert chosen(*where)[:-1] == cell("mtt", names[:-1], *where)
    assert chosen("cifar10", 10, 32, 1, teacher="on")[-1] == "on"


def test_refusals(data):
    with pytest.raises(InputError, match="tesla: teacher = 'me': must be one of auto, on, off"):
        make("tesla", teacher="me")
    with pytest.raises(InputError, match="additively separable .* that of 'tesla' is not"):
        distill(short("tesla"), data, 1, network=NET, adaptive=Adaptive(0.3))
    with pytest.raises(InputError, match="tesla: starts = 4 and span = 2 reach epoch 5 of experts .* epochs = 4"):
        distill(short("tesla", starts=4, span=2, epochs=4), data, 1, network=NET)
