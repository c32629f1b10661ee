"""Adaptive pruning inside the distillers."""

import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, ClassBatches, Matching, check_adaptive, distill, make
from bilp_core.errors import Diverged, InputError
from bilp_core.nets import network
from bilp_core.pruning import LAWS, VARIANTS, Adaptive
from bilp_core.pruning.ite import leave_one_out

from .common import NET, a_run, rng, short

SEPARABLE = [name for name, method in METHODS.items() if issubclass(method, Matching)]


@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("spec", [NET, "convnet:depth=1,width=4,norm=none"])
def test_exact_ite_equals_the_definition(name, spec, data, monkeypatch):
    """The loss recomputed from the images without each sample in turn, in double precision."""
    run = a_run(short(name), data, spec)
    run.net.double()
    run.images = run.images.detach().double().requires_grad_()
    plain = ImageData.batch
    monkeypatch.setattr(ImageData, "batch", lambda self, picks: plain(self, picks).double())
    picks, state = run.batches.indices(1, 7), run.rng.get_state()

    def loss(subset):
        run.rng.set_state(state)  # the same augmentation every time
        return run.method.loss_against(run, 1, picks[subset])

    by_force = leave_one_out(loss, run.images, len(picks))
    run.rng.set_state(state)
    ours = VARIANTS["exact"](run.method.treatments(run, 1, picks), run.rng)
    torch.testing.assert_close(ours, by_force, rtol=1e-6, atol=1e-12)
    assert (by_force > 0).any()  # not all: the slope of l1 is a sign, which one sample rarely turns


@pytest.mark.parametrize("name", SEPARABLE)
def test_the_mean_of_each_is_the_statistic(name, data):
    run = a_run(short(name), data)
    images = data.batch(data.of_class(0))
    means = [p.mean(0) for p in run.method.each(run, images, 0)]
    torch.testing.assert_close(means, run.method.statistic(run, images, 0, real=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SEPARABLE)
def test_the_loss_is_that_against_the_survivors(name, data):
    run = a_run(short(name), data, adaptive=Adaptive(0.4, lazy=3))
    state = run.rng.get_state()
    loss = run.method.class_loss(run, 0)
    kept = run.batches.survivors[0]
    assert 0 < len(kept) < 10
    run.rng.set_state(state)
    run.batches.indices(0, 10)  # the same draw of the batch, so that the augmentation is the same too
    torch.testing.assert_close(loss, run.method.loss_against(run, 0, kept), rtol=1e-4, atol=1e-6)


def test_survivors_are_used_until_the_next_decision(data):
    run = a_run(make("dm"), data, adaptive=Adaptive(0.4, lazy=3))
    used = []
    indices = run.batches.indices
    run.batches.indices = lambda label, size=None: used.append(indices(label, size)) or used[-1]
    for _ in range(7):
        run.method.class_loss(run, 0)
    fresh, survivors = used[::3], [used[1:3], used[4:6]]
    assert [len(picks) for picks in fresh] == [10, 10, 10]
    for picks, again in zip(fresh[:2], survivors, strict=True):
        assert torch.equal(*again)
        assert set(again[0].tolist()) < set(picks.tolist())


def test_lazy_one_decides_at_every_step(data):
    run = a_run(make("dm"), data, adaptive=Adaptive(0.4, lazy=1))
    for _ in range(3):
        assert run.batches.due(0)
        run.method.class_loss(run, 0)
    assert run.batches.seen == 30


@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("sizes", [(1, 2, 3), (10, 1, 1)])
def test_classes_of_a_few_samples(name, sizes, data):
    picks = torch.cat([data.of_class(c)[:n] for c, n in enumerate(sizes)])
    made = distill(
        short(name, iterations=3), data.subset(picks), 1, network=NET, init="noise", adaptive=Adaptive(0.3, lazy=2)
    )
    assert torch.isfinite(made.images).all()


def test_equal_samples_are_all_kept(data):
    same = data.subset(data.of_class(0)[:1].repeat(8))
    run = a_run(make("dm", augment=False), _as_one_class(same), adaptive=Adaptive(0.5))
    run.method.class_loss(run, 0)
    assert run.batches.dropped == 0


def _as_one_class(data):
    from dataclasses import replace

    return replace(data, labels=torch.zeros_like(data.labels), classes=("only",))


@pytest.mark.parametrize("name", SEPARABLE)
def test_off_means_untouched(name, data):
    """Without adaptive pruning nothing is drawn from the generator for it."""
    plain = distill(short(name, iterations=3), data, 1, network=NET, seed=4)
    pruned = distill(short(name, iterations=3), data, 1, network=NET, seed=4, adaptive=Adaptive(0.4, lazy=1))
    again = distill(short(name, iterations=3), data, 1, network=NET, seed=4, adaptive=Adaptive(0.4, lazy=1))
    assert torch.equal(pruned.images, again.images)
    assert not torch.equal(plain.images, pruned.images)
    assert 0 < pruned.meta["adaptive"]["dropped"] < 1
    assert "adaptive" not in plain.meta


def test_batches_without_adaptive_pruning_are_never_due(data):
    batches = ClassBatches(data, 8, rng())
    assert not batches.due(0)


def test_the_law_of_the_batch_keeps_the_share_where_the_running_one_is_left_behind(data):
    effects = torch.arange(1.0, 9.0)
    left = {}
    for law in LAWS:
        batches = ClassBatches(data, 8, rng(), Adaptive(0.5, lazy=1, law=law))
        picks = batches.indices(0)
        left[law] = [int(batches.prune(0, picks, scale * effects).sum()) for scale in (1, 10)]
    assert left == {"running": [4, 1], "batch": [4, 4]}  # still mostly the law of effects a tenth as large


def test_an_effect_that_is_not_finite_is_reported(data):
    batches = ClassBatches(data, 8, rng(), Adaptive(0.3))
    picks = batches.indices(0)
    with pytest.raises(Diverged, match="ITE in class 'a' is not finite"):
        batches.prune(0, picks, torch.full((8,), float("nan")))


def test_methods_and_networks_that_cannot(data):
    with pytest.raises(InputError, match="additively separable.*'mtt' is not"):
        check_adaptive(make("mtt"), network(NET, data.shape, 3))
    with pytest.raises(InputError, match="'dm' needs a network without BatchNorm"):
        distill(make("dm"), data, 1, network="convnet:depth=2,width=6,norm=batch", adaptive=Adaptive(0.3))
    made = distill(
        make("dc", iterations=2), data, 1, network="convnet:depth=2,width=6,norm=batch", adaptive=Adaptive(0.3)
    )
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", SEPARABLE)
def test_a_filled_up_batch_counts_only_its_own_images(name, data, monkeypatch):
    """With compiling on, whatever number survives is filled up to one that is compiled."""
    run = a_run(short(name), data, adaptive=Adaptive(0.4))
    images = data.batch(data.of_class(0)[:5])
    plain = run.method.statistic(run, images, 0, real=True)
    sizes = []

    def stand_in(function, *_):
        return lambda net, part, *args: sizes.append(len(part)) or function(net, part, *args)

    monkeypatch.setattr("bilp_core.distillers.run.compiled", stand_in)
    run._compiled.clear()
    torch.testing.assert_close(run.method.statistic(run, images, 0, real=True), plain, rtol=1e-4, atol=1e-6)
    assert sizes == [10], "a chunk, here a class"
