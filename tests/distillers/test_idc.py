"""IDC against its formulas, written out here on their own."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bilp_core.data import ImageData
from bilp_core.distillers import distill, make
from bilp_core.errors import InputError
from bilp_core.nets import augment, network
from bilp_core.synthetic import SyntheticSet

from .common import NET, a_run, rng, short


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_loss_and_gradient_equal_the_formula(metric, data):
    """Quarters magnified, one augmentation on real and synthetic images, gradients of convolution kernels only."""
    run = a_run(short("idc", metric=metric), data)
    net, state = network(NET, data.shape, 3), run.rng.get_state()
    net.load_state_dict(run.net.state_dict())
    loss = run.method.class_loss(run, 1)
    (gradient,) = torch.autograd.grad(loss, run.images)

    run.rng.set_state(state)
    real = run.batches(1)
    stored = run.images.detach().clone().requires_grad_()
    own = stored[2:4]
    quarters = torch.cat([own[:, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)])
    whole = F.interpolate(quarters, size=(8, 8), mode="bilinear")
    drawn = augment.draw("idc:color_crop_cutout", 1, (8, 8), run.rng)
    total = 0
    losses = [F.cross_entropy(net(augment.apply(x, drawn)), torch.full((len(x),), 1)) for x in (real, whole)]
    kernels = [p for n, p in net.named_parameters() if p.ndim == 4]
    assert len(kernels) == 2
    for a, b in zip(*(torch.autograd.grad(x, kernels, create_graph=True) for x in losses), strict=True):
        total = total + ((a - b) ** 2 if metric == "mse" else (a - b).abs()).sum()
    (expected,) = torch.autograd.grad(total, stored)
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)
    assert gradient[2:4].abs().sum() > 0


def test_a_round_moves_pixels_by_the_learning_rate(data, monkeypatch):
    """One step a class, with momentum of the whole set, in [0, 1] pixel space."""
    run = a_run(short("idc", iterations=1, inner=1), data)
    monkeypatch.setattr(type(run.method), "train_network", lambda *args: None)
    gradients, plain = [], type(run.method).class_loss

    def class_loss(self, run, label):
        loss = plain(self, run, label)
        gradients.append(torch.autograd.grad(loss, run.images, retain_graph=True)[0])
        return loss

    monkeypatch.setattr(type(run.method), "class_loss", class_loss)
    mean, std = data.mean[0], data.std[0]
    pixels = (run.images.detach() * std + mean).clamp(0, 1)
    run.method.step(run)
    velocity = torch.zeros_like(pixels)
    for gradient in gradients:
        velocity = 0.5 * velocity + gradient / std
        pixels = pixels - 0.01 * velocity
    torch.testing.assert_close(run.images.detach() * std + mean, pixels, rtol=1e-4, atol=1e-6)


def test_the_network_trains_on_so_many_real_images(data, monkeypatch):
    seen = []
    plain = ImageData.batch
    run = a_run(short("idc", network_batch=4), data)
    optimizer = torch.optim.SGD(run.net.parameters(), 0.1)
    monkeypatch.setattr(ImageData, "batch", lambda self, picks: seen.append(picks) or plain(self, picks))
    before = [p.clone() for p in run.net.parameters()]
    run.method.train_network(run, optimizer, 10)
    assert [len(picks) for picks in seen] == [4, 4, 4]  # whole batches until 10 are reached
    assert len(torch.cat(seen).unique()) == 12
    seen.clear()
    run.method.train_network(run, optimizer, 1000)
    assert len(torch.cat(seen)) == 28  # one epoch at most, whole batches only
    assert any(not torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))


def test_starts(data):
    first = [data.batch(data.of_class(c)[:8]) for c in range(3)]
    made = make("idc").start(data, 2, "mix", rng(), NET).images
    for c in range(3):
        corner = F.interpolate(first[c][:2], size=(4, 4))
        assert torch.equal(made[2 * c : 2 * c + 2, :, :4, :4], corner)
        last = F.interpolate(first[c][6:], size=(4, 4))
        assert torch.equal(made[2 * c : 2 * c + 2, :, 4:, 4:], last)
    made = make("idc").start(data, 2, "random", rng(), NET).images
    assert torch.equal(made, torch.cat([part[:2] for part in first]))
    big = replace(data, images=torch.zeros(30, 1, 64, 64, dtype=torch.uint8))
    noise = make("idc").start(big, 2, "noise", rng(), NET).images * 0.25 + 0.5
    assert noise.min() == 0
    assert noise.max() == 1
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    inside = noise[(noise > 0) & (noise < 1)]
    assert inside.std() == pytest.approx(0.22, abs=0.01)  # 0.25, cut off at two standard deviations


def test_too_few_samples_and_unknown_starts(data):
    with pytest.raises(InputError, match="class 'a' has 10 samples.*'mix' with ipc = 3 needs 12"):
        distill(short("idc", iterations=1), data, 3, network=NET)
    with pytest.raises(InputError, match="init = 'herd' of 'idc': must be one of mix, random, noise"):
        distill(short("idc", iterations=1), data, 1, network=NET, init="herd")
    with pytest.raises(InputError, match="init = 'mix' of 'dc': must be one of noise, real, herd"):
        distill(short("dc", iterations=1), data, 1, network=NET, init="mix")
    with pytest.raises(InputError, match="has none"):
        distill(short("idc", iterations=1), data, 1, network="mlp")


@pytest.mark.parametrize(
    ("name", "shape", "ipc", "factor", "expected"),
    [
        ("cifar10", (3, 32, 32), 1, 2, ("mse", 5e-4, 2000, "idc:color_crop_cutout", "on")),
        ("cifar100", (3, 32, 32), 10, 2, ("mse", 5e-3, 2000, "idc:color_crop_cutout", "on")),
        ("svhn", (3, 32, 32), 50, 1, ("mse", 2.5e-2, 500, "idc:color_crop_cutout", "on")),
        ("mnist", (1, 28, 28), 10, 2, ("l1", 1e-4, 500, "idc:color_crop", "off")),
        ("mnist", (1, 28, 28), 10, 1, ("l1", 1e-4, 500, "idc:color_crop_cutout", "on")),
        ("fashion_mnist", (1, 28, 28), 1, 3, ("l1", 1e-5, 500, "idc:color_crop_cutout", "on")),
        ("flowers", (3, 64, 64), 10, 2, ("mse", 2e-2, 2000, "idc:color_crop_cutout", "on")),
        ("imagenet-10", (3, 224, 224), 20, 3, ("l1", 6e-3, 500, "idc:color_crop_cutout", "on")),
    ],
)
def test_settings_of_the_reference(name, shape, ipc, factor, expected):
    data = ImageData(
        torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), ("a",),
        (0.5,) * shape[0], (0.5,) * shape[0], name, True, named=name,
    )  # fmt: skip
    made = make("idc", factor=factor).resolved(data, ipc)
    assert (made.metric, made.network_images, made.augment, made.cutmix) == (expected[0], *expected[2:])
    assert made.image_lr == pytest.approx(expected[1])
    own = make("idc", factor=factor, image_lr=7, metric="l1", cutmix="off", augment="none").resolved(data, ipc)
    assert (own.image_lr, own.metric, own.cutmix, own.augment) == (7, "l1", "off", "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cos"}, "metric = 'cos': must be one of auto, mse, l1"),
        ({"factor": 0}, "factor = 0"),
        ({"inner": 0}, "inner = 0"),
        ({"augment": "idc:colour"}, "unknown operation 'colour'"),
        ({"cutmix": "maybe"}, "cutmix = 'maybe'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make("idc", **options)


def test_at_most_so_many_decoded_images_are_matched(data):
    run = a_run(short("idc", batch_synthetic=5), data)
    assert len(run.method.decoded(run, run.images_of(0))) == 5


def test_a_set_keeps_its_formation(data, tmp_path):
    made = distill(short("idc", iterations=1), data, 1, network=NET, seed=1)
    assert made.meta["options"]["metric"] == "mse"  # what was resolved is recorded
    made.save(tmp_path / "set.safetensors")
    loaded = SyntheticSet.load(tmp_path / "set.safetensors")
    images, labels = loaded.materialise()
    assert len(loaded.images) == 3
    assert images.shape == (12, 1, 8, 8)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(images, made.materialise()[0])
