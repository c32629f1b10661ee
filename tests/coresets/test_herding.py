import pytest
import torch

from bilp_core.coresets import herding
from bilp_core.errors import InputError


def test_herding_against_brute_force():
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    picks, mean = [], features.mean(0)
    for turn in range(1, 6):
        best = min(
            (i for i in range(12) if i not in picks),
            key=lambda i: (turn * mean - features[[*picks, i]].sum(0)).norm().item(),
        )
        picks.append(best)
    assert herding(features, 5).tolist() == picks


def test_herding_all_is_a_permutation():
    features = torch.zeros(6, 2)  # duplicates break nothing
    assert herding(features, 6).sort().values.tolist() == list(range(6))


def test_herding_follows_the_mean_better_than_chance():
    g = torch.Generator().manual_seed(1)
    features = torch.randn(200, 8, generator=g)
    gap = (features[herding(features, 10)].mean(0) - features.mean(0)).norm()
    by_chance = [(features[torch.randperm(200, generator=g)[:10]].mean(0) - features.mean(0)).norm() for _ in range(20)]
    assert gap < min(by_chance)


@pytest.mark.parametrize("count", [0, 7])
def test_bad_count(count):
    with pytest.raises(InputError, match=f"herding {count} of 6"):
        herding(torch.zeros(6, 2), count)
