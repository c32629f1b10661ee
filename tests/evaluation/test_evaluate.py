from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bilp_core.data import ImageData, load
from bilp_core.errors import InputError
from bilp_core.evaluation import evaluate, protocol
from bilp_core.nets import initialise, network
from bilp_core.synthetic import SyntheticSet, initial
from bilp_core.utils.seeds import seeds

NET = "convnet:depth=2,width=8"


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def synthetic(digits):
    return initial(digits.train, 2, "real", torch.Generator().manual_seed(0))


def test_protocols_of_the_reference(digits):
    def summary(*args):
        made = protocol(*args)
        return made.epochs, made.augment

    assert summary("dc", digits.test) == (1000, "dc:crop_scale_rotate")
    assert summary("dm", digits.test) == (1000, "color_crop_cutout_scale_rotate")
    photos = replace(digits.test, named="cifar10", flip=True)
    assert summary("dc", photos) == (300, "none")
    assert summary("dc", photos, "convnet:norm=batch") == (1000, "dc:crop_noise")
    assert summary("dsa", photos) == (1000, "color_crop_cutout_flip_scale_rotate")
    recipe = protocol("dc", photos).recipe()
    assert (recipe.epochs, recipe.drop_after, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.batch) == (
        301, 151, 0.01, 0.9, 5e-4, 256,
    )  # fmt: skip
    assert protocol("dc", photos, epochs=20).epochs == 20
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        protocol("dc", photos, epoch=20)


@pytest.mark.parametrize(
    ("name", "shape", "network", "ipc", "factor", "expected"),
    [
        ("cifar10", (3, 32, 32), "convnet", 1, 2, (1000, "color_crop_flip_scale_rotate", 0.5)),
        ("svhn", (3, 32, 32), "convnet", 1, 2, (1000, "color_crop_scale_rotate", 0.5)),
        ("svhn", (3, 32, 32), "convnet", 1, 1, (1000, "color_crop_cutout_scale_rotate", 0.0)),
        ("mnist", (1, 28, 28), "convnet", 10, 2, (1000, "color_crop_scale_rotate", 0.0)),
        ("mnist", (1, 28, 28), "convnet", 10, 1, (1000, "color_crop_scale_rotate", 0.5)),
        ("photos", (3, 224, 224), "convnet", 20, 3, (1000, "color_crop_flip_scale_rotate", 1.0)),
        ("photos", (3, 224, 224), "convnet", 1, 1, (3000, "color_crop_flip_scale_rotate", 1.0)),
    ],
)
def test_protocols_of_idc(name, shape, network, ipc, factor, expected):
    flip = name not in ("svhn", "mnist")
    images, labels = torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    data = ImageData(images, labels, ("a",), (0.5,) * shape[0], (0.5,) * shape[0], name, flip, named=name)
    made = protocol("idc", data, network, ipc=ipc, factor=factor)
    assert (made.epochs, made.augment, made.cutmix) == (expected[0], "idc:" + expected[1], expected[2])
    recipe = made.recipe()
    assert recipe.batch == 64
    assert recipe.drop_after is None
    if made.epochs == 1000:
        assert (recipe.epochs, recipe.milestones) == (1000, (666, 833))


def test_an_unknown_schedule_is_refused(digits):
    with pytest.raises(InputError, match="schedule = 'linear': must be one of half, thirds, cosine"):
        protocol("idc", digits.test, schedule="linear").recipe()


@pytest.mark.parametrize(
    ("shape", "classes", "ipc", "steps", "flip"),
    [
        ((3, 32, 32), 10, 1, 1000, True),
        ((3, 32, 32), 10, 10, 2000, True),
        ((3, 32, 32), 10, 50, 5000, True),
        ((3, 32, 32), 100, 10, 10_000, True),
        ((3, 64, 64), 200, 1, 20_000, True),
        ((3, 64, 64), 200, 10, 40_000, True),
        ((3, 32, 32), 100, 50, 40_000, True),
        ((1, 28, 28), 10, 1, 1000, False),
        ((3, 32, 32), 10, 2, 2000, True),  # between 10 and 100 images
        ((3, 32, 32), 100, 80, 40_000, True),  # beyond all
    ],
)
def test_protocols_of_frepo(shape, classes, ipc, steps, flip):
    images, labels = torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    names, channels = tuple(map(str, range(classes))), (0.5,) * shape[0]
    recipe = protocol("frepo", ImageData(images, labels, names, channels, channels, "x"), ipc=ipc).recipe()
    assert recipe.epochs * -(-ipc * classes // 500) == steps
    assert (recipe.batch, recipe.lr, recipe.optimizer, recipe.loss) == (500, 3e-4, "adam", "mse")
    assert (recipe.weight_decay, recipe.cosine_to, recipe.warmup) == (0.0, 0.01, 500)
    assert (recipe.drop_after, recipe.milestones) == (None, ())
    assert recipe.augment == "frepo:" + "flip_" * flip + "color_crop_rotate_translate_cutout"


def test_soft_labels_teach_by_regression(digits, synthetic):
    """Labels that were moved up by one class teach that next class."""
    soft = torch.eye(10)[(synthetic.labels + 1) % 10] - 0.1
    moved = SyntheticSet(synthetic.images, soft, synthetic.classes, synthetic.mean, synthetic.std)
    recipe = protocol("frepo", digits.test, ipc=2, epochs=80, lr=1e-2)
    assert evaluate(moved, digits.test, network=NET, protocol=recipe, repeats=1).mean < 0.2
    shifted = replace(digits.test, labels=(digits.test.labels + 1) % 10)
    found = evaluate(moved, shifted, network=NET, protocol=recipe, repeats=1).mean
    assert found > 0.5
    # hard labels stand for the same centred vectors
    hard = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=1).mean
    assert hard == pytest.approx(found, abs=0.1)
    with pytest.raises(InputError, match="labels of the synthetic set are negative.*loss=mse"):
        evaluate(moved, digits.test, network=NET, protocol=protocol("dm", digits.test))


def test_real_images_teach_something(digits, synthetic):
    got = evaluate(synthetic, digits.test, network=NET, protocol=protocol("dm", digits.test, epochs=60), repeats=3)
    assert len(got.values) == 3
    assert got.mean > 0.4
    assert got.mean == pytest.approx(sum(got.values) / 3)
    assert 0 <= got.std < 0.2


def test_networks_differ_and_the_seed_decides(digits, synthetic):
    recipe = protocol("dc", digits.test, epochs=5)
    first = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=3, seed=1)
    again = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=3, seed=1)
    other = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=3, seed=2)
    assert first.values == again.values
    assert first.values != other.values
    assert len(set(first.values)) > 1


def test_fewer_repeats_are_the_first_ones(digits, synthetic):
    recipe = protocol("dc", digits.test, epochs=3)
    three = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=3, seed=1)
    one = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=1, seed=1)
    assert one.values[0] == pytest.approx(three.values[0], abs=0.01)


def test_curves(digits, synthetic):
    recipe = protocol("dc", digits.test, epochs=9, test_every=5, augment="none")
    got = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=2)
    assert len(got.curves["train_loss"]) == 10
    assert got.curves["test_epoch"] == [4, 9]
    assert len(got.curves["test_loss"]) == 2
    assert got.curves["test_accuracy"][-1] == pytest.approx(got.values)
    assert sum(got.curves["train_loss"][-1]) < sum(got.curves["train_loss"][0])


def test_no_training_gives_the_untrained_network(digits, synthetic):
    recipe = protocol("dc", digits.test, epochs=1, lr=0.0, weight_decay=0.0, augment="none")
    got = evaluate(synthetic, digits.test, network=NET, protocol=recipe, repeats=1, seed=0)
    net = network(NET, digits.test.shape, 10)
    initialise(net, torch.Generator().manual_seed(seeds("evaluation", 0, 1)[0]))
    expected = (net(digits.test.batch()).argmax(1) == digits.test.labels).float().mean()
    assert got.values[0] == pytest.approx(expected.item(), abs=1e-3)


def test_misfits(digits, synthetic):
    other = SyntheticSet(synthetic.images, synthetic.labels, tuple("abcdefghij"), synthetic.mean, synthetic.std)
    with pytest.raises(InputError, match="must be the same classes"):
        evaluate(other, digits.test, protocol=protocol("dc", digits.test))
    with pytest.raises(InputError, match="repeats = 0"):
        evaluate(synthetic, digits.test, protocol=protocol("dc", digits.test), repeats=0)


def test_soft_labels_that_are_hard_change_nothing(digits, synthetic):
    soft = replace(synthetic, labels=F.one_hot(synthetic.labels, 10).float())
    for changes in ({}, {"batch": 8, "cutmix": 0.5, "augment": "color_crop"}):
        recipe = protocol("dm", digits.test, epochs=4, test_every=1, **changes)
        hard_run, soft_run = (
            evaluate(one, digits.test, network=NET, protocol=recipe, repeats=2) for one in (synthetic, soft)
        )
        for name in ("train_loss", "test_loss"):
            assert torch.allclose(torch.tensor(soft_run.curves[name]), torch.tensor(hard_run.curves[name]), atol=1e-4)


def test_soft_labels_are_trained_to(digits, synthetic):
    even = replace(synthetic, labels=torch.full((20, 10), 0.1))
    recipe = protocol("dm", digits.test, epochs=60, lr=0.05)
    got = evaluate(even, digits.test, network=NET, protocol=recipe, repeats=1)
    # the least cross-entropy against even labels is their entropy, log 10
    assert 2.3026 <= got.curves["train_loss"][-1][0] + 1e-4 < 2.33


def test_soft_labels_must_fit(digits, synthetic):
    recipe = protocol("dm", digits.test, epochs=1)
    with pytest.raises(InputError, match=r"labels \[20, 9\] of 20 images"):
        evaluate(replace(synthetic, labels=torch.ones(20, 9)), digits.test, network=NET, protocol=recipe)
    bad = torch.full((20, 10), float("nan"))
    with pytest.raises(InputError, match="soft labels of the synthetic set are not finite"):
        evaluate(replace(synthetic, labels=bad), digits.test, network=NET, protocol=recipe)
