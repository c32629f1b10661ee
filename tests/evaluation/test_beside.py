"""What stands beside an accuracy, and what an evaluation refuses or warns about."""

import warnings
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bilp_core.data import load, whitened
from bilp_core.distillers import METHODS, distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import (
    Accuracies,
    Beside,
    all_real,
    beside,
    chance,
    evaluate,
    hardly,
    known,
    protocol,
    random_real,
    seen,
    taught,
)
from bilp_core.synthetic import SyntheticSet, initial

NET = "convnet:depth=1,width=8"


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def made(digits):
    return initial(digits.train, 2, "real", torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quick(digits):
    return protocol("dm", digits.test, epochs=4)


def accuracy(synthetic, test, recipe):
    return evaluate(synthetic, test, network=NET, protocol=recipe, repeats=2).values


@pytest.mark.parametrize("zca", ["none", "absolute"])
def test_only_the_pixels_of_the_test_images_count(digits, quick, zca):
    """Whatever the mean, the deviation and the whitening of the folder that they come from."""
    train = whitened(digits.train, zca)
    synthetic = initial(train, 2, "real", torch.Generator().manual_seed(0))
    expected = accuracy(synthetic, digits.test, quick)
    elsewhere = replace(digits.test, mean=(0.05,), std=(0.9,), name="elsewhere")
    assert accuracy(synthetic, elsewhere, quick) == expected
    assert accuracy(synthetic, whitened(elsewhere, "relative"), quick) == expected


def test_the_set_says_whether_it_may_be_mirrored_and_what_it_is_of(digits, made):
    folder = replace(digits.test, named="", flip=True)
    kept = replace(made, meta={"flip": False, "named": "digits"})
    assert not seen(kept, folder).flip
    assert protocol("dc", seen(kept, folder)) == protocol("dc", digits.test)
    assert seen(made, folder).flip  # an old set says nothing
    assert not seen(replace(made, meta={"flip": True}), replace(folder, flip=False)).flip


def test_a_distilled_set_remembers(digits):
    for named, flip in (("digits", False), ("", True)):
        data = replace(digits.train, named=named, flip=flip)
        meta = distill(make("dm", iterations=1, batch=8), data, 1, network=NET).meta
        assert (meta["named"], meta["flip"]) == (named, flip)


def test_classes_in_another_order_are_refused_by_name(digits, made):
    turned = replace(digits.test, classes=digits.test.classes[::-1])
    with pytest.raises(InputError, match=r"class 0 is '0' in the synthetic set and '9'.*in the same order"):
        seen(made, turned)
    with pytest.raises(InputError, match=r"class 0 is '0' in the synthetic set and 'zero'.*the same classes$"):
        seen(made, replace(digits.test, classes=("zero", *digits.test.classes[1:])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(0, 1, 8, 8), "labels": torch.zeros(0, dtype=torch.int64)}, "holds no images"),
        ({"labels": torch.full((20,), 37)}, "label 37 of the synthetic set is not in 0..9, its 10 classes"),
        ({"labels": torch.full((20,), -1)}, "label -1 "),
        ({"labels": torch.arange(20) % 8}, "class '8' and 1 more of 10 has no image"),
        ({"labels": torch.eye(10)[torch.arange(20) % 9]}, "class '9', one of 10, has no image"),
        ({"images": torch.full((20, 1, 8, 8), float("nan"))}, "some images of the synthetic set are not finite"),
        ({"std": (0.0,)}, "std = .* deviations must be above 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(digits, made, quick, change, message, tmp_path):
    bad = replace(made, **change)
    with pytest.raises(InputError, match=message):
        evaluate(bad, digits.test, network=NET, protocol=quick)
    bad.save(tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match="bad.safetensors"):
        SyntheticSet.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.arange(20).float() % 10, "are torch.float32: must be int64"),
        ((torch.arange(20) % 10).to(torch.uint8), "are torch.uint8: must be int64"),
        (torch.ones(20, 10, dtype=torch.int64), "soft labels of .* are torch.int64: must be float32"),
    ],
)
def test_labels_of_another_type_in_a_file_are_refused(made, labels, message, tmp_path):
    made.save(tmp_path / "s.safetensors")
    with safe_open(tmp_path / "s.safetensors", "pt") as file:
        about = file.metadata()
    save_file({"images": made.images, "labels": labels}, tmp_path / "s.safetensors", about)
    with pytest.raises(InputError, match=message):
        SyntheticSet.load(tmp_path / "s.safetensors")


def test_values_far_out_are_said(digits, made, quick):
    far = replace(made, images=made.images * 1000)
    with pytest.warns(UserWarning, match=r"reach \d+.* standard deviations.*lower image_lr"):
        evaluate(far, digits.test, network=NET, protocol=quick, repeats=1)
    with pytest.warns(UserWarning, match="std = 1e-06 of the real pixels"):
        evaluate(replace(made, std=(1e-6,)), digits.test, network=NET, protocol=quick, repeats=1)
    with pytest.warns(UserWarning, match="standard deviations"):
        distill(make("dm", iterations=2, image_lr=1e5, batch=8), digits.train, 1, network=NET)


def test_unknown_methods_and_no_epochs_are_refused(digits):
    for method in METHODS:
        assert known(method) == method
        protocol(method, digits.test)
    with pytest.raises(InputError, match="method 'dcc' has no evaluation protocol. Did you mean 'dc'"):
        protocol("dcc", digits.test)
    for method in METHODS:
        with pytest.raises(InputError, match="epochs = 0 of the evaluation: must be at least 1"):
            protocol(method, digits.test, epochs=0).recipe()


def test_no_test_images_are_refused(digits, made, quick):
    with pytest.raises(InputError, match="digits has no test images"):
        evaluate(made, digits.test.subset(torch.arange(0)), network=NET, protocol=quick)


def test_the_network_follows_the_set(digits, made, quick):
    kept = replace(made, meta={"network": "convnet:depth=1,width=8,norm=batch"})
    own = evaluate(kept, digits.test, protocol=quick, repeats=1).values
    asked = evaluate(kept, digits.test, network="convnet:depth=1,width=8,norm=instance", protocol=quick, repeats=1)
    assert own == asked.values


def test_random_real_images(digits, made, quick):
    settings = {"network": NET, "protocol": quick, "seed": 3}
    found = random_real(made, digits.train, digits.test, repeats=3, **settings)
    assert len(set(found.values)) > 1  # each on a draw of its own
    assert random_real(made, digits.train, digits.test, repeats=2, **settings).values == found.values[:2]
    darker = replace(digits.train, mean=(0.0,), std=(0.1,))
    assert random_real(made, darker, digits.test, repeats=2, **settings).values == found.values[:2]


def test_all_real_images(digits, made):
    recipe = protocol("dm", digits.test, epochs=400)  # of the set: 400 steps; of 1352 images six a epoch
    few = digits.train.subset(torch.arange(300))
    found, epochs = all_real(made, few, digits.test, network=NET, protocol=replace(recipe, epochs=45, batch=64))
    assert epochs == 20
    assert found.mean > 0.5
    assert all_real(made, few, digits.test, network=NET, protocol=replace(recipe, epochs=3))[1] == 3


def test_what_is_missing_is_said(digits, made, quick):
    settings = {"network": NET, "protocol": quick, "repeats": 1}
    few = digits.train.subset(torch.arange(12))
    assert "has 1 of them, and 2 are needed" in beside(made, few, digits.test, **settings).missing
    none = digits.train.subset(torch.arange(0))
    assert "no training half" in beside(made, none, digits.test, **settings).missing
    found = beside(made, digits.train, digits.test, **settings)
    assert found.missing == ""
    assert set(found.report()) == {"chance", "random_real"}


def test_the_verdict():
    beaten = Beside(0.1, 1, 0, Accuracies([0.5, 0.5]))
    assert beaten.verdict(Accuracies([0.7, 0.7])).endswith("by 20.00 points")
    for other in (0.5, 0.3):
        assert "not clearly better" in beaten.verdict(Accuracies([other, other]))
    unsure = Beside(0.1, 1, 0, Accuracies([0.4, 0.6]))
    assert "not clearly better" in unsure.verdict(Accuracies([0.6, 0.6]))
    assert "next to chance" in beaten.verdict(Accuracies([0.12]))
    assert "image_lr" in beaten.verdict(Accuracies([0.12]))
    lines = beaten.lines(Accuracies([0.7]))
    assert lines[0] == "chance 10.00 %"
    assert lines[1].startswith("1 random real image a class 50.00 ± 0.00 %, same network")
    assert not any("±" in line for line in Beside(0.1, 1, 0, Accuracies([0.5])).lines(Accuracies([0.7])))


def test_chance_is_the_largest_class(digits):
    rare = digits.test.subset(torch.cat([digits.test.of_class(0), digits.test.of_class(1)[:5]]))
    assert chance(rare) == len(digits.test.of_class(0)) / len(rare)
    assert hardly(chance(rare), chance(rare))
    assert not hardly(0.99, 0.1)


def test_a_set_that_teaches_nothing_is_known(digits):
    nothing = SyntheticSet(
        torch.zeros(10, 1, 8, 8), torch.arange(10), digits.train.classes, digits.train.mean, digits.train.std,
        {"method": "dm", "network": NET},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hardly(taught(nothing, digits.train), chance(digits.train))
