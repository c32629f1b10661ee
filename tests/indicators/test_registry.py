import math

import numpy as np
import pytest
import torch

from bilp_core.data import load
from bilp_core.errors import InputError
from bilp_core.indicators import INDICATORS, empirical_loss, loss_curves, options_of, score
from bilp_core.nets import Probe

from .common import TINY, awkward

pytestmark = pytest.mark.filterwarnings("ignore:the networks have hardly learned")  # three epochs are few


@pytest.fixture(scope="module")
def digits():
    return load("digits").train


def test_empirical_loss_by_hand():
    """Weights of a Gaussian of width 3 epochs, reflected at the end, cut off at four widths."""
    curves = torch.rand(2, 40, 5, generator=torch.Generator().manual_seed(0))
    offsets = np.arange(-12, 13)
    weights = np.exp(-(offsets**2) / 18)
    weights /= weights.sum()
    mean = curves.mean(0).numpy()
    expected = np.zeros(5)
    for offset, weight in zip(offsets, weights, strict=True):
        epoch = 39 + offset
        expected += weight * mean[epoch if epoch <= 39 else 79 - epoch]  # 39, 39, 38, ... behind the mirror
    np.testing.assert_allclose(empirical_loss(curves).numpy(), expected, rtol=1e-5)


def test_the_last_eight_epochs_carry_the_weight():
    """Supplement Sec. 6.4: about a weighted mean of the last 8 epochs."""
    curves = torch.zeros(1, 100, 1)
    curves[:, -8:] = 1
    assert 0.985 < empirical_loss(curves).item() < 1


def test_sigma_zero_takes_the_last_epoch():
    curves = torch.arange(6.0).view(1, 3, 2)
    assert empirical_loss(curves, 0).tolist() == [4, 5]


def test_empirical_loss_refuses():
    with pytest.raises(InputError, match="not empty"):
        empirical_loss(torch.zeros(0, 3, 4))
    with pytest.raises(InputError, match="not finite"):
        empirical_loss(torch.full((1, 2, 3), math.inf))
    with pytest.raises(InputError, match="sigma = -1"):
        empirical_loss(torch.zeros(1, 2, 3), -1)


@pytest.mark.parametrize("name", list(INDICATORS))
def test_every_indicator(name):
    data = awkward()
    options = {k: v for k, v in TINY.items() if k in options_of(name)}
    scores = score(data, name, seed=1, **options)
    assert scores.shape == (len(data),)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert torch.equal(scores, score(data, name, seed=1, **options))
    assert not torch.equal(scores, score(data, name, seed=2, **options))


def test_loss_finds_wrong_labels(digits):
    """Five samples of a class with another's label are the hardest of that class."""
    wrong = digits.of_class(3)[:5]
    labels = digits.labels.clone()
    labels[wrong] = 8
    from dataclasses import replace

    scores = score(
        replace(digits, labels=labels), "loss", trials=2, epochs=30, lr=0.01, network="convnet:depth=2,width=16"
    )
    members = (labels == 8).nonzero().flatten()
    hardest = members[scores[members].argsort(descending=True)[:7]]
    assert set(wrong.tolist()) <= set(hardest.tolist())


def test_curves_fall_and_count_every_epoch(digits):
    curves = loss_curves(digits, Probe(trials=2, epochs=5, lr=0.01, batch=64, network="mlp"), seed=0)
    assert curves.shape == (2, 5, len(digits))
    means = curves.mean((0, 2))
    assert (means[1:] < means[:-1]).all()
    assert abs(means[0] - math.log(10)) < 0.7


def test_bad_options(digits):
    with pytest.raises(InputError, match="indicator 'los' is unknown; there are: random, loss"):
        score(digits, "los")
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        score(digits, "loss", epoch=3)
    with pytest.raises(InputError, match=r"trials = 0 .*at least 1"):
        score(digits, "loss", trials=0)
    with pytest.raises(InputError, match="lr = nan"):
        score(digits, "loss", lr=math.nan)
    with pytest.raises(InputError, match="has no option 'trials'"):
        score(digits, "random", trials=2)
    with pytest.raises(InputError, match="together = -1"):
        score(digits, "loss", together=-1)
    with pytest.raises(InputError, match=r"kind = 'least' .*one of margin, entropy"):
        score(digits, "margin", kind="least")


def test_published_settings():
    """Supplement Sec. 6.4."""
    got = options_of("loss", "cifar10")
    assert (got["trials"], got["epochs"], got["lr"], got["batch"], got["sigma"]) == (50, 100, 3e-3, 512, 3.0)
    assert options_of("early-loss", "cifar10")["epochs"] == 5
