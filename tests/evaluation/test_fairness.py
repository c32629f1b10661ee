"""The scores of DD-Ranking: their formulas, and that each tells what it is there to tell."""

from dataclasses import replace
from math import e

import pytest
import torch

from bilp_core.data import load
from bilp_core.evaluation import Accuracies, Fair, Protocol, evaluate, fair, fairness
from bilp_core.evaluation.fairness import halves, tuned
from bilp_core.nets.ensemble import TensorSamples
from bilp_core.synthetic import initial

NET = "convnet:depth=1,width=8"
QUICK = Protocol(epochs=8, lr=0.1, augment="color_crop")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def made(digits):
    return initial(digits.train, 3, "real", torch.Generator().manual_seed(0))


def scored(synthetic, digits, **changes):
    settings = {"network": NET, "protocol": QUICK, "repeats": 2, **changes}
    own = evaluate(synthetic, digits.test, **settings)
    return fair(synthetic, own, digits.train, digits.test, epochs=8, **settings)


def of(**means):
    names = ("own", "own_random", "plain", "plain_random", "hard", "hard_random", "real")
    return Fair(**{name: Accuracies([means.get(name, 0.0)]) for name in names})


def test_scores_follow_their_formulas():
    found = of(own=0.6, own_random=0.4, plain=0.5, plain_random=0.45, hard=0.55, real=0.8)
    assert found.hlr == pytest.approx(0.25)
    assert found.ior == pytest.approx(0.2)
    assert found.lrs == pytest.approx((e ** (0.1 - 0.125) - e**-1) / (e - e**-1))
    assert found.ars == pytest.approx((e ** (0.1 + 0.025) - e**-1) / (e - e**-1))
    assert of(own=1.0, hard=1.0).lrs == pytest.approx((e - e**-1) / (e - e**-1))  # a = 1: .5 * 1 + .5 * 1
    assert of(own_random=1.0, real=1.0).lrs == pytest.approx(0)
    assert "HLR 25.00, IOR 20.00 points" in found.lines()[-1]


def test_labels_that_teach_are_told_from_images(digits, made):
    """Soft labels whose largest is the class next to the right one, and yet all of the right one counts half."""
    right, wrong = made.labels, (made.labels + 1) % 10
    soft = 0.45 * torch.eye(10)[right] + 0.55 * torch.eye(10)[wrong]
    found = scored(replace(made, labels=soft), digits)
    honest = scored(made, digits)
    assert found.hard.mean < 0.2 < honest.hard.mean
    assert found.hlr > honest.hlr + 0.2
    assert found.real.values == honest.real.values
    assert found.own_random.values == honest.own_random.values


def test_augmentation_is_left_out_where_it_is_said(digits, made, monkeypatch):
    seen = []
    true = fairness.trained_on

    def trained(samples, data, network, protocol, seeds, progress=None):
        seen.append((protocol.augment, protocol.lr, len(data)))
        return true(samples, data, network, protocol, seeds, progress)

    monkeypatch.setattr(fairness, "trained_on", trained)
    scored(made, digits)
    on_test = [(augment, count) for augment, _, count in seen if count == len(digits.test)]
    assert [augment for augment, _ in on_test] == ["none", fairness.published("dsa", digits.test).augment]
    tried = [lr for augment, lr, count in seen if augment == "none" and count != len(digits.test)]
    assert tried[:5] == pytest.approx([0.01, 0.05, 0.1, 0.5, 1.0])


def test_rates_are_chosen_on_images_that_are_not_trained_on(digits):
    held, rest = halves(digits.train, seed=1)
    assert len(held) + len(rest) == len(digits.train)
    assert ((rest.counts() - held.counts()).abs() <= 1).all()  # half of each class, as each has under 200
    pixels = {tuple(image.flatten().tolist()) for image in rest.images}
    assert sum(tuple(image.flatten().tolist()) in pixels for image in held.images) < 5  # look-alikes at most


def test_a_rate_that_diverges_is_not_chosen(digits, made):
    samples = TensorSamples(made.images, made.labels)
    held, _ = halves(digits.train, seed=0)
    chosen = tuned(samples, held, NET, Protocol(epochs=8, lr=1e6, loss="mse"), 0)
    assert chosen.lr == 1e5  # of five that all diverge the first
    assert tuned(samples, held, NET, Protocol(epochs=8, lr=0.05), 0).lr in (0.05, 0.25, 0.5)
