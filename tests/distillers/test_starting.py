"""A finished set as the start of another distillation."""

from dataclasses import replace

import pytest
import torch

from bilp_core.data import ImageData, load, whitened
from bilp_core.distillers import METHODS, distill, make, start_of
from bilp_core.errors import InputError
from bilp_core.synthetic import Formation, SyntheticSet, initial

NET = "convnet:depth=1,width=4"


@pytest.fixture(scope="module")
def train() -> ImageData:
    return load("digits").train


@pytest.fixture
def given(train) -> SyntheticSet:
    return initial(train, 2, "real", torch.Generator().manual_seed(0))


def still(name, **options):
    """A method that takes no steps of its own."""
    return make(name, iterations=1, image_lr=0.0, **options)


@pytest.mark.parametrize("name", ["dm", "frepo"])
def test_without_steps_the_start_is_the_end(train, given, name):
    made = distill(still(name), train, 2, network=NET, init=given)
    assert torch.equal(made.images, given.images)
    assert (made.meta["init"], made.meta["continues"]["method"]) == ("set", "")
    with_noise = distill(still(name), train, 2, network=NET, init="noise")
    assert not torch.equal(with_noise.images, given.images)


def test_more_rounds_of_another_method(train, given):
    first = distill(make("dm", iterations=3), train, 2, network=NET, init=given)
    second = distill(make("dc", iterations=1), train, 2, network=NET, init=first)
    assert second.meta["continues"]["method"] == "dm"
    assert not torch.equal(second.images, first.images)
    assert (second.images - first.images).norm() < (second.images - given.images).norm()


def test_normalised_otherwise_the_pixels_are_the_same(train, given):
    darker = replace(given, images=given.natural() / 0.5, mean=(0.0,), std=(0.5,))
    start = start_of(darker, make("dm"), train, 2)
    assert torch.allclose(start.images, given.images, atol=1e-6)
    white = whitened(train, "absolute")
    start = start_of(given, make("dm"), white, 2)
    assert torch.allclose(start.natural(), given.natural(), atol=1e-4)


def test_classes_are_sorted_and_soft_labels_become_classes(train, given):
    turned = torch.arange(20).flip(0)
    shares = torch.nn.functional.one_hot(given.labels, 10).float()[turned]
    start = start_of(replace(given, images=given.images[turned], labels=shares), make("dm"), train, 2)
    assert start.labels.tolist() == given.labels.tolist()
    assert torch.equal(start.images[:2], given.images[[1, 0]])


def test_what_cannot_start(train, given):
    with pytest.raises(InputError, match="ipc = 1: class '0' has 2 images in the set to start from"):
        distill(make("dm"), train, 1, network=NET, init=given)
    with pytest.raises(InputError, match="has factor 2, single, dm factor 1, single: must be the same"):
        distill(make("dm"), train, 2, network=NET, init=replace(given, formation=Formation(2)))
    with pytest.raises(InputError, match="class 0 is 'zero'"):
        distill(make("dm"), train, 2, network=NET, init=replace(given, classes=("zero", *given.classes[1:])))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_or_says_why_not(train, given, name):
    method = METHODS[name]()
    one = replace(given, formation=method.formation())
    if name in ("haba", "linba"):
        with pytest.raises(InputError, match="makes its images of fewer numbers"):
            start_of(one, method, train, 2)
    else:
        assert torch.equal(start_of(one, method, train, 2).images, given.images)
