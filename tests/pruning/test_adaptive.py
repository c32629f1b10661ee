"""The running normal law, and the settings of adaptive pruning."""

import math
from statistics import NormalDist

import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.pruning import LAWS, Adaptive, RunningNormal


def test_the_first_batch_sets_the_law_and_others_move_it_by_a_tenth():
    law = RunningNormal()
    law.update(torch.tensor([1.0, 3.0]))
    assert (law.mean, law.variance) == (2, 1)
    law.update(torch.tensor([12.0, 12.0]))
    assert law.mean == pytest.approx(3)
    assert law.variance == pytest.approx(0.9)


def test_with_momentum_1_the_batch_at_hand_is_the_law():
    law = RunningNormal(100, 9)
    law.update(torch.tensor([1.0, 3.0]), LAWS["batch"])
    assert (law.mean, law.variance) == (2, 1)


def test_mean_and_variance_follow_each_on_its_own():
    law = RunningNormal()
    law.update(torch.tensor([1.0, 5.0]))
    assert (law.mean, law.variance) == (3, 4)
    law.update(torch.tensor([9.0, 15.0]))
    assert law.mean == pytest.approx(3 + 0.9)
    assert law.variance == pytest.approx(4 + 0.5)


def test_a_decision_serves_ten_steps_unless_said_otherwise():
    """Supplement Table 12; one step is allowed, too."""
    assert Adaptive(0.3).lazy == 10
    assert Adaptive(0.3, lazy=1).lazy == 1


@pytest.mark.parametrize(
    ("tails", "low", "high"),
    [("both", 0.15, 0.85), ("largest", 0, 0.7), ("smallest", 0.3, 1)],
)
def test_bounds_are_quantiles_of_the_law(tails, low, high):
    law = RunningNormal(5, 4)
    normal = NormalDist(5, 2)
    bounds = law.bounds(0.3, tails)
    for bound, share in zip(bounds, (low, high), strict=True):
        expected = {0: -math.inf, 1: math.inf}.get(share) or normal.inv_cdf(share)
        assert bound == pytest.approx(expected)


def test_a_normal_batch_loses_the_share_asked_for():
    values = 7 + 3 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    law = RunningNormal()
    law.update(values)
    for tails in ("both", "largest", "smallest"):
        kept = law.inside(values, 0.3, tails)
        assert kept.float().mean() == pytest.approx(0.7, abs=0.01)
        if tails != "smallest":
            assert not kept[values.argmax()]
        if tails != "largest":
            assert not kept[values.argmin()]


def test_no_spread_keeps_all():
    law = RunningNormal()
    same = torch.full((5,), 3.0)
    law.update(same)
    assert law.inside(same, 0.9, "both").all()


def test_spread_within_a_millionth_of_the_mean_is_rounding():
    values = torch.tensor([0.0, 1.0, 2.0])
    assert RunningNormal(1.0, 0.5e-6**2).inside(values, 0.3, "both").all()
    assert RunningNormal(1.0, 1.5e-6**2).inside(values, 0.3, "both").tolist() == [False, True, False]
    assert RunningNormal(0.0, 0.0).inside(values, 0.3, "both").all()


def test_values_on_the_bounds_stay():
    law = RunningNormal(1.0, 4.0)
    low, high = law.bounds(0.3, "both")
    values = torch.tensor([low, high, low - 1e-9, high + 1e-9], dtype=torch.float64)
    assert law.inside(values, 0.3, "both").tolist() == [True, True, False, False]


def test_a_batch_that_would_be_empty_is_kept():
    law = RunningNormal(0.0, 1.0)
    assert law.inside(torch.tensor([50.0, 60.0]), 0.3, "both").all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, r"adaptive = 0.0.*\(0, 1\)"),
        ({"rate": 1.0}, r"adaptive = 1.0"),
        ({"rate": math.nan}, "adaptive = nan"),
        ({"rate": 0.3, "lazy": 0}, "lazy = 0"),
        ({"rate": 0.3, "tails": "left"}, "tails = 'left'.*both, largest, smallest"),
        ({"rate": 0.3, "law": "global"}, "law = 'global'.*running, batch"),
        ({"rate": 0.3, "effect": "magic"}, "effect = 'magic'.*exact"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        Adaptive(**settings)
