"""RFAD: its loss written out, its networks, its optimiser, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import evaluate, protocol

from .common import a_run, rng

NET = "kernel-convnet:depth=2,width=5"


def prepared(data, spec=NET, ipc=2, init="real", **options):
    run = a_run(make("rfad", **{"networks": 3, **options}), data, spec, ipc, init)
    run.state = run.method.prepare(run)
    return run


def features(net, images):
    """By hand: convolution, ReLU, averages over 2x2; from the weights alone."""
    for module in net.features:
        if isinstance(module, nn.Conv2d):
            images = nn.functional.conv2d(images, module.weight, module.bias, padding=1).clamp(min=0)
            images = images.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))
    return images.flatten(1).double()


@pytest.mark.parametrize("platt", [True, False])
@pytest.mark.parametrize("learn_labels", [True, False])
def test_loss_and_gradient_equal_the_formula(data, platt, learn_labels):
    run = prepared(data, platt=platt, learn_labels=learn_labels)
    state, x = run.state, run.data.batch()
    with torch.no_grad():
        state.matrix += 0.05 * torch.randn(64, 64, generator=rng(3))
        state.temperature += 0.7
    ours = run.method.loss(run, torch.arange(len(x)))

    images, matrix = (t.detach().clone().requires_grad_() for t in (run.images, state.matrix))
    labels, k = (t.detach().clone().requires_grad_() for t in (run.labels, state.temperature))
    shown = (images.flatten(1) @ matrix).view_as(images)
    size = 5 * 2 * 2
    ss = sum(features(net, shown) @ features(net, shown).T for net in state.nets) * 2 / (3 * size) + 0.01
    ts = sum(features(net, x) @ features(net, shown).T for net in state.nets) * 2 / (3 * size) + 0.01
    ss = ss + 5e-3 * ss.trace() / len(ss) * torch.eye(len(ss))
    predicted = ts @ torch.linalg.inv(ss) @ labels.double()
    if platt:
        loss = -sum((row * k.exp()).log_softmax(0)[c] for row, c in zip(predicted, run.data.labels, strict=True)) / len(
            x
        )
    else:
        loss = 0.5 * (predicted - torch.eye(3)[run.data.labels] + 1 / 3).square().mean()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    leaves = [p for group in run.optimizer.param_groups for p in group["params"]]
    wanted = [images, *([labels] if learn_labels else []), matrix, *([k] if platt else [])]
    assert len(leaves) == len(wanted)
    found, expected = torch.autograd.grad(ours, leaves), torch.autograd.grad(loss, wanted)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), rtol=1e-3, atol=1e-4 * b.abs().max().item())


def test_labels_start_centred_and_stay_unless_learned(data):
    start = torch.eye(3).repeat_interleave(2, 0) - 1 / 3
    fixed, moved = (
        distill(make("rfad", iterations=3, networks=2, learn_labels=learn), data, 2, network=NET)
        for learn in (False, True)
    )
    torch.testing.assert_close(fixed.labels, start)
    assert (moved.labels - start).abs().max() > 1e-4


def test_a_step_is_adabelief_without_rectification(data):
    """Written out: the variance is that of the gradient around its running mean, which has seen it already."""
    run = prepared(data, image_lr=0.02, transform_lr=3e-4, temperature_lr=0.05)
    leaves = [p for group in run.optimizer.param_groups for p in group["params"]]
    rates = (0.02, 3e-4, 0.05)
    mean, var = ([torch.zeros_like(p) for p in leaves] for _ in range(2))
    for t in range(1, 4):
        before = [p.detach().clone() for p in leaves]
        drawn = run.rng.get_state()
        run.state.fresh(run)
        gradients = torch.autograd.grad(run.method.loss(run, torch.arange(30)), leaves)
        run.rng.set_state(drawn)
        run.method.step(run)
        for old, new, g, m, s, lr in zip(before, leaves, gradients, mean, var, rates, strict=True):
            m.mul_(0.9).add_(g, alpha=0.1)
            s.mul_(0.999).add_((g - m) ** 2 * 0.001 + 1e-16)
            step = lr * m / (1 - 0.9**t) / (s / (1 - 0.999**t)).sqrt()
            torch.testing.assert_close(new.detach(), old - step, rtol=1e-3, atol=0.02 * lr)


def test_networks_are_drawn_anew_at_each_step_and_differ(data):
    run = prepared(data)
    seen = []
    for _ in range(2):
        seen += [net.features[0].weight.detach().clone() for net in run.state.nets]
        run.method.step(run)
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_a_batch_is_of_different_samples(data):
    run = prepared(data, batch=7)
    picks = run.method.drawn(run)
    assert len(picks) == len(set(picks.tolist())) == 7
    assert sorted(make("rfad").drawn(run).tolist()) == list(range(30))


def test_what_is_kept_are_the_images_as_networks_saw_them(data):
    one, other = (
        distill(make("rfad", iterations=4, networks=2, transform=t, transform_lr=0.01), data, 1, network=NET)
        for t in ("on", "off")
    )
    assert not torch.equal(one.images, other.images)
    run = prepared(data, transform_lr=0.01)
    run.method.step(run)
    kept = run.method.result(run, {}).images
    torch.testing.assert_close(kept, (run.images.flatten(1) @ run.state.matrix).view_as(kept).detach())
    assert (kept - run.images.detach()).abs().max() > 1e-3
    assert one.meta["temperature"] != 1


def test_settings_of_the_reference(data):
    def of(shape, **options):
        images, channels = torch.zeros(2, *shape, dtype=torch.uint8), (0.5,) * shape[0]
        method = make("rfad", **options)
        method = method.resolved(ImageData(images, torch.arange(2), ("a", "b"), channels, channels, "x", True), 1)
        return method.zca, method.transform

    assert of((3, 32, 32)) == of((3, 64, 64)) == ("relative", "on")
    assert of((1, 28, 28)) == ("none", "on")
    assert of((3, 128, 128)) == ("none", "off")
    assert of((3, 32, 32), zca="none", transform="off") == ("none", "off")
    with pytest.raises(InputError, match=r"transform = 'on': images of \[3, 128, 128\] need a matrix of 49152"):
        of((3, 128, 128), transform="on")
    with pytest.raises(InputError, match="at least two classes"):
        make("rfad").resolved(replace(data, classes=("a",), labels=torch.zeros(30, dtype=torch.int64)), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "yes"}, "transform = 'yes': must be one of auto, on, off"),
        ({"networks": 0}, "networks = 0: must be at least 1"),
        ({"image_momentum": 1.0}, "image_momentum = 1.0: must be below 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make("rfad", **options)


def test_the_kernel_is_that_of_endless_width():
    """The closed form of one convolution and ReLU before a linear layer, against a hundred wide networks."""
    pixels = torch.tensor([[[[0, 255], [128, 64]]]], dtype=torch.uint8)
    images = torch.cat([pixels, pixels.flip(3), pixels.flip(2) // 2])
    data = ImageData(images, torch.arange(3), ("a", "b", "c"), (0.5,), (0.25,), "x", False)
    run = prepared(data, "kernel-convnet:depth=1,width=1000,pool=none", ipc=1, networks=60)
    found = run.method.targets(run, torch.arange(3)).double()
    x = nn.functional.unfold(data.batch(), 3, padding=1).double()  # [3, 9, places]
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for p in range(4):
        k = 0.01 + 2 / 9 * x[:, :, p] @ x[:, :, p].T
        scale = (k.diag()[:, None] * k.diag()).sqrt()
        angle = (k / scale).clamp(-1, 1).acos()
        expected += scale * (angle.sin() + (math.pi - angle) * angle.cos()) / (2 * math.pi) / 4
    torch.testing.assert_close(found @ found.T, 0.01 + 2 * expected, rtol=0.03, atol=0.01)


def test_distils_digits_far_above_their_start():
    """Ten learned images beat ten real ones by far, under the protocol of RFAD with a fifth of its steps."""
    train, test = load("digits")
    spec = "kernel-convnet:depth=2,width=64"
    start = make("rfad").start(train, 1, "real", rng(0), spec)
    made = distill(make("rfad", iterations=60, image_lr=0.01, networks=2, batch=200), train, 1, network=spec)
    recipe = protocol("rfad", test, ipc=1, epochs=200)
    before, after = (evaluate(s, test, network=spec, protocol=recipe, repeats=2).mean for s in (start, made))
    assert after > before + 0.1
