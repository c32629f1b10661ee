import math

import pytest
import torch
from scipy.stats import spearmanr

from bilp_core.errors import InputError
from bilp_core.indicators import empirical_loss, rank_correlation
from bilp_core.studies.agreement import agreement

LABELS = torch.tensor([0] * 4 + [1] * 6)


def curves(trials=6, epochs=20, noise=1.0):
    """A sample's own level, and noise that differs by trial and epoch and fades with the epochs."""
    rng = torch.Generator().manual_seed(0)
    levels = torch.rand(10, generator=rng)
    fading = torch.linspace(1, 0.2, epochs).view(1, -1, 1)
    return levels + noise * fading * torch.randn(trials, epochs, 10, generator=rng)


def test_rank_correlation_by_hand():
    """Class 0: ranks reversed, -1. Class 1: 1 - 6 x (1 + 1) / (6 x 35) for one swap of neighbours."""
    first = torch.tensor([1.0, 2, 3, 4, 10, 20, 30, 40, 50, 60])
    second = torch.tensor([4.0, 3, 2, 1, 1, 2, 4, 3, 5, 6])
    expected = (4 * -1 + 6 * (1 - 12 / 210)) / 10
    assert rank_correlation(first, second, LABELS) == pytest.approx(expected)


def test_classes_are_ranked_apart():
    """Scores that tell classes apart and nothing else agree overall, not within the classes."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(500)
    first, second = (10 * labels + torch.rand(1000, generator=rng) for _ in range(2))
    assert spearmanr(first, second).statistic > 0.7
    assert abs(rank_correlation(first, second, labels)) < 0.1


def test_a_class_without_a_ranking_is_left_out():
    first = torch.tensor([1.0, 1, 1, 1, 1, 2, 3, 4, 5, 6])
    assert rank_correlation(first, torch.arange(10.0), LABELS) == pytest.approx(1)
    assert rank_correlation(first[4:], torch.arange(6.0), torch.tensor([1, 1, 1, 1, 1, 7])) == pytest.approx(1)
    with pytest.raises(InputError, match="no class has two different"):
        rank_correlation(torch.zeros(10), torch.arange(10.0), LABELS)


def test_agreement_written_out():
    full = curves()
    table = agreement(full, LABELS, trials=[2, 6], epochs=[5, 20]).set_index(["trials", "epochs"])
    whole = empirical_loss(full)
    parts = [rank_correlation(empirical_loss(full[i : i + 2, :5]), whole, LABELS) for i in (0, 2, 4)]
    row = table.loc[(2, 5)]
    assert row["groups"] == 3
    assert row["full"] == pytest.approx(sum(parts) / 3)
    assert row["full_std"] == pytest.approx(math.sqrt(sum((p - sum(parts) / 3) ** 2 for p in parts) / 3))
    outside = [[2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3]]
    apart = [
        rank_correlation(empirical_loss(full[2 * i : 2 * i + 2, :5]), empirical_loss(full[o]), LABELS)
        for i, o in enumerate(outside)
    ]
    assert row["independent"] == pytest.approx(sum(apart) / 3)
    assert table.loc[(6, 20), "full"] == pytest.approx(1)
    assert table.loc[(6, 20), "full_std"] == 0
    assert math.isnan(table.loc[(6, 20), "independent"])


def test_more_agree_better():
    table = agreement(curves(trials=24, noise=3.0), LABELS, [1, 4, 12], [1, 20]).set_index(["trials", "epochs"])["full"]
    assert table[1, 20] < table[4, 20] < table[12, 20]
    assert table[4, 1] < table[4, 20]


def test_other_scores():
    table = agreement(curves(noise=0.0), LABELS, [1], [3], score=lambda c: c.mean((0, 1)))
    assert table["full"].tolist() == pytest.approx([1])


def test_refuses():
    with pytest.raises(InputError, match="trials = 7: must be from 1 to 6"):
        agreement(curves(), LABELS, [7], [1])
    with pytest.raises(InputError, match="epochs = 0"):
        agreement(curves(), LABELS, [1], [0])
    with pytest.raises(InputError, match="give at least one"):
        agreement(curves(), LABELS, [], [1])
    with pytest.raises(InputError, match=r"must all be \[N\]"):
        rank_correlation(torch.zeros(3), torch.zeros(4), torch.zeros(3))
    with pytest.raises(InputError, match="not finite"):
        rank_correlation(torch.full((10,), math.nan), torch.zeros(10), LABELS)
