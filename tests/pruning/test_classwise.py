from itertools import pairwise

import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.pruning import keep, removed, stratum

LABELS = torch.tensor([0, 1] * 10)
SCORES = torch.arange(20).float()


def test_keep_is_class_wise_and_sorted():
    kept = keep(SCORES, LABELS, 0.5)
    assert kept.tolist() == list(range(10))
    assert torch.bincount(LABELS[kept]).tolist() == [5, 5]


def test_keep_from_the_other_end():
    assert keep(SCORES, LABELS, 0.7, "smallest").tolist() == [14, 15, 16, 17, 18, 19]


def test_nothing_goes_at_a_ratio_of_nothing():
    assert keep(SCORES, LABELS, 0).tolist() == list(range(20))


def test_keep_treats_classes_apart():
    scores = torch.cat([torch.arange(10.0), 100 + torch.arange(10.0)])
    labels = torch.tensor([0] * 10 + [1] * 10)
    assert keep(scores, labels, 0.9).tolist() == [0, 10]


@pytest.mark.parametrize("drop", ["largest", "smallest"])
def test_ties_go_in_random_order(drop):
    """Samples that tie are kept from everywhere in the file, and those kept at a high ratio stay at a lower one."""
    labels = torch.zeros(1000, dtype=torch.long)
    scores = torch.ones(1000)
    scores[:100] = 0 if drop == "largest" else 2  # stay before all others
    few, many = (keep(scores, labels, ratio, drop) for ratio in (0.7, 0.5))
    assert few[:100].tolist() == list(range(100))
    assert len(few) == 300
    assert abs(few[100:].float().mean() - 549.5) < 75  # of 200 from 100 to 999: standard deviation 16
    assert set(few.tolist()) < set(many.tolist())
    assert torch.equal(few, keep(scores, labels, 0.7, drop))


def test_two_criteria_do_not_share_the_order_of_ties():
    labels = torch.zeros(1000, dtype=torch.long)
    first, second = (keep(torch.full((1000,), level), labels, 0.5) for level in (1.0, 2.0))
    assert abs(int(torch.isin(first, second).sum()) - 250) < 50


def test_ties_among_strata():
    labels = torch.arange(100) % 2
    layers = [stratum(torch.zeros(100), labels, i) for i in range(10)]
    assert torch.cat(layers).sort().values.tolist() == list(range(100))
    assert layers[0].tolist() != list(range(10))


@pytest.mark.parametrize(
    ("ratio", "count", "gone"),
    [(0.29, 100, 29), (0.9996, 5000, 4998), (0.995, 10, 9), (0.0, 7, 0), (0.1, 5000, 500)],
)
def test_removed_is_the_floor_of_the_decimal_product(ratio, count, gone):
    assert removed(ratio, count) == gone


def test_no_class_is_ever_emptied():
    kept = keep(torch.rand(30, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3, 0.999999)
    assert torch.bincount(torch.arange(30)[kept] % 3).min() >= 1


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan"), "0.5", None])
def test_bad_ratio(ratio):
    with pytest.raises(InputError, match="ratio"):
        keep(SCORES, LABELS, ratio)


def test_bad_scores():
    with pytest.raises(InputError, match=r"scores\[3\] = nan"):
        keep(torch.tensor([0, 1, 2, float("nan")]), torch.zeros(4, dtype=torch.long), 0.5)
    with pytest.raises(InputError, match="must both be"):
        keep(SCORES, LABELS[:3], 0.5)
    with pytest.raises(InputError, match="drop = 'hardest'"):
        keep(SCORES, LABELS, 0.5, "hardest")
    with pytest.raises(InputError, match="empty"):
        keep(SCORES[:0], LABELS[:0], 0.5)


def test_strata_partition_every_class():
    scores = torch.rand(47, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(47) % 2
    layers = [stratum(scores, labels, i) for i in range(10)]
    assert torch.cat(layers).sort().values.tolist() == list(range(47))
    for c in (0, 1):
        tops = [scores[layer[labels[layer] == c]] for layer in layers]
        assert all(a.max() <= b.min() for a, b in pairwise(tops))
        assert {len(t) for t in tops} <= {2, 3}


def test_strata_of_a_small_class():
    with pytest.raises(InputError, match="class 0 has 4 samples: too few for 10 strata"):
        stratum(torch.rand(4), torch.zeros(4, dtype=torch.long), 0)
    assert stratum(SCORES, LABELS, 9).tolist() == [18, 19]  # ten in each class are enough
    with pytest.raises(InputError, match=r"scores\[0\] = nan"):
        stratum(torch.full((20,), torch.nan), LABELS, 0)
    with pytest.raises(InputError, match="from 0 to 9"):
        stratum(SCORES, LABELS, 10)
