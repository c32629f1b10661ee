"""IDM against its formula, written out here on its own."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bilp_core import distill, make
from bilp_core.data import ImageData
from bilp_core.errors import InputError
from bilp_core.nets import augment, network
from bilp_core.pruning import VARIANTS, ite
from bilp_core.synthetic import SyntheticSet

from .common import NET, a_run, rng, short


def a_queue(data, spec=NET, **options):
    """A run whose queue is there, and one of its networks in use."""
    run = a_run(short("idm", **options), data, spec)
    run.state = run.method.prepare(run)
    run.net.load_state_dict(run.state.pick(run.host).net.state_dict())
    run.net.eval()
    return run


@pytest.mark.parametrize("spec", [NET, NET + ",norm=batch"])
def test_loss_and_gradient_equal_the_formula(spec, data):
    """Quarters magnified, one augmentation for real and synthetic images, means of features, and the cross-entropy of
    the synthetic ones times the network's accuracy in per cent."""
    run = a_queue(data, spec, ce_weight=0.3, batch=8)
    run.state.accuracy = 0.25
    net = network(spec, data.shape, 3).eval()
    net.load_state_dict(run.net.state_dict())
    state = run.rng.get_state()
    loss = run.method.class_loss(run, 1)
    (gradient,) = torch.autograd.grad(loss, run.images)

    run.rng.set_state(state)
    real = run.batches(1)
    stored = run.images.detach().clone().requires_grad_()
    own = stored[2:4]
    quarters = torch.cat([own[:, :, i : i + 4, j : j + 4] for j in (0, 4) for i in (0, 4)])
    whole = F.interpolate(quarters, scale_factor=2, mode="bilinear")
    drawn = augment.draw("color_crop_cutout_scale_rotate", 1, (8, 8), run.rng)
    real, whole = (augment.apply(x, drawn) for x in (real, whole))
    features = [net.features(x).flatten(1).mean(0) for x in (real, whole)]
    total = ((features[0] - features[1]) ** 2).sum() - 0.3 * 25 * F.log_softmax(net(whole), 1)[:, 1].mean()
    (expected,) = torch.autograd.grad(total, stored)
    assert len(real) == 8
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    assert gradient[2:4].abs().sum() > 0


@pytest.mark.parametrize("spec", [NET, NET + ",norm=batch"])
def test_effects_are_those_of_leaving_one_out(spec, data):
    """By definition: meta-gradients with and without a sample, cross-entropy and all."""
    run = a_queue(data, spec, ce_weight=0.3)
    run.state.accuracy = 0.5
    picks = run.batches.indices(2)
    run.state.train(run.host)
    state = run.rng.get_state()

    def loss(subset):
        run.rng.set_state(state)
        return run.method.loss_against(run, 2, picks[subset])

    expected = ite.leave_one_out(loss, run.images, len(picks))
    for variant in ("exact", "taylor"):  # the same, where the loss is quadratic in the mean
        run.rng.set_state(state)
        effects = VARIANTS[variant](run.method.treatments(run, 2, picks), run.rng)
        torch.testing.assert_close(effects, expected, rtol=1e-3, atol=1e-5)
    assert effects.max() > 1.5 * effects.min() > 0


def test_a_round_moves_images_class_by_class(data, monkeypatch):
    run = a_run(short("idm", iterations=1, image_lr=0.2), data)
    run.state = run.method.prepare(run)
    gradients, plain = [], type(run.method).class_loss

    def class_loss(self, run, label):
        loss = plain(self, run, label)
        gradients.append(torch.autograd.grad(loss, run.images, retain_graph=True)[0])
        return loss

    monkeypatch.setattr(type(run.method), "class_loss", class_loss)
    images, velocity = run.images.detach().clone(), torch.zeros_like(run.images)
    run.method.step(run)
    for gradient in gradients:
        velocity = 0.5 * velocity + gradient
        images = images - 0.2 * velocity
    torch.testing.assert_close(run.images.detach(), images)


def ages(queue, known):
    """Numbers of the networks in the order in which they were first seen."""
    for member in queue.members:
        if all(member is not other for other in known):
            known.append(member)
    return [next(k for k, other in enumerate(known) if member is other) for member in queue.members]


def test_the_queue_grows_and_forgets_its_oldest(data):
    queue, known = a_queue(data, every=2, pool=5).state, []
    seen = [ages(queue, known)]
    for _ in range(8):
        queue.advance()
        seen.append(ages(queue, known))
    assert seen[0] == [0, 1, 2]
    assert seen[1] == seen[2] == [0, 1, 2, 3]  # one enters before the first round already
    assert seen[3] == seen[4] == [0, 1, 2, 3, 4]
    assert seen[5] == seen[6] == [1, 2, 3, 4, 5]
    assert seen[7] == [2, 3, 4, 5, 6]


def test_networks_train_on_real_data_and_count_how_often_they_are_right(data, monkeypatch):
    queue = a_queue(data, trained=2, network_steps=3, network_batch=8, recount=4).state
    batches, plain = [], ImageData.batch
    monkeypatch.setattr(ImageData, "batch", lambda self, picks: batches.append(picks) or plain(self, picks))
    before = [[p.clone() for p in member.net.parameters()] for member in queue.members]
    answers = []
    for member in queue.members:
        member.net.register_forward_hook(lambda _, __, logits: answers.append(logits.argmax(1)))
    queue.train(rng())
    moved = [
        any(not torch.equal(a, b) for a, b in zip(old, member.net.parameters(), strict=True))
        for old, member in zip(before, queue.members, strict=True)
    ]
    assert sorted(moved) == [False, True, True]
    assert [len(picks.unique()) for picks in batches] == [8] * 6
    right = sum(int((a == data.labels[p]).sum()) for a, p in zip(answers, batches, strict=True))
    assert sum(member.right for member in queue.members) == right
    assert sorted(member.seen for member in queue.members) == [0, 24, 24]
    for _ in range(4):
        queue.advance()
        assert max(member.seen for member in queue.members) == 24
    queue.advance()  # before the fifth round
    assert max(member.seen for member in queue.members) == 0


def test_a_fresh_batch_norm_knows_real_images(data):
    queue = a_queue(data, NET + ",norm=batch", network_batch=30).state
    net = queue.members[0].net
    seen = net.features[0](data.batch())
    torch.testing.assert_close(net.features[1].running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(net.features[1].running_var, seen.var((0, 2, 3)))
    assert net.features[1].momentum == 0.1


def test_the_weight_is_the_accuracy_of_the_network_that_was_picked(data):
    queue = a_queue(data).state
    for k, member in enumerate(queue.members):
        member.right, member.seen = k, 4
    found = set()
    for _ in range(50):
        member = queue.pick(rng(len(found)))
        assert queue.accuracy == member.right / 4
        found.add(member.right)
    assert len(found) > 1


def test_starts(data):
    constant = replace(data, images=(data.labels * 80 + 40).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8))
    made = make("idm").start(constant, 2, "mix", rng(), NET)
    assert torch.equal(made.pixels(), (made.labels * 80 + 40).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8))
    made = make("idm").start(data, 1, "mix", rng(), NET).images
    halves = F.avg_pool2d(data.batch(), 2)  # bilinear at half the size
    for c in range(3):
        own = halves[data.labels == c]
        for i, j in ((0, 0), (0, 4), (4, 0), (4, 4)):
            assert (own - made[c, :, i : i + 4, j : j + 4]).abs().amax((1, 2, 3)).min() < 1e-5
    assert torch.equal(
        make("idm").start(data, 2, "real", rng(), NET).images, make("dm").start(data, 2, "real", rng(), NET).images
    )


@pytest.mark.parametrize(
    ("name", "side", "classes", "ipc", "expected"),
    [
        ("cifar10", 32, 10, 1, (0.5, 5000, 5, 100, 10, 100)),
        ("cifar10", 32, 10, 10, (0.5, 256, 30, 100, 10, 100)),
        ("cifar10", 32, 10, 50, (0.1, 256, 30, 100, 10, 500)),
        ("cifar100", 32, 100, 1, (0.5, 5000, 5, 100, 10, 100)),
        ("cifar100", 32, 100, 10, (0.1, 256, 30, 100, 50, 100)),
        ("cifar100", 32, 100, 50, (0.1, 256, 30, 100, 10, 500)),
        ("tiny", 64, 200, 1, (0.5, 256, 30, 100, 10, 100)),
        ("tiny", 64, 200, 10, (0.5, 256, 30, 100, 10, 500)),
        ("tiny", 64, 200, 50, (0.8, 256, 30, 100, 50, 1000)),
        ("imagenet-100", 224, 100, 10, (3.0, 128, 50, 50, 10, 20_000)),
        ("imagenet-100", 224, 100, 50, (3.0, 128, 50, 100, 10, 20_000)),
    ],
)
def test_settings_of_the_reference(name, side, classes, ipc, expected):
    names, grey = tuple(map(str, range(classes))), ((0.5,) * 3,) * 2
    images, labels = torch.zeros(classes, 3, side, side, dtype=torch.uint8), torch.arange(classes)
    data = ImageData(images, labels, names, *grey, name, True, named=name)
    made = make("idm").resolved(data, ipc)
    found = (made.ce_weight, made.batch, made.every, made.pool, made.network_steps, made.recount)
    assert found == expected
    assert made.image_lr == 0.2
    own = make("idm", ce_weight=2, batch=7, every=8, pool=9, network_steps=3, recount=4).resolved(data, ipc)
    assert (own.ce_weight, own.batch, own.every, own.pool, own.network_steps, own.recount) == (2, 7, 8, 9, 3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0}, "factor = 0"),
        ({"trained": 0}, "idm: trained = 0: must be at least 1"),
        ({"network_batch": 0}, "idm: network_batch = 0: must be at least 1"),
        ({"ce_weight": -1}, "ce_weight = -1.0 is out of range"),
        ({"iterations": 0}, "iterations = 0 is out of range"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make("idm", **options)


def test_a_set_keeps_its_partition(data, tmp_path):
    made = distill(short("idm", iterations=1), data, 1, network=NET, seed=1)
    assert made.meta["options"]["pool"] == 100  # what was resolved is recorded
    made.save(tmp_path / "set.safetensors")
    images, labels = SyntheticSet.load(tmp_path / "set.safetensors").materialise()
    assert images.shape == (12, 1, 8, 8)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
