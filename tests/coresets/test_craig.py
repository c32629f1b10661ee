from itertools import combinations

import numpy as np
import pytest
import torch

from bilp_core.coresets import LastLayer, craig, facility_location
from bilp_core.errors import InputError

from .common import gradients, random_layer


def coverage(similarity, chosen):
    return similarity[:, list(chosen)].max(1).sum()


def assert_greedy(similarity, order):
    """Every pick gains the most, up to rounding: two that are each other's nearest gain the same in the end."""
    covered = np.zeros(len(similarity))
    for turn, pick in enumerate(order):
        gains = np.maximum(similarity - covered[:, None], 0).sum(0)
        gains[order[:turn]] = -1
        assert gains[pick] >= gains.max() - 1e-5
        covered = np.maximum(covered, similarity[:, pick])


def points(n, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, 2))
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    return distances.max() - distances


@pytest.mark.parametrize("seed", range(5))
def test_the_lazy_greedy_is_the_plain_one(seed):
    similarity = points(40, seed)
    assert_greedy(similarity, facility_location(similarity))


@pytest.mark.parametrize("seed", range(5))
def test_within_the_bound_of_the_optimum(seed):
    similarity = points(11, seed)
    order = facility_location(similarity)
    for k in (1, 2, 3, 4):
        best = max(coverage(similarity, chosen) for chosen in combinations(range(11), k))
        assert coverage(similarity, order[:k]) >= (1 - 1 / np.e) * best
    assert coverage(similarity, order[:1]) == pytest.approx(similarity.sum(0).max())


def test_ties_go_by_index_and_nothing_is_lost():
    assert facility_location(np.zeros((6, 6))).tolist() == list(range(6))
    assert facility_location(np.ones((6, 6))).tolist() == list(range(6))
    assert facility_location(np.ones((1, 1))).tolist() == [0]
    twins = np.kron(points(10), np.ones((2, 2)))  # rows 2i and 2i + 1 are the same
    order = facility_location(twins)
    assert sorted(order.tolist()) == list(range(20))
    assert set(order[:10].tolist()) == set(range(0, 20, 2))  # a twin adds nothing


def test_bad_similarity():
    with pytest.raises(InputError, match=r"\[2, 3\]"):
        facility_location(np.zeros((2, 3)))
    with pytest.raises(InputError, match="finite and not negative"):
        facility_location(-np.ones((2, 2)))
    with pytest.raises(InputError, match="finite and not negative"):
        facility_location(np.full((2, 2), np.nan))


def test_craig_covers_the_gradients_of_each_class():
    layer = random_layer(60)
    g = gradients(layer)
    orders = craig(layer, "layer")
    assert torch.cat(orders).sort().values.tolist() == list(range(60))
    for c, order in enumerate(orders):
        assert (layer.labels[order] == c).all()
        members = (layer.labels == c).nonzero().flatten()
        distances = torch.cdist(g[members], g[members]).numpy()
        assert_greedy(distances.max() - distances, (order[:, None] == members).nonzero()[:, 1].tolist())


def test_the_first_has_the_least_distance_to_all():
    """By hand: errors on a line at 0, 1, 2, 10; the medoid is one of the two in the middle, then the far one."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.9], dtype=torch.float64)
    logits = torch.stack([torch.log(1 - p), torch.log(p)], 1)
    layer = LastLayer(torch.ones(4, 1, dtype=torch.float64), logits, torch.zeros(4, dtype=torch.int64))
    (order,) = craig(layer)
    assert order[0] in (1, 2)
    assert order[1] == 3


def test_craig_follows_a_permutation():
    """But for ties, which come late."""
    layer = random_layer(60)
    shuffle = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    for order, moved in zip(craig(layer), craig(layer.subset(shuffle)), strict=True):
        assert torch.equal(shuffle[moved][:8], order[:8])


def test_small_and_equal_classes():
    labels = torch.tensor([0] * 7 + [2])
    layer = random_layer(8, labels=labels)
    same = LastLayer(torch.ones(8, 5), torch.ones(8, 3), labels)
    for one in (layer, same):
        orders = craig(one, "layer")
        assert [len(o) for o in orders] == [7, 1]
        assert torch.cat(orders).sort().values.tolist() == list(range(8))
