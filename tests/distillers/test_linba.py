"""LinBa: its images, budget and gradient written out, its settings, and what it refuses."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, make
from bilp_core.distillers.linba import images_a_class
from bilp_core.errors import InputError
from bilp_core.evaluation import protocol, stored
from bilp_core.nets import augment
from bilp_core.pruning import Adaptive
from bilp_core.synthetic import Bases, SyntheticSet

from .common import NET, a_run, rng, short


def prepared(data, ipc=2, **options):
    run = a_run(short("linba", **options), data, ipc=ipc)
    run.state = run.method.prepare(run)
    return run


def test_an_image_is_the_sum_of_bases_magnified():
    bases, coefficients = torch.randn(3, 2, 4, 4, generator=rng()), torch.randn(5, 3, generator=rng(1))
    made = Bases(bases, coefficients, (8, 8)).decoded()
    for row, image in zip(coefficients, made, strict=True):
        small = sum(share * base for share, base in zip(row, bases, strict=True))
        wanted = F.interpolate(small[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(image, wanted)


def of_shape(shape, classes):
    images = torch.zeros(1, *shape, dtype=torch.uint8)
    each = (0.5,) * shape[0]
    return ImageData(images, torch.zeros(1, dtype=torch.int64), tuple(map(str, range(classes))), each, each, "x", True)


def test_images_a_class_at_the_authors_bases():
    cases = {
        ((3, 32, 32), 10, 1): 115,
        ((3, 32, 32), 10, 10): 1843,
        ((3, 32, 32), 100, 1): 184,
        ((1, 28, 28), 10, 1): 29,
    }
    for (shape, classes, ipc), images in cases.items():
        data = of_shape(shape, classes)
        assert make("linba").resolved(data, ipc).bases == 16
        assert images_a_class(data, ipc, 16, shape[0] * shape[1] * shape[2] // 4) == images


@pytest.mark.parametrize(
    ("shape", "classes", "ipc", "bases", "images"),
    [((3, 16, 16), 10, 1, 16, 28), ((3, 16, 16), 2, 1, 4, 96), ((1, 7, 5), 3, 1, 4, 4)],
)
def test_bases_and_coefficients_are_the_budget(shape, classes, ipc, bases, images):
    data = of_shape(shape, classes)
    method = make("linba").resolved(data, ipc)
    assert method.bases == bases
    start = method.start(data, ipc, "noise", rng(), NET)
    assert torch.bincount(start.labels).tolist() == [images] * classes
    assert start.decoder.decoded().shape == (classes * images, *shape)
    assert 0 <= ipc * classes * shape[0] * shape[1] * shape[2] - start.numbers < classes * bases
    assert stored(start) == ipc
    assert start.budget <= ipc
    bound = (6 / (bases + start.decoder.bases[0].numel())) ** 0.5
    assert 0.9 * bound < start.decoder.bases.abs().max() <= bound


def rounds_written_out(run, state, first, count, real):
    """Tables after `count` rounds whose students all train as one graph, with the same draws as the run's."""
    method, tables = run.method, [t.detach().clone() for t in first]
    speeds = [torch.zeros_like(t) for t in tables]
    run.rng.set_state(state)
    for _ in range(count):
        run.fresh_network()
        torch.randperm(3, generator=run.host)
        seen = torch.cat([run.batches(c) for c in range(3)])
        drawn = augment.draw("none", 1, (8, 8), run.host)
        bases, coefficients = (t.clone().requires_grad_() for t in tables)
        weights = {n: p.detach().clone().requires_grad_() for n, p in run.net.named_parameters()}
        moving = [torch.zeros_like(w) for w in weights.values()]
        for _ in range(method.steps):
            picks = method.picks(run, torch.arange(3))
            small = torch.einsum("mk,kchw->mchw", coefficients[picks], bases)
            images = F.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False)
            loss = F.cross_entropy(
                functional_call(run.net, weights, (augment.apply(images, drawn),)), run.labels[picks]
            )
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            moving = [method.network_momentum * v + g for v, g in zip(moving, slopes, strict=True)]
            weights = {n: w - method.network_lr * v for (n, w), v in zip(weights.items(), moving, strict=True)}
        loss = F.cross_entropy(functional_call(run.net, weights, (seen,)), real)
        gradients = torch.autograd.grad(loss, (bases, coefficients))
        norm = sum(g.square().sum() for g in gradients).sqrt()
        scale = min(1.0, method.clip / float(norm))
        speeds = [method.image_momentum * v + scale * g for v, g in zip(speeds, gradients, strict=True)]
        tables = [t - method.image_lr * v for t, v in zip(tables, speeds, strict=True)]
    return loss, tables


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_rounds_equal_the_whole_graph(data, clip):
    run = prepared(data, steps=5, network_lr=0.05, image_lr=0.5, clip=clip)
    first = (run.images, run.state.coefficients)
    first, state = [t.detach().clone() for t in first], run.rng.get_state()
    for _ in range(2):
        loss = run.method.step(run)
    own, tables = rounds_written_out(run, state, first, 2, torch.arange(3).repeat_interleave(10))
    assert float(loss) == pytest.approx(own.item(), rel=1e-5)
    for found, wanted, before in zip((run.images, run.state.coefficients), tables, first, strict=True):
        moved = wanted - before
        assert moved.norm() > 0
        assert (found.detach() - wanted).norm() < 2e-3 * moved.norm()


def test_a_step_sees_of_each_class_different_images(data):
    run = prepared(data, ipc=10, batch_synthetic=5)
    assert run.ipc > 5
    picks = run.method.picks(run, torch.tensor([0, 2]))
    assert run.labels[picks].tolist() == [0] * 5 + [2] * 5
    assert len(set(picks.tolist())) == 10
    assert run.method.picks(run, torch.tensor([1])).tolist() != run.method.picks(run, torch.tensor([1])).tolist()
    alone = prepared(data, ipc=10, classes=1)
    before = alone.state.coefficients.detach().clone()
    alone.method.step(alone)
    moved = (alone.state.coefficients.detach() - before).abs().sum(1) > 0
    assert set(alone.labels[moved].tolist()) < {0, 1, 2}


def test_the_file_keeps_bases_and_coefficients(data, tmp_path):
    made = distill(short("linba", iterations=1), data, 2, network=NET)
    made.save(tmp_path / "s.safetensors")
    back = SyntheticSet.load(tmp_path / "s.safetensors")
    assert torch.equal(back.images, made.images)
    assert back.numbers == made.numbers == made.decoder.bases.numel() + made.decoder.coefficients.numel()
    whole = replace(made, decoder=None)
    whole.save(tmp_path / "whole.safetensors")
    assert back.images.numel() * 4 > (tmp_path / "s.safetensors").stat().st_size - 8 * len(made.labels) - 3000


def test_settings_of_the_authors():
    method = make("linba")
    assert (method.iterations, method.image_lr, method.image_momentum, method.batch) == (5000, 0.1, 0.5, 64)
    assert (method.steps, method.network_lr, method.network_momentum) == (150, 0.01, 0.9)
    assert (method.batch_synthetic, method.clip, method.shrink, method.augment) == (32, 2.0, 2, False)
    judged = protocol("linba", load("digits").test)
    assert (judged.epochs, judged.lr, judged.momentum, judged.weight_decay) == (300, 0.01, 0.9, 0)
    assert (judged.batch, judged.augment) == (640, "none")
    recipe = judged.recipe()
    assert (recipe.epochs, recipe.drop_after, recipe.milestones, recipe.cosine_to) == (300, None, (), None)


def test_only_the_kept_samples_are_seen(data):
    kept = data.subset(torch.arange(12))
    made, other = (distill(short("linba", iterations=2), d, 2, network=NET) for d in (kept, data))
    assert made.images.shape == other.images.shape
    assert not torch.equal(made.images, other.images)
    assert made.meta["real_samples"] == 12


def test_refusals(data):
    with pytest.raises(InputError, match="linba: bases = 30 take 480 of the 192 numbers that ipc = 1 allows"):
        distill(short("linba", bases=30), data, 1, network=NET)
    with pytest.raises(InputError, match="linba: steps = 0: must be at least 1"):
        make("linba", steps=0)
    with pytest.raises(InputError, match="linba: clip = 0"):
        make("linba", clip=0)
    with pytest.raises(InputError, match="init = 'real' of 'linba': must be one of noise"):
        distill(short("linba"), data, 1, network=NET, init="real")
    with pytest.raises(InputError, match="additively separable .* that of 'linba' is not"):
        distill(short("linba"), data, 1, network=NET, adaptive=Adaptive(0.3))
