"""FRePo: its loss written out, its pool, its labels, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, make
from bilp_core.distillers.frepo import margin
from bilp_core.distillers.pool import Member, Shuffled
from bilp_core.errors import Diverged, InputError
from bilp_core.evaluation import evaluate, protocol
from bilp_core.synthetic import SyntheticSet

from .common import a_run, rng

NET = "frepo-convnet:depth=2,width=4,norm=batch"


def prepared(data, spec=NET, ipc=2, init="noise", **options):
    run = a_run(make("frepo", **options), data, spec, ipc, init)
    run.state = run.method.prepare(run)
    return run


@pytest.mark.parametrize("flip", ["on", "off"])
def test_loss_and_gradient_equal_the_formula(data, flip):
    run = prepared(data, flip=flip)
    net = run.state.pool.members[0].net
    net(run.images.detach())  # statistics that differ from those of a new network
    net.eval()
    labels = torch.randn(6, 3, generator=rng(3))
    labels[0] = torch.tensor([0.0, 0.1, 0.2])  # a margin below 1/3
    with torch.no_grad():
        run.labels.copy_(labels)
    x = run.data.batch()
    wanted = torch.eye(3)[run.data.labels] - 1 / 3
    run.net = net
    ours = run.method.loss(run, torch.arange(len(x)))

    images = run.images.detach().clone().requires_grad_()
    own = labels.clone().requires_grad_()
    support, theirs = images, own
    if flip == "on":
        support = torch.cat([images, images[..., torch.arange(7, -1, -1)]])
        theirs = torch.cat([own, own])
    features = net.embed(support).double()
    kernel = features @ features.T
    kernel = kernel + 1e-6 * kernel.trace() / len(kernel) * torch.eye(len(kernel))
    predicted = net.embed(x).double() @ features.T @ torch.linalg.inv(kernel) @ theirs.double()
    error = sum(0.5 * (p - w).square().sum() for p, w in zip(predicted, wanted, strict=True)) / len(x)
    gaps = [min(row.max() - row.sort().values[-2], torch.tensor(1 / 3)) for row in own]
    assert gaps[0].item() == pytest.approx(0.1)
    loss = error - sum(gaps) / 6
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    gradients = torch.autograd.grad(ours, [run.images, run.labels])
    for found, expected in zip(gradients, torch.autograd.grad(loss, [images, own]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_margin_is_cut_off_at_one_over_the_classes():
    labels = torch.tensor([[0.9, 0.0, 0.0, 0.1], [0.0, 0.3, 0.1, 0.2]])
    assert margin(labels).item() == pytest.approx((0.25 + 0.1) / 2)


def test_labels_start_centred_and_scaled_and_move(data):
    run = prepared(data, ipc=1, init="real", iterations=5)
    scale = math.sqrt(3 / 10)
    start = (torch.eye(3) - 1 / 3) / scale
    torch.testing.assert_close(run.labels.detach(), start)
    assert run.labels.requires_grad
    run.method.step(run)
    assert (run.labels.detach() - start).abs().max() > 1e-5
    made = distill(make("frepo", iterations=5, learn_labels=False), data, 1, network=NET)
    torch.testing.assert_close(made.labels, start)


def test_step_of_images_and_labels_is_in_proportion_to_their_norms(data):
    """LAMB: a step has the length lr times the norm of what it changes; the learning rate falls to a tenth."""
    run = prepared(data, ipc=1, init="real", iterations=4, image_lr=0.01)
    for t in range(4):
        before = run.images.detach().clone(), run.labels.detach().clone()
        run.method.step(run)
        lr = 0.01 * (0.1 + 0.9 * (1 + math.cos(math.pi * t / 4)) / 2)
        for old, new in zip(before, (run.images, run.labels), strict=True):
            assert (new - old).norm().item() == pytest.approx(lr * old.norm().item(), rel=1e-3)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_pool_updates_what_was_used_and_restarts_what_is_old(data):
    run = prepared(data, pool=3, updates=6)
    pool = run.state.pool
    assert [member.age for member in pool.members] == [0, 2, 4]
    weights = [member.net.classifier.weight.detach().clone() for member in pool.members]
    assert not torch.equal(weights[0], weights[1])
    used = pool.members[2]
    images, labels = run.images.detach(), run.labels.detach()
    ages = []
    for _ in range(5):
        pool.advance(used, images, labels)
        ages.append(used.age)
    # it had four updates, so three more bring it above six, and then it starts anew
    assert ages == [5, 6, 7, 0, 1]
    assert len(used.optimizer.state) > 0
    for member, weight in zip(pool.members[:2], weights[:2], strict=True):
        assert torch.equal(member.net.classifier.weight, weight)
    counts = {id(pool.pick(run.host)) for _ in range(60)}
    assert counts == {id(member) for member in pool.members}


def test_update_is_a_step_of_adam_on_the_regression_of_labels(data):
    run = prepared(data, "frepo-convnet:depth=1,width=4")
    images, labels = run.images.detach(), run.labels.detach()
    member = Member(run.net, 0.01, rng(5), 0)
    before = [p.detach().clone().requires_grad_() for p in run.net.parameters()]
    logits = torch.func.functional_call(
        run.net, dict(zip((n for n, _ in run.net.named_parameters()), before, strict=True)), (images,)
    )
    gradients = torch.autograd.grad(0.5 * (logits - labels).square().sum() / len(images), before)
    member.update(images, labels)
    for old, gradient, new in zip(before, gradients, run.net.parameters(), strict=True):
        # the first step of Adam
        torch.testing.assert_close(new, old - 0.01 * gradient / (gradient.abs() + 1e-8))


def test_updates_see_a_part_of_many_images(data):
    run = prepared(data, network_batch=4)
    pool, seen = run.state.pool, []
    member = pool.members[0]
    member.update = lambda images, labels: seen.append((images, labels))
    pool.advance(member, run.images.detach(), run.labels.detach())
    (images, labels) = seen[0]
    assert len(images) == len(labels) == 4
    for image, label in zip(images, labels, strict=True):
        place = (run.images == image).flatten(1).all(1).nonzero().item()
        assert torch.equal(run.labels[place], label)


def test_batches_are_epochs_without_repetition():
    drawn = Shuffled(10, 4, rng())
    first, second, third = (next(drawn) for _ in range(3))
    assert len(first) == len(second) == len(third) == 4
    assert len({*first.tolist(), *second.tolist()}) == 8
    assert sorted(next(Shuffled(3, 1024, rng())).tolist()) == [0, 1, 2]


def test_settings_of_the_reference(data):
    def of(shape, classes, ipc, flip=True):
        images, labels = torch.zeros(2, *shape, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
        channels = (0.5,) * shape[0]
        names = tuple(str(c) for c in range(classes))
        method = make("frepo").resolved(ImageData(images, labels, names, channels, channels, "x", flip), ipc)
        return method.flip, method.zca

    assert of((3, 32, 32), 10, 1) == of((3, 32, 32), 10, 50) == of((3, 32, 32), 100, 1) == ("on", "relative")
    assert of((3, 64, 64), 200, 1) == ("on", "relative")
    assert of((3, 32, 32), 100, 10) == of((3, 64, 64), 200, 10) == ("off", "relative")
    assert of((1, 28, 28), 10, 1) == ("off", "none")
    assert of((3, 32, 32), 10, 1, flip=False) == ("off", "relative")
    assert of((3, 128, 128), 10, 1) == ("on", "none")
    assert make("frepo", flip="on", zca="none").resolved(data, 1).flip == "on"
    with pytest.raises(InputError, match="at least two classes"):
        of((3, 32, 32), 1, 1)


def test_soft_labels_are_saved_and_the_same_seed_gives_the_same_set(data, tmp_path):
    made, again, other = (
        distill(make("frepo", iterations=3, pool=2, updates=1, batch=7), data, 2, network=NET, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(made.images, again.images)
    assert torch.equal(made.labels, again.labels)
    assert not torch.equal(made.labels, other.labels)
    assert made.labels.shape == (6, 3)
    made.save(tmp_path / "set.safetensors")
    loaded = SyntheticSet.load(tmp_path / "set.safetensors")
    assert torch.equal(loaded.labels, made.labels)
    assert torch.equal(loaded.images, made.images)


@pytest.mark.parametrize("spec", ["convnet:depth=2,width=4", "mlp", "frepo-convnet:depth=1,width=4,norm=none"])
def test_other_networks_work(data, spec):
    assert torch.isfinite(distill(make("frepo", iterations=2, pool=2), data, 1, network=spec).images).all()


def test_colour_is_whitened_and_mirrored(data):
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=rng(4), dtype=torch.uint8)
    colour = replace(data, images=pixels, mean=(0.5,) * 3, std=(0.25,) * 3, flip=True)
    made = distill(make("frepo", iterations=2, image_lr=1e-6, learn_labels=False), colour, 1, network=NET)
    assert (made.meta["options"]["flip"], made.meta["options"]["zca"]) == ("on", "relative")
    # images that hardly moved are real ones again when the whitening is undone
    shown = made.pixels().flatten(1).int()
    distance = (shown[:, None] - pixels.flatten(1).int()).abs().amax(2).amin(1)
    assert distance.max() <= 1


def test_equal_images_are_refused_without_a_ridge(data):
    same = replace(data, images=data.images[:1].expand(30, -1, -1, -1).contiguous())
    with pytest.raises(InputError, match="singular"):
        distill(make("frepo", iterations=2, ridge=0.0), same, 1, network=NET)
    distill(make("frepo", iterations=2), same, 1, network=NET)


def test_what_is_not_finite_is_an_error(data):
    with pytest.raises(Diverged, match="not finite; lower image_lr"):
        distill(make("frepo", iterations=20, image_lr=1e30), data, 1, network=NET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": "yes"}, "flip = 'yes': must be one of auto, on, off"),
        ({"pool": 0}, "pool = 0: must be at least 1"),
        ({"image_momentum": 1.0}, "image_momentum = 1.0: must be below 1"),
        ({"ridge": -1.0}, "ridge = -1.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make("frepo", **options)


def test_distils_digits_far_above_their_start():
    """Ten learned images beat ten real ones by far, under the protocol of FRePo with a tenth of its steps."""
    train, test = load("digits")
    spec = "frepo-convnet:depth=2,width=8,norm=batch"
    start = make("frepo").start(train, 1, "real", rng(0), spec)
    made = distill(make("frepo", iterations=80, image_lr=0.03), train, 1, network=spec)
    assert torch.equal(made.hard_labels, start.labels)  # no image has changed its class
    recipe = protocol("frepo", test, ipc=1, epochs=80, lr=1e-2)
    judge = "frepo-convnet:depth=2,width=8"
    before, after = (evaluate(s, test, network=judge, protocol=recipe, repeats=2).mean for s in (start, made))
    assert before < 0.75
    assert after > before + 0.1
    with pytest.raises(InputError, match="evaluate with loss=mse"):
        evaluate(made, test, network=judge, protocol=protocol("dm", test), repeats=1)
