"""Classes distilled a few at a time, and joined."""

from dataclasses import replace

import pytest
import torch

from bilp_core import InputError, SyntheticSet, distill, evaluate, load, make
from bilp_core.distillers import METHODS, EarlyStop, Part, joined, only
from bilp_core.evaluation import Protocol
from bilp_core.pruning import Adaptive, Representative

NETWORK = "convnet:depth=1,width=4"
SHORT = {"idc": {"inner": 1}, "idm": {"network_steps": 1, "network_batch": 32}, "cafe": {"most": 2}}


@pytest.fixture(scope="module")
def train():
    return load("digits").train


def parts_of(method, data, of, **settings):
    return [distill(method, data, part=Part(number, of), network=NETWORK, **settings) for number in range(1, of + 1)]


def test_every_class_is_in_one_part():
    for count in (4, 10, 1000):
        for of in (1, 2, count // 2):
            blocks = [Part(number, of).classes(count) for number in range(1, of + 1)]
            assert [c for block in blocks for c in block] == list(range(count))
            assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize(("of", "ipc", "init"), [(3, 2, "real"), (5, 1, "noise")])
def test_dm_in_parts_is_dm(train, augment, of, ipc, init):
    """Exactly: the draws are the same, and nothing of another class is in a gradient."""
    method, settings = make("dm", iterations=4, augment=augment), {"ipc": ipc, "init": init, "seed": 5}
    whole = distill(method, train, network=NETWORK, **settings)
    found = joined(parts_of(method, train, of, **settings)[::-1])  # in any order
    assert torch.equal(found.images, whole.images)
    assert torch.equal(found.labels, whole.labels)
    assert found.classes == whole.classes
    for name in ("method", "options", "real_samples", "network", "init"):
        assert found.meta[name] == whole.meta[name]
    other = distill(method, train, network=NETWORK, **{**settings, "seed": 6})
    assert not torch.equal(other.images, whole.images)


def test_dm_in_parts_of_what_pruning_left_and_whitened(train):
    kept = train.subset(torch.arange(0, len(train), 2))
    method = make("dm", iterations=2, zca="relative")
    whole = distill(method, kept, ipc=1, network=NETWORK)
    found = joined(parts_of(method, kept, 2, ipc=1))
    assert torch.equal(found.images, whole.images)
    assert torch.equal(found.whitening.matrix, whole.whitening.matrix)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.parts == "task"])
def test_other_methods_see_the_classes_of_a_part_alone(train, name, tmp_path):
    method = make(name, iterations=1, **SHORT.get(name, {}))
    parts = parts_of(method, train, 2, ipc=1)
    alone = distill(method, only(train, range(5)), ipc=1, network=NETWORK)
    assert torch.equal(parts[0].images, alone.images)
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for made, path in zip(parts, paths, strict=True):
        made.save(path)
    found = joined([SyntheticSet.load(path) for path in paths])
    assert found.hard_labels.bincount().tolist() == [1] * 10
    assert torch.equal(found.images[5:], parts[1].images)
    assert found.meta["real_samples"] == len(train)
    accuracy = evaluate(found, load("digits").test, network=NETWORK, protocol=Protocol(epochs=2), repeats=1)
    assert 0 <= accuracy.mean <= 1


def test_the_data_of_a_part(train):
    few = only(train, range(3, 7))
    assert few.classes == ("3", "4", "5", "6")
    assert few.counts().tolist() == train.counts()[3:7].tolist()
    assert torch.equal(few.images[few.of_class(2)], train.images[train.of_class(5)])


def test_what_has_no_parts_is_said_before_it_runs(train):
    settings = {"ipc": 1, "part": Part(1, 2)}
    with pytest.raises(InputError, match="'mtt' distils all classes together"):
        distill(make("mtt"), train, **settings)
    with pytest.raises(InputError, match="needs a network without BatchNorm"):
        distill(make("dm", iterations=1), train, network="convnet:depth=1,width=4,norm=batch", **settings)
    for chosen in ({"adaptive": Adaptive(0.1)}, {"represent": Representative()}):
        with pytest.raises(InputError, match="random real batches only"):
            distill(make("dm", iterations=1), train, network=NETWORK, **settings, **chosen)
    with pytest.raises(InputError, match="10 classes in 6 parts: each needs at least 2, at most 5 parts"):
        distill(make("dm", iterations=1), train, ipc=1, part=Part(1, 6))
    for text in ("3", "0/2", "3/2", "1/0", "a/b"):
        with pytest.raises(InputError, match="part = "):
            Part.read(text)


def test_parts_that_do_not_belong_together(train):
    method = make("dm", iterations=1)
    first, second, third = parts_of(method, train, 3, ipc=1)
    with pytest.raises(InputError, match="part 2 of 3 is missing"):
        joined([first, third])
    with pytest.raises(InputError, match="part 1 of 3 is there 2 times"):
        joined([first, first, second, third])
    other = distill(method, train, ipc=1, network=NETWORK, seed=1, part=Part(3, 3))
    with pytest.raises(InputError, match="part 3 is of another distillation than part 1: its seed is 1, not 0"):
        joined([first, second, other])
    with pytest.raises(InputError, match="its mean is"):
        joined([first, second, replace(third, mean=(0.1,))])
    sooner = distill(
        replace(method, iterations=2), train, ipc=1, network=NETWORK, part=Part(3, 3), early=EarlyStop(rounds=1)
    )
    late = [*parts_of(replace(method, iterations=2), train, 3, ipc=1)[:2], sooner]
    with pytest.raises(InputError, match="its early is .*'rounds': 1.*, not None"):
        joined(late)
    dc = make("dc", iterations=1, outer=1)
    pruned = distill(dc, train, ipc=1, network=NETWORK, part=Part(2, 2), adaptive=Adaptive(0.1))
    with pytest.raises(InputError, match=r"its adaptive is .*'rate': 0.1.*, not \{\}"):
        joined([parts_of(dc, train, 2, ipc=1)[0], pruned])
    with pytest.raises(InputError, match="no part of another"):
        joined([distill(method, train, ipc=1, network=NETWORK)])
    with pytest.raises(InputError, match="no parts"):
        joined([])
