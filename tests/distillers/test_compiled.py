"""What of a round runs compiled, where that pays: real images, in parts of one size."""

import pytest
import torch

from bilp_core.distillers import distill
from bilp_core.distillers.cafe import maps
from bilp_core.pruning import Adaptive

from .common import NET, a_run, short

CHUNK = 5  # images of a part


@pytest.fixture
def sizes(monkeypatch):
    """Of the parts that a stand-in of torch.compile was called with, by the name of the function."""
    found = {}

    def stand_in(function, *_):
        def call(net, images, *more):
            found.setdefault(function.__name__, []).append(len(images))
            return function(net, images, *more)

        return call

    monkeypatch.setattr("bilp_core.distillers.run.compiled", stand_in)
    monkeypatch.setattr("bilp_core.distillers.run.split", lambda images: images.split(CHUNK))
    return found


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("frepo", {"batch": 10}, {"embed": CHUNK}),
        ("rfad", {"batch": 10, "networks": 2}, {"embed": CHUNK}),
        ("cafe", {"most": 2}, {"logits": CHUNK, "summed_maps": CHUNK, "mean_loss": 3}),
        ("dc", {"outer": 2, "inner": 1}, {"summed_loss": CHUNK, "mean_loss": 3}),
        ("idc", {"network_batch": 4}, {"summed_loss": CHUNK, "mean_loss": 4}),
    ],
)
def test_images_pass_in_parts_of_one_size(name, options, expected, data, sizes):
    """Real ones in parts, the three synthetic ones together."""
    spec = "kernel-convnet:depth=1,width=4" if name == "rfad" else NET
    distill(short(name, iterations=2, **options), data, 1, network=spec)
    assert {function: set(found) for function, found in sizes.items()} == {f: {size} for f, size in expected.items()}


def test_maps_of_cafe_are_of_its_own_images(data, sizes):
    """What survives adaptive pruning is filled up to a size that is compiled, and no row of that is left."""
    run = a_run(short("cafe"), data, adaptive=Adaptive(0.4))
    images = (data.batch(torch.arange(4)), data.batch(torch.arange(4, 11)))
    means, features = run.method.real_maps(run, images)
    assert sizes["summed_maps"] == [16, CHUNK, 16]
    for mean, each, own in zip(means, features, images, strict=True):
        flat, expected = maps(run.net, own, run.method.shallow, run.method.deep)
        torch.testing.assert_close(each, expected)
        torch.testing.assert_close(mean, flat.mean(0))
