"""The effect of a real sample on ridge regression, in closed form, against its definition; adaptive pruning by it."""

import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, distill
from bilp_core.distillers.regression import Regression, factored, sides
from bilp_core.errors import InputError
from bilp_core.pruning import VARIANTS, Adaptive
from bilp_core.pruning.ite import leave_one_out

from .common import NET, a_run, rng, short

CASES = [
    ("frepo", {"flip": "on"}),
    ("frepo", {"flip": "off"}),
    ("rfad", {"networks": 2}),
    ("rfad", {"networks": 2, "platt": False, "ridge": 0.3}),
    ("kip", {"ridge": 0.3}),
    ("kip", {"kernel": "convnet", "depth": 2}),
]


def in_float64(method, data, monkeypatch, spec=NET):
    run = a_run(method, data, spec)
    plain = ImageData.batch
    monkeypatch.setattr(ImageData, "batch", lambda self, picks: plain(self, picks).double())
    run.net.double()
    run.images = run.images.detach().double().requires_grad_()
    run.state = run.method.prepare(run)
    run.labels = run.labels.detach().double()
    for part in vars(run.state).values() if run.state else ():
        if isinstance(part, torch.Tensor):
            part.data = part.data.double()
    return run


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_closed_form_equals_the_definition(name, options, data, monkeypatch):
    """The loss recomputed without each sample in turn, in double precision; samples of all classes together."""
    run = in_float64(short(name, **options), data, monkeypatch)
    picks = torch.randperm(30, generator=rng(5))[:12]
    by_force = leave_one_out(lambda subset: run.method.loss_against(run, 0, picks[subset]), run.images, len(picks))
    of = run.method.treatments(run, 0, picks)
    assert (by_force > 0).all()
    for variant in ("exact", "taylor"):
        torch.testing.assert_close(VARIANTS[variant](of, run.rng), by_force, rtol=1e-6, atol=1e-14)
    slope = torch.autograd.grad(run.method.loss(run, picks), run.images)[0]
    torch.testing.assert_close(of.transposed(of.slope), slope.flatten(), rtol=1e-6, atol=1e-14)


def test_sides_equal_finite_differences():
    draw = [torch.randn(shape, generator=rng(k)).double() for k, shape in enumerate([(4, 6), (4, 3), (5, 4), (5, 3)])]
    root, labels, cross, wanted = draw
    kernel = root @ root.T + torch.eye(4)

    def losses(kernel, cross):
        predicted = cross @ torch.cholesky_solve(labels, factored(kernel, 0.1))
        return (predicted - wanted).square().sum(1) / 2, predicted

    _, predicted = losses(kernel, cross)
    a, b = sides(kernel, labels, cross, 0.1, predicted - wanted)
    for seed in range(3):
        dk, dx = torch.randn(4, 4, generator=rng(seed)).double(), torch.randn(5, 4, generator=rng(9 + seed)).double()
        dk = dk + dk.T
        up, down = (losses(kernel + e * dk, cross + e * dx)[0] for e in (1e-6, -1e-6))
        found = (b * dx).sum(1) - torch.einsum("nm,mk,nk->n", a, dk, b) - 0.1 / 4 * (a * b).sum(1) * dk.trace()
        torch.testing.assert_close(found, (up - down) / 2e-6, rtol=1e-6, atol=1e-6)


METHODS_OF_REGRESSION = [name for name, method in METHODS.items() if issubclass(method, Regression)]


@pytest.mark.parametrize("name", METHODS_OF_REGRESSION)
def test_survivors_serve_until_the_next_decision(name, data, monkeypatch):
    run = a_run(short(name, batch=24), data, adaptive=Adaptive(0.4, lazy=3))
    run.state, used, loss = run.method.prepare(run), [], type(run.method).loss
    monkeypatch.setattr(type(run.method), "loss", lambda self, run, picks: used.append(picks) or loss(self, run, picks))
    for _ in range(7):
        run.method.step(run)
    assert run.batches.seen == 3 * 24
    assert 0 < run.batches.dropped < 3 * 24
    for start in (0, 3):
        assert torch.equal(used[start], used[start + 1])
        assert torch.equal(used[start], used[start + 2])
    assert not torch.equal(used[0], used[3])


@pytest.mark.parametrize("name", METHODS_OF_REGRESSION)
def test_each_class_has_its_own_law(name, data):
    run = a_run(short(name), data, adaptive=Adaptive(0.4, lazy=3))
    run.state = run.method.prepare(run)
    picks = torch.arange(30)
    effects = VARIANTS["exact"](run.method.treatments(run, 0, picks), run.rng)
    kept = run.method.chosen(run, lambda: picks)
    for c, law in enumerate(run.batches.laws):
        own = effects[data.labels == c]
        assert law.mean == pytest.approx(own.mean().item(), rel=0.2)  # those of the sketch
        assert 0 < (data.labels[kept] == c).sum() <= 10


@pytest.mark.parametrize("name", METHODS_OF_REGRESSION)
def test_classes_of_a_few_samples(name, data):
    """And batches that miss a class, or are of one sample."""
    few = data.subset(torch.cat([data.of_class(c)[:n] for c, n in enumerate((1, 2, 9))]))
    for batch in (1, 2, 5):
        made = distill(short(name, iterations=4, batch=batch), few, 1, network=NET, adaptive=Adaptive(0.3, lazy=2))
        assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", METHODS_OF_REGRESSION)
def test_effects_that_do_not_fit_are_refused(name, data, monkeypatch):
    monkeypatch.setattr("bilp_core.distillers.regression.MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"effects of a batch take .* GB, more than"):
        distill(short(name, iterations=1), data, 1, network=NET, adaptive=Adaptive(0.3))
    distill(short(name, iterations=1), data, 1, network=NET)
