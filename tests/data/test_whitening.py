"""ZCA whitening, and what it does to data, synthetic sets and evaluation."""

from dataclasses import replace

import pytest
import torch

from bilp_core import distillers
from bilp_core.data import ImageData, whitening
from bilp_core.errors import InputError
from bilp_core.evaluation import Protocol, evaluate
from bilp_core.synthetic import SyntheticSet

NET = "convnet:depth=1,width=4"


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(count, shape=(2, 4, 4), seed=0):
    """Correlated pixels: noise smoothed along rows."""
    noise = torch.rand(count, *shape, generator=rng(seed))
    return ((noise + noise.roll(1, 3) + noise.roll(1, 2)) * 85).to(torch.uint8)


@pytest.fixture
def data():
    return ImageData(images_of(60), torch.arange(60) % 2, ("a", "b"), (0.5, 0.4), (0.2, 0.3), "tiny")


def test_absolute_is_written_out_for_two_pixels():
    images = torch.tensor([[0, 0], [255, 255], [255, 0], [255, 255]], dtype=torch.uint8).view(4, 1, 1, 2)
    data = ImageData(images, torch.zeros(4, dtype=torch.int64), ("a",), (0.5,), (0.5,), "pair")
    made = whitening.fit(data, "absolute")
    assert made.mean.tolist() == pytest.approx([0.75, 0.5])
    covariance = torch.tensor([[0.25, 1 / 6], [1 / 6, 1 / 3]], dtype=torch.float64) + 0.1 * torch.eye(2)
    # the symmetric inverse square root: W covariance W = 1
    w = made.matrix.double()
    assert torch.allclose(w @ covariance @ w, torch.eye(2, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(w, w.T, atol=1e-6)


def test_relative_whitens_normalised_pixels(data):
    made = whitening.fit(data, "relative")
    pixels = data.images.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.var((0, 2, 3), correction=0).sqrt()
    normalised = ((pixels - mean[:, None, None]) / std[:, None, None]).flatten(1)
    centred = normalised - normalised.mean(0)
    covariance = centred.T @ centred / 60
    values, vectors = torch.linalg.eigh(covariance + 0.1 * covariance.trace() / 32 * torch.eye(32))
    expected = centred @ (vectors * values.rsqrt()) @ vectors.T
    assert torch.allclose(made.apply(data.images).flatten(1).double(), expected, atol=1e-5)


def test_relative_leaves_directions_without_samples_alone(data):
    few = data.subset(torch.arange(10))
    made = whitening.fit(few, "relative")
    pixels = few.images.double() / 255
    std = pixels.var((0, 2, 3), correction=0).sqrt().repeat_interleave(16)
    values = torch.linalg.eigvalsh((made.matrix.double() * std[:, None] + (made.matrix.double() * std[:, None]).T) / 2)
    assert int(((values - 1).abs() < 1e-5).sum()) == 23


def test_a_channel_without_variance_stays_finite(data):
    flat = replace(data, images=data.images.index_fill(1, torch.tensor(1), 70))
    white = whitening.whitened(flat, "relative").batch()
    assert torch.isfinite(white).all()
    assert white[:, 1].abs().max() < 1e-3
    assert white[:, 0].std() > 0.5


def test_two_samples_and_64_by_64_pixels_are_enough(data):
    assert whitening.fit(data.subset(torch.arange(2)), "absolute").matrix.shape == (32, 32)
    whitening.check("relative", (3, 64, 64))


def test_a_whitening_is_known_by_its_kind_and_samples(data):
    other = replace(data, images=255 - data.images)
    tall = replace(data, images=data.images.view(60, 1, 8, 4))  # the same bytes
    made = [whitening.fit(one, kind) for one in (data, other, tall) for kind in ("absolute", "relative")]
    assert len({one.identity for one in made}) == 6
    assert whitening.fit(data, "absolute").identity == made[0].identity
    # without a source, by its numbers
    bare = [whitening.Whitening(one.mean, one.matrix) for one in made[:3]]
    assert len({one.identity for one in bare}) == 3
    assert whitening.Whitening(made[0].mean.clone(), made[0].matrix.clone()).identity == bare[0].identity


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_white_images_are_less_correlated_and_go_back(data, kind):
    white = whitening.whitened(data, kind)
    correlation = torch.corrcoef(white.batch().flatten(1).T) - torch.eye(32)
    before = torch.corrcoef(data.batch().flatten(1).T) - torch.eye(32)
    assert correlation.abs().mean() < before.abs().mean()
    back = white.whitening.invert(white.batch())
    assert torch.allclose(back, data.images.float() / 255, atol=1e-5)


def test_subset_and_batch_follow(data):
    white = whitening.whitened(data, "absolute")
    picks = torch.tensor([5, 3, 40])
    assert torch.equal(white.subset(picks).batch(), white.batch(picks))
    assert torch.equal(white.to("cpu").batch(picks), white.batch(picks))
    assert whitening.whitened(white, "relative") is white
    with pytest.raises(InputError, match="zca = 'pca'"):
        whitening.whitened(white, "pca")
    assert torch.equal(whitening.with_whitening(white, None).batch(), data.batch())
    assert whitening.with_whitening(white, None).whitening is None
    assert whitening.whitened(data, "none") is data


def test_what_cannot_be_whitened(data):
    with pytest.raises(InputError, match="zca = 'pca': must be one of none, absolute, relative"):
        whitening.whitened(data, "pca")
    with pytest.raises(InputError, match="whitening goes up to 12288 values"):
        whitening.check("absolute", (3, 128, 128))
    with pytest.raises(InputError, match="zca = 'pca': must be one of"):
        whitening.fit(data, "pca")
    with pytest.raises(InputError, match="of 1 samples"):
        whitening.fit(data.subset(torch.tensor([0])), "absolute")
    small, fitted = replace(data, images=data.images[:, :1].contiguous()), whitening.fit(data, "absolute")
    with pytest.raises(InputError, match="with 32 values does not fit"):
        whitening.with_whitening(small, fitted)
    with pytest.raises(InputError, match="idc: zca = 'absolute'"):
        distillers.make("idc", zca="absolute")


def test_a_set_distilled_white_shows_and_reloads_as_natural(data, tmp_path):
    method = distillers.make("dm", zca="absolute", iterations=1, image_lr=0.0, batch=8, augment=False)
    made = distillers.distill(method, data, 2, network=NET)
    # image_lr = 0: they are still the real images they started from
    originals = {bytes(image.flatten().tolist()) for image in data.images}
    assert all(bytes(image.flatten().tolist()) in originals for image in made.pixels())
    made.save(tmp_path / "s.safetensors")
    back = SyntheticSet.load(tmp_path / "s.safetensors")
    assert torch.equal(back.pixels(), made.pixels())
    assert torch.equal(back.whitening.matrix, made.whitening.matrix)
    assert back.grid().tobytes() == made.grid().tobytes()


def test_evaluation_whitens_the_test_data(data):
    white = whitening.whitened(data, "absolute")
    synthetic = SyntheticSet(
        white.batch(), white.labels, data.classes, data.mean, data.std, whitening=white.whitening
    )  # fmt: skip
    recipe = Protocol(epochs=3, test_every=1, augment="none")
    plain = evaluate(synthetic, data, network=NET, protocol=recipe, repeats=2)
    assert plain.curves == evaluate(synthetic, white, network=NET, protocol=recipe, repeats=2).curves
    other = evaluate(replace(synthetic, whitening=None), data, network=NET, protocol=recipe, repeats=2)
    assert other.curves["train_loss"] == plain.curves["train_loss"]
    assert other.curves["test_loss"] != plain.curves["test_loss"]


def test_the_whitening_in_a_file_must_fit(data, tmp_path):
    fitted = whitening.fit(data, "absolute")
    images = torch.zeros(2, 1, 4, 4)
    SyntheticSet(images, torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.5,), whitening=fitted).save(tmp_path / "s.st")
    with pytest.raises(InputError, match=r"its whitening does not fit images of \[1, 4, 4\]"):
        SyntheticSet.load(tmp_path / "s.st")
