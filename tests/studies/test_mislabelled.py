"""Labels are changed on purpose, found by indicators, and removed: on digits."""

import matplotlib.pyplot as plt
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bilp_core.data import load
from bilp_core.errors import InputError
from bilp_core.nets import Recipe
from bilp_core.studies import mislabelled
from bilp_core.studies.mislabelled import accuracies, detection, flipped, scored_by

FEW = {"trials": 1, "epochs": 8, "network": "convnet:depth=2,width=8"}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def noisy(digits):
    return flipped(digits.train, 0.1, torch.Generator().manual_seed(0))


def test_a_share_of_each_class_is_flipped_to_any_other(digits, noisy):
    changed, wrong = noisy
    labels = digits.train.labels
    assert torch.equal(changed.labels != labels, wrong)
    assert torch.bincount(labels[wrong]).tolist() == [count // 10 for count in labels.bincount().tolist()]
    assert len(changed.labels[wrong & (labels == 3)].unique()) > 4
    again, other = (flipped(digits.train, 0.1, torch.Generator().manual_seed(seed))[1] for seed in (0, 1))
    assert torch.equal(again, wrong)
    assert not torch.equal(other, wrong)
    assert torch.equal(digits.train.labels, load("digits").train.labels)  # as they were


def test_refuses(digits):
    rng = torch.Generator()
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match=f"share = {share:g} of labels to change: must be in"):
            flipped(digits.train, share, rng)
    with pytest.raises(InputError, match="no class is large enough"):
        flipped(digits.train, 0.001, rng)
    with pytest.raises(InputError, match="two classes or more"):
        flipped(digits.train.subset(digits.train.of_class(3)), 0.1, rng)
    with pytest.raises(InputError, match="no class with both right and wrong"):
        detection(torch.zeros(4), torch.tensor([True, True, False, False]), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(InputError, match="no option 'epohcs'"):
        scored_by(digits.train, ["loss", "el2n"], FEW, {"el2n": {"epohcs": 1}})


def test_areas_are_those_of_scikit_learn():
    rng = torch.Generator().manual_seed(0)
    wrong, labels = torch.rand(300, generator=rng) < 0.2, torch.arange(3).repeat(100)
    wrong &= labels != 2  # a class without any is left out
    scores = wrong + torch.randn(300, generator=rng) + 5 * labels
    found = detection(scores, wrong, labels)
    assert found["overall"] == pytest.approx(roc_auc_score(wrong, scores))
    inside = [roc_auc_score(wrong[labels == c], scores[labels == c]) for c in (0, 1)]
    assert found["classes"] == pytest.approx(sum(inside) / 2)
    assert found["classes"] > found["overall"] + 0.1


def test_the_loss_finds_them_and_chance_does_not(noisy):
    data, wrong = noisy
    scores = scored_by(data, ["random", "loss"], FEW)
    areas = {name: detection(values, wrong, data.labels)["classes"] for name, values in scores.items()}
    assert areas["loss"] > 0.9
    assert 0.4 < areas["random"] < 0.6


def test_what_an_indicator_has_of_its_own(noisy, monkeypatch):
    asked = {}
    monkeypatch.setattr(mislabelled, "score", lambda data, name, *, seed, **options: asked.update({name: options}))
    scored_by(noisy[0], ["random", "loss", "el2n"], FEW, {"el2n": {"epochs": 2}})
    assert asked == {"random": {}, "loss": FEW, "el2n": {**FEW, "epochs": 2}}


def test_the_end_that_holds_the_wrong_labels_is_the_better_one_to_lose(digits):
    """A third of the labels is wrong, and the score knows which."""
    data, wrong = flipped(digits.train, 0.33, torch.Generator().manual_seed(1))
    recipe = Recipe(4, 0.03, 0.9, 0.0, 64)
    found = accuracies(data, digits.test, {"oracle": wrong.float()}, [0.0, 0.33], recipe, network=FEW["network"])
    at = found.set_index(["removed", "share"])["value"]
    assert at["largest", 0.33] > at["smallest", 0.33] + 4
    assert at["largest", 0.0] == at["smallest", 0.0]
    assert at["largest", 0.33] > at["largest", 0.0]


def test_every_training_sees_as_many_samples(digits, monkeypatch):
    seen, real = [], mislabelled.fit
    monkeypatch.setattr(mislabelled, "fit", lambda e, s, r: seen.append(len(s) * r.epochs) or real(e, s, r))
    scores = {"a": torch.arange(1352.0), "b": -torch.arange(1352.0)}
    table = accuracies(digits.train, digits.test, scores, [0.0, 0.5], Recipe(4, 0.03), network="mlp", repeats=1)
    assert len(table) == 8
    assert len(seen) == 3  # everything once, and the two halves
    assert max(seen) / min(seen) < 1.02


def test_a_panel_for_each_score(digits):
    scores = {"a": torch.arange(1352.0), "b": -torch.arange(1352.0)}
    table = accuracies(digits.train, digits.test, scores, [0.5], Recipe(1, 0.03), network="mlp", repeats=2)
    figure = mislabelled.curves(table)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    assert [line.get_ydata()[0] for line in figure.axes[1].lines] == table["value"][2:].tolist()
    plt.close(figure)
