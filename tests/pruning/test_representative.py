"""Which samples are representative."""

import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.pruning import Representative, representatives


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_they_are_next_to_the_centres_of_far_clusters():
    centres, half = 100 * torch.randn(3, 5, generator=rng(1)), torch.randn(3, 30, 5, generator=rng(2))
    points = (centres[:, None] + torch.cat([half, -half, torch.zeros(3, 1, 5)], 1)).flatten(0, 1)
    found = [sorted(representatives(points, 3, rng(seed)).tolist()) for seed in range(20)]
    assert found.count([60, 121, 182]) > 5  # k-means may also end where two share a cluster


def test_same_generator_same_samples():
    points = torch.randn(60, 4, generator=rng())
    first, second = (representatives(points, 9, rng(3)).tolist() for _ in range(2))
    assert first == second
    assert representatives(points, 9, rng(4)).tolist() != first
    assert representatives(torch.ones(20, 4), 5, rng()).tolist() == [0] * 5


def test_no_steps_are_refused():
    with pytest.raises(InputError, match="interval = 0: must be at least 1"):
        Representative(0)
