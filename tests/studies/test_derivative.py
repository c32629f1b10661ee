"""The study of the loss and the norm of its derivative."""

import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.nets import Probe
from bilp_core.studies.derivative import by_epoch, common_share

NET = "convnet:depth=1,width=4"


def images(classes, count=40):
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=rng)
    names = tuple(map(str, range(classes)))
    return ImageData(pixels, torch.arange(count) % classes, names, (0.5,), (0.25,), "noise")


def test_two_classes_are_sorted_alike_and_more_are_not():
    """With two classes the norm is a rising function of the loss: the chapter's claim, to the last sample."""
    probe = Probe(trials=2, epochs=2, network=NET, batch=8)
    two, five = (by_epoch(images(classes), probe, 0, [0.1, 0.5]) for classes in (2, 5))
    assert list(two["trial"]) == [0] * 4 + [1] * 4
    assert two["correlation"].min() == pytest.approx(1)
    assert (two[["hardest", "easiest"]] == 1).all(axis=None)
    assert five["correlation"].max() < 1
    assert five["loss"].nunique() == 4  # of two trials and two epochs


def test_both_ends_are_counted_by_themselves():
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), torch.tensor([2.0, 1.0, 4.0, 3.0, 6.0, 5.0])
    assert common_share(a, b, 1 / 3) == 1
    assert common_share(a, b, 1 / 6) == 0
    assert common_share(-a, -b, 1 / 2) == pytest.approx(2 / 3)
