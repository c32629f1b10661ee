"""CAFE against its formula, written out here on its own."""

import pytest
import torch
import torch.nn.functional as F

from bilp_core import distill, evaluate, make, protocol
from bilp_core.data import load
from bilp_core.distillers import cafe
from bilp_core.errors import InputError

from .common import NET, a_run, short


def blocks(net, images):
    """After every ReLU, after the last pool, and flattened: by the modules' places in a ConvNet of two blocks."""
    found, x = [], images
    for place, module in enumerate(net.features):
        x = module(x)
        if place in (2, 6):
            found.append(x)
    return [*found, x, x.flatten(1)]


def loss_written_out(net, real, images, ipc):
    """Sec. 6.3 and the reference: 0.1 for the shallow map, 1 for the last, for the pooled one and for the features."""
    total, weights = 0, (0.1, 1.0, 1.0, 1.0)
    centres = torch.stack([net.embed(own).mean(0) for own in images.split(ipc)])
    for c, batch in enumerate(real):
        own = images[c * ipc : (c + 1) * ipc]
        for weight, a, b in zip(weights, blocks(net, batch), blocks(net, own), strict=True):
            total = total + weight * ((a.mean(0) - b.mean(0)) ** 2).sum()
        logits = net.embed(batch).detach() @ centres.T
        total = total - 0.01 * F.log_softmax(logits, 1)[:, c].sum()
    return total


def test_loss_and_gradient_equal_the_formula(data):
    run = a_run(short("cafe"), data)
    state = run.rng.get_state()
    ours = run.method.joint_loss(run)
    (gradient,) = torch.autograd.grad(ours, run.images)
    run.rng.set_state(state)
    real = [run.batches(c) for c in range(3)]
    images = run.images.detach().clone().requires_grad_()
    expected = loss_written_out(run.net, real, images, 2)
    (expected_gradient,) = torch.autograd.grad(expected, images)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_the_class_s_own_part_has_the_slope_of_the_whole(data):
    """What ITE is taken of: the gradient on a class's images, but for what other classes' real images add to it."""
    run = a_run(short("cafe", inner_weight=0.5), data)
    state = run.rng.get_state()
    whole = torch.autograd.grad(run.method.joint_loss(run), run.images)[0]
    run.rng.set_state(state)
    real = [run.batches(c) for c in range(3)]
    images = run.images.detach().clone().requires_grad_()
    centres = torch.stack([run.net.embed(own).mean(0) for own in images.split(2)])
    others = sum(-0.5 * F.log_softmax(run.net.embed(real[k]).detach() @ centres.T, 1)[:, k].sum() for k in (0, 2))
    added = torch.autograd.grad(others, images)[0]
    run.rng.set_state(state)
    picks = [run.batches.indices(c) for c in range(3)]
    own = torch.autograd.grad(run.method.loss_against(run, 1, picks[1]), run.images)[0]
    torch.testing.assert_close(own[2:4], (whole - added)[2:4], rtol=1e-3, atol=1e-4)


def test_the_step_on_images_is_halved_three_times(data):
    run = a_run(short("cafe", iterations=10, image_lr=0.8, most=1), data)
    run.state, rates = run.method.prepare(run), []
    for _ in range(10):
        run.method.step(run)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.8] * 6 + [0.4] * 2 + [0.2, 0.1])


def test_loops_stop_by_the_range_of_the_last_ten_accuracies(data, monkeypatch):
    run = a_run(short("cafe", most=40, steady=0.04, rising=0.03), data)
    run.state = run.method.prepare(run)
    trained, feed = [], iter([])
    monkeypatch.setattr(cafe, "train_network", lambda *args: trained.append(len(trained)))
    monkeypatch.setattr(type(run.method), "accuracy", lambda self, run: next(feed))
    feed = iter([k / 10 for k in range(10)])  # they move: the tenth epoch is the last
    run.method.train(run)
    assert len(trained) == 10
    trained.clear()
    feed = iter([0.5] * 12 + [0.6] + [0.5] * 30)  # they move at last in the thirteenth
    run.method.train(run)
    assert len(trained) == 13
    trained.clear()
    feed = iter([0.5] * 100)  # they never do
    run.method.train(run)
    assert len(trained) == 40
    monkeypatch.setattr(type(run.method), "train", lambda *args: None)
    feed = iter([0.9, 0.1, *[0.5] * 20])  # steady once the first two are out of the window
    run.method.step(run)
    assert len(list(feed)) == 22 - 12


def test_a_cap_of_nothing_is_refused():
    with pytest.raises(InputError, match="most = 0: must be at least 1"):
        make("cafe", most=0)


def test_it_beats_random_real_images():
    train, test = load("digits")
    settings = {"network": NET, "seed": 0}
    made = distill(make("cafe", iterations=12, batch=64, most=4), train, 1, **settings)
    real = distill(make("dm", iterations=1, image_lr=0.0), train, 1, init="real", **settings)
    recipe = protocol("cafe", test, NET, ipc=1, epochs=100)
    ours, theirs = (evaluate(s, test, network=NET, protocol=recipe, repeats=3).mean for s in (made, real))
    assert ours > theirs + 0.02
