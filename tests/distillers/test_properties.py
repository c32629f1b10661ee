"""What holds of every method there is: a new one is tested by its entry in the registry."""

from dataclasses import replace

import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, distill
from bilp_core.synthetic import SyntheticSet

from .common import NET, rng, short

# each step sees all real samples, and treats all alike
WHOLE = {
    "dc": {"inner": 2},
    "dsa": {"inner": 2},
    "idc": {"augment": "none", "cutmix": "off", "network_images": 20, "network_batch": 20},
    "mtt": {"expert_batch": 20},
    "tesla": {"expert_batch": 20},
    "datm": {"expert_batch": 20},
    "haba": {"expert_batch": 20},
    "sre2l": {"teacher_batch": 20, "teacher_augment": "none"},
}
LEAST = {"frepo": -1 / 2}  # of a loss, where it is not 0: no error, less the largest margin of two labels


@pytest.fixture
def easy():
    """Two classes of ten, bright on the left or on the right, with noise."""
    labels = torch.arange(2).repeat_interleave(10)
    bright = (torch.arange(8) >= 4).long() == labels.view(-1, 1, 1, 1)
    images = 200 - 160 * bright + 20 * torch.randn(20, 1, 8, 8, generator=rng())
    return ImageData(
        images.clamp(0, 255).to(torch.uint8), labels, ("right", "left"), (0.47,), (0.32,), "easy", flip=False
    )


def made(name, data, **options):
    method = short(name, **{"iterations": 3, **WHOLE.get(name, {}), **options})
    return distill(method, data, 2, network=NET, init="noise", seed=1)


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls_on_an_easy_set(name, easy):
    losses = []

    def progress(done, total, note):
        if note.startswith("loss"):  # a first stage has other notes
            losses.append(float(note.split()[-1]))

    rate = {"image_lr": 0.03} if name in ("frepo", "rfad") else {}
    distill(short(name, iterations=40, **rate), easy, 1, network=NET, init="noise", progress=progress)
    assert len(losses) == 40
    first, last = (sum(part) / 10 - LEAST.get(name, 0) for part in (losses[:10], losses[-10:]))
    assert 0 < last < 2 / 3 * first


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_samples_does_not_matter(name, easy):
    """But for rounding, which a round may magnify where a gradient is all but zero."""
    order = torch.randperm(len(easy), generator=rng(2))
    one, other = (made(name, data, iterations=1) for data in (easy, easy.subset(order)))
    moved = (one.images - short(name).start(easy, 2, "noise", rng(1), NET).images).norm()
    assert (other.images - one.images).norm() < 0.001 * moved
    torch.testing.assert_close(other.labels, one.labels)


@pytest.mark.parametrize("name", METHODS)
def test_names_of_classes_are_passed_on_and_do_not_matter(name, easy):
    one, other = made(name, easy), made(name, replace(easy, classes=("a", "b")))
    assert (one.classes, other.classes) == (("right", "left"), ("a", "b"))
    assert torch.equal(other.images, one.images)
    assert torch.equal(other.labels, one.labels)


@pytest.mark.parametrize("name", METHODS)
def test_a_set_comes_back_from_its_file(name, easy, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    whitened = {} if name in ("idc", "sre2l") else {"zca": "absolute"}
    one = made(name, easy, **whitened)
    one.save(first)
    back = SyntheticSet.load(first)
    for ours, theirs in zip((*one.materialise(), one.pixels()), (*back.materialise(), back.pixels()), strict=True):
        assert torch.equal(theirs, ours)
        assert theirs.dtype == ours.dtype
    for field in ("classes", "mean", "std", "formation", "meta"):
        assert getattr(back, field) == getattr(one, field)
    assert bool(back.whitening) == bool(whitened)
    back.save(second)
    assert second.read_bytes() == first.read_bytes()
