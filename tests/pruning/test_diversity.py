"""Diversity of subsets."""

import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.pruning import diversity, relative_diversity


def test_mean_pairwise_distance_over_that_of_the_class():
    points = torch.tensor([[0.0], [1.0], [3.0], [0.0], [10.0], [20.0]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    # class 0: pairs 1, 3, 2 -> mean 2, kept pair 3; class 1: pairs 10, 20, 10 -> mean 40/3, kept pair 10
    found = relative_diversity(points, labels, torch.tensor([0, 2, 3, 4]))
    torch.testing.assert_close(found, torch.tensor([1.5, 0.75]))


def test_blocks_give_the_mean_over_pairs(monkeypatch):
    """Of bright images, some of them nearly alike, whose distances are small beside their norms."""
    monkeypatch.setattr(diversity, "BLOCK", 7)
    rng = torch.Generator().manual_seed(0)
    points = 200 + torch.randn(33, 50, generator=rng)
    points[11:22] = points[:11] + 0.01
    subset = torch.arange(0, 33, 2)
    pairs = [torch.pdist(part.double()).mean() for part in (points[subset], points)]
    found = relative_diversity(points, torch.zeros(33, dtype=torch.int64), subset)
    torch.testing.assert_close(found.double(), (pairs[0] / pairs[1])[None], rtol=1e-5, atol=0)


def test_images_are_flattened_and_the_whole_class_has_one():
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(20, 3, 4, 4, generator=rng)
    labels = torch.arange(20) % 2
    torch.testing.assert_close(relative_diversity(images, labels, torch.arange(20)), torch.ones(2))


def test_random_subsets_have_one_on_average_whatever_their_size():
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(40, 2, generator=rng)
    labels = torch.zeros(40, dtype=torch.int64)
    for size in (3, 10):
        draws = [relative_diversity(points, labels, torch.randperm(40, generator=rng)[:size]) for _ in range(400)]
        assert torch.stack(draws).mean() == pytest.approx(1, abs=0.05)


def test_too_few_samples_and_equal_samples_are_refused():
    points = torch.tensor([[0.0], [1.0], [5.0], [5.0]])
    labels = torch.tensor([0, 0, 1, 1])
    with pytest.raises(InputError, match="class 0: 1 samples"):
        relative_diversity(points, labels, torch.tensor([0, 2, 3]))
    with pytest.raises(InputError, match="class 1: all"):
        relative_diversity(points, labels, torch.arange(4))
