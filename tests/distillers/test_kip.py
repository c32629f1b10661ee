"""KIP: its loss written out, its batches, its labels, its parts, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, kip, make
from bilp_core.errors import InputError
from bilp_core.evaluation import evaluate, protocol
from bilp_core.nets.kernels import Kernel
from bilp_core.pruning import VARIANTS

from .common import NET, a_run, rng


def prepared(data, ipc=2, init="real", **options):
    run = a_run(make("kip", **{"batch": 30, **options}), data, NET, ipc, init)
    run.state = run.method.prepare(run)
    return run


def flat_kernel(x, y):
    """One hidden layer, by hand, a pair at a time."""
    out = torch.zeros(len(x), len(y), dtype=torch.float64)
    rows = []
    for a in x.flatten(1).double():
        row = []
        for b in y.flatten(1).double():
            k, v, w = (0.01 + 2 * (p @ q) / len(a) for p, q in ((a, b), (a, a), (b, b)))
            angle = (k / (v * w).sqrt()).clamp(-1 + 1e-15, 1 - 1e-15).acos()
            share = (torch.pi - angle) / torch.pi
            above = (v * w).sqrt() * (angle.sin() + (torch.pi - angle) * angle.cos()) / torch.pi
            row.append(0.01 + above + share * k)
        rows.append(torch.stack(row))
    return torch.stack(rows) + out


def test_loss_and_gradient_equal_the_formula(data):
    run = prepared(data, ridge=0.01)
    with torch.no_grad():
        run.labels += torch.randn(6, 3, generator=rng(3))
    ours = run.method.loss(run, torch.arange(30))
    images, labels = run.images.detach().clone().requires_grad_(), run.labels.detach().clone().requires_grad_()
    ss, ts = flat_kernel(images, images), flat_kernel(data.batch(), images)
    ss = ss + 0.01 * ss.trace() / 6 * torch.eye(6)
    predicted = ts @ torch.linalg.inv(ss) @ labels.double()
    loss = 0.5 * (predicted - torch.eye(3)[data.labels] + 1 / 3).square().mean()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-6)
    found, expected = (
        torch.autograd.grad(one, leaves) for one, leaves in ((ours, [run.images, run.labels]), (loss, [images, labels]))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_a_step_is_one_of_adam(data):
    run = prepared(data, image_lr=0.03)
    before = [run.images.detach().clone(), run.labels.detach().clone()]
    gradients = torch.autograd.grad(run.method.loss(run, torch.arange(30)), [run.images, run.labels])
    run.method.step(run)
    for old, new, g in zip(before, (run.images, run.labels), gradients, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.03 * g / (g.abs() + 1e-8), rtol=1e-3, atol=1e-5)


def test_labels_are_learned_or_stay(data):
    start = torch.eye(3) - 1 / 3
    fixed, moved = (
        distill(make("kip", iterations=3, batch=30, learn_labels=learn), data, 1, network=NET)
        for learn in (False, True)
    )
    torch.testing.assert_close(fixed.labels, start)
    assert (moved.labels - start).abs().max() > 0.01


def test_batches_have_as_many_of_each_class(data):
    run = prepared(data, batch=14)  # four of each
    picks = run.method.by_class(run)
    assert [sorted(set(data.labels[own].tolist())) for own in picks] == [[0], [1], [2]]
    assert [len(set(own.tolist())) for own in picks] == [4, 4, 4]
    assert not torch.equal(torch.cat(picks), torch.cat(run.method.by_class(run)))
    few = data.subset(torch.cat([data.of_class(c)[:n] for c, n in enumerate((1, 3, 10))]))
    run = prepared(few, ipc=1, batch=15)
    assert [len(own) for own in run.method.by_class(run)] == [1, 3, 5]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "convnet", "depth": 1},
        {"kernel": "conv", "depth": 2, "of": "nngp"},
    ],
)
def test_parts_that_are_computed_again_change_nothing(options, data, monkeypatch):
    run = prepared(data, **options)
    whole = run.method.loss(run, torch.arange(30))
    slopes = torch.autograd.grad(whole, [run.images, run.labels])
    sizes, call = [], Kernel.__call__
    monkeypatch.setattr(kip, "CHUNK_BYTES", 20 * kip.HELD * run.method.function().numbers((1, 8, 8)))
    monkeypatch.setattr(Kernel, "__call__", lambda self, x, y: sizes.append(len(x) * len(y)) or call(self, x, y))
    parted = run.method.loss(run, torch.arange(30))
    torch.testing.assert_close(parted, whole)
    assert max(sizes) <= 20
    for a, b in zip(torch.autograd.grad(parted, [run.images, run.labels]), slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_effects_through_parts_change_nothing(data, monkeypatch):
    run = prepared(data, kernel="conv", depth=1)
    picks, effects = torch.arange(12), []
    for room in (1000, 30):
        monkeypatch.setattr(kip, "CHUNK_BYTES", room * kip.HELD * 64)
        of = run.method.treatments(run, 0, picks)
        effects.append([VARIANTS[variant](of, rng(4)) for variant in ("exact", "probes")])
    torch.testing.assert_close(effects[1], effects[0], rtol=1e-4, atol=1e-9)


def test_what_does_not_fit_is_refused_by_number(data, monkeypatch):
    large = replace(data, images=torch.zeros(30, 1, 64, 64, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"one pair of 64x64 images takes \d+\.\d GB with kernel = 'conv', depth = 3"):
        distill(make("kip", kernel="conv", depth=3, head="global"), large, 1)
    monkeypatch.setattr(kip, "CHUNK_BYTES", 1000)
    with pytest.raises(InputError, match=r"1000000000 steps on 81 pairs .* \d+ hours here, more than hours = 0.01"):
        distill(make("kip", iterations=10**9, hours=0.01, batch=24), data.subset(torch.arange(24)), 1, network=NET)


def test_settings(data):
    def of(shape, **options):
        images, channels = torch.zeros(2, *shape, dtype=torch.uint8), (0.5,) * shape[0]
        data = ImageData(images, torch.arange(2), ("a", "b"), channels, channels, "x", True)
        return make("kip", **options).resolved(data, 1).zca

    assert of((3, 32, 32)) == "relative"
    assert of((1, 28, 28)) == of((3, 128, 128)) == of((3, 32, 32), zca="none") == "none"
    with pytest.raises(InputError, match="at least two classes"):
        make("kip").resolved(replace(data, classes=("a",), labels=torch.zeros(30, dtype=torch.int64)), 1)
    with pytest.raises(InputError, match="leave nothing of 8x8 images"):
        make("kip", kernel="convnet", depth=4).resolved(data, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "mlp"}, "kind = 'mlp': must be one of fc, conv, convnet"),
        ({"depth": 0}, "depth = 0: must be at least 1"),
        ({"head": "max"}, "head = 'max'"),
        ({"stem": True}, "stem = True: must be False with kernel = 'fc'"),
        ({"image_momentum": 1.0}, "image_momentum = 1.0: must be below 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make("kip", **options)


def test_distils_digits_far_above_their_start():
    """Ten learned images beat ten real ones, under the protocol of KIP with a third of its steps."""
    train, test = load("digits")
    spec = "kernel-convnet:depth=1,width=64"
    start = make("kip").start(train, 1, "real", rng(0), spec)
    made = distill(make("kip", iterations=100, batch=300), train, 1, network=spec)
    recipe = protocol("kip", test, ipc=1, epochs=300)
    before, after = (evaluate(s, test, network=spec, protocol=recipe, repeats=1).mean for s in (start, made))
    assert after > before + 0.1
