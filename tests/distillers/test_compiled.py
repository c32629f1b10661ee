"""What of a round runs compiled, where that pays: real images, in parts of one size."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from bilp_core.data import ImageData
from bilp_core.distillers import distill
from bilp_core.distillers.cafe import maps
from bilp_core.distillers.run import filled
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
    assert sizes["summed_maps"] == [CHUNK, CHUNK, CHUNK]
    for mean, each, own in zip(means, features, images, strict=True):
        flat, expected = maps(run.net, own, run.method.shallow, run.method.deep)
        torch.testing.assert_close(each, expected)
        torch.testing.assert_close(mean, flat.mean(0))


def test_a_chunk_has_few_sizes():
    for chunk in range(2, 1000):
        sizes = [filled(count, chunk) for count in range(1, chunk)]
        assert all(count <= size <= chunk for count, size in enumerate(sizes, 1))
        assert len(set(sizes)) <= 6, "with the chunk itself seven, of torch's eight"


def classes_of(*counts):
    images = torch.randint(0, 256, (sum(counts), 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return ImageData(images, labels, tuple("abc"[: len(counts)]), (0.5,), (0.25,), "tiny", True)


def test_whatever_survives_torch_never_gives_up_compiling(monkeypatch):
    """Small images, of which a chunk is the whole batch: torch compiles eight shapes of a function, and runs others
    uncompiled, or raises if it is told to."""
    monkeypatch.setenv("BILP_COMPILE", "1")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced as ever, no C++
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    run = a_run(short("dm", batch=256), classes_of(256, 256), adaptive=Adaptive(0.4))
    assert run.chunk == 256
    before, images = counters["stats"]["unique_graphs"], run.data.batch(run.data.of_class(0))
    with torch.no_grad():
        for count in range(256, 0, -15):
            found = run.method.statistic(run, images[:count], 0, real=True)[0]
            torch.testing.assert_close(found, run.net.embed(images[:count]).mean(0))
    assert counters["stats"]["unique_graphs"] - before == 7


@pytest.mark.parametrize(("count", "expected"), [(138, 138), (131, 138), (50, 50)])
def test_classes_that_differ_by_a_little_are_all_compiled(count, expected, sizes, monkeypatch):
    """As in digits, whose classes are smaller than a batch."""
    monkeypatch.setattr("bilp_core.distillers.run.split", lambda images: (images,))
    data = classes_of(138, count)
    run = a_run(short("dm", batch=256), data)
    images = data.batch(data.of_class(1))
    (found,) = run.method.statistic(run, images, 1, real=True)
    torch.testing.assert_close(found, run.net.embed(images).mean(0))
    assert sizes.get("summed_features", [50]) == [expected]
