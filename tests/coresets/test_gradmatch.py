import sys

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import orthogonal_mp_gram

from bilp_core.coresets import LastLayer, gradmatch, matching_pursuit
from bilp_core.errors import InputError

from .common import gradients, random_layer


def vectors(n=30, d=50, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(g, count, lam, positive):
    """Pursuit as its definition says: a least-squares fit at every step. Returns indices, the objective of each."""
    total, chosen, objectives = g.sum(0), [], []
    residual = total
    for _ in range(count):
        along = g @ residual
        along = along if positive else along.abs()
        along[chosen] = -torch.inf
        chosen.append(int(along.argmax()))
        a = g[chosen]
        w = torch.linalg.solve(a @ a.T + lam * torch.eye(len(chosen), dtype=g.dtype), a @ total)
        residual = total - w @ a
        objectives.append(float(residual.square().sum() + lam * w.square().sum()))
    return chosen, objectives


@pytest.mark.parametrize("panel", [64, 3, 1])
@pytest.mark.parametrize("picks", ["positive", "any"])
@pytest.mark.parametrize("lam", [0, 0.5, 20])
def test_against_the_definition(lam, picks, panel, monkeypatch):
    module = sys.modules["bilp_core.coresets.gradmatch"]
    monkeypatch.setattr(module, "PANEL", panel)
    monkeypatch.setattr(module, "BLOCK", 7)  # rows that are brought up to date together: a triangle of several
    g = vectors()
    chosen, _ = reference(g, 20, lam, picks == "positive")
    assert matching_pursuit(g @ g.T, 20, lam=lam, picks=picks).tolist() == chosen


@pytest.mark.parametrize("lam", [0, 0.5])
def test_against_scikit_learn(lam):
    layer = random_layer(90, size=20)
    for members in layer.classes():
        products = layer.gram(members)
        gram = products.numpy() + lam * np.eye(len(members))
        for count in (1, 5, 20):
            coefficients = orthogonal_mp_gram(gram, products.numpy().sum(1), n_nonzero_coefs=count)
            ours = matching_pursuit(products, count, lam=lam, picks="any", eps=0)
            assert sorted(ours.tolist()) == np.nonzero(coefficients)[0].tolist()


def test_stops_at_epsilon():
    g = vectors()
    _, objectives = reference(g, 29, 0.5, True)
    relative = (torch.tensor(objectives) / g.sum(0).square().sum()).sqrt()
    eps = float(relative[11])
    assert len(matching_pursuit(g @ g.T, 30, eps=eps * 1.0001)) == 12
    assert len(matching_pursuit(g @ g.T, 30, eps=eps * 0.9999)) == 13


def test_the_fit_is_as_good_as_with_non_negative_weights():
    """Signed picks: refitted with weights that must be positive, few of the chosen are lost."""
    g = gradients(random_layer(300, classes=2, size=40, labels=torch.zeros(300, dtype=torch.int64)))
    chosen = matching_pursuit(g @ g.T, 30, lam=0)
    weights, gap = nnls(g[chosen].T.numpy(), g.sum(0).numpy())
    assert (weights > 0).sum() >= 25
    assert gap < 0.02 * g.sum(0).norm()


def test_stops_when_the_rest_is_in_the_span():
    g = vectors(40, 6)
    chosen = matching_pursuit(g @ g.T, 40, lam=0, eps=0, picks="any")
    assert len(chosen) == 6
    assert torch.linalg.matrix_rank(g[chosen]) == 6


@pytest.mark.parametrize("lam", [0, 0.5])
@pytest.mark.parametrize("picks", ["positive", "any"])
def test_degenerate_vectors(lam, picks):
    zero, same = torch.zeros(5, 5, dtype=torch.float64), torch.ones(5, 5, dtype=torch.float64)
    assert len(matching_pursuit(zero, 5, lam=lam, picks=picks)) == 0
    chosen = matching_pursuit(same, 5, lam=lam, picks=picks).tolist()
    assert len(set(chosen)) == len(chosen)
    assert chosen[0] == 0
    assert len(chosen) == (5 if lam else 1)
    twins = torch.cat([vectors(10)] * 2)
    chosen = matching_pursuit(twins @ twins.T, 20, lam=0, eps=0, picks="any").tolist()
    assert len({i % 10 for i in chosen}) == len(chosen) == 10


def test_takes_the_budget_of_each_class():
    labels = torch.tensor([0] * 20 + [1] * 11 + [2])
    layer = random_layer(32, size=40, labels=labels)
    orders = gradmatch(layer, 0.5, eps=0)
    assert [len(o) for o in orders] == [10, 6, 1]
    for c, order in enumerate(orders):
        assert (labels[order] == c).all()
        assert len(order.unique()) == len(order)
    longer = gradmatch(layer, 0.8, eps=0)
    for few, many in zip(orders, longer, strict=True):
        assert torch.equal(many[: len(few)], few)


def test_gradmatch_follows_a_permutation():
    layer = random_layer(60, size=30)
    shuffle = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    for order, moved in zip(gradmatch(layer), gradmatch(layer.subset(shuffle)), strict=True):
        assert torch.equal(shuffle[moved], order)


def test_equal_images_break_nothing():
    layer = LastLayer(torch.ones(8, 5), torch.ones(8, 3), torch.tensor([0] * 7 + [2]))
    for gradient in ("layer", "class", "logits"):
        for order in gradmatch(layer, 1.0, gradient=gradient):
            assert len(order.unique()) == len(order) >= 1


def test_refuses():
    with pytest.raises(InputError, match=r"budget = 0.*\(0, 1\]"):
        gradmatch(random_layer(6), 0)
    with pytest.raises(InputError, match="pursuit of 7 of 6"):
        matching_pursuit(torch.eye(6), 7)
    with pytest.raises(InputError, match="picks = 'best'"):
        matching_pursuit(torch.eye(6), 2, picks="best")
    with pytest.raises(InputError, match=r"\[2, 3\]"):
        matching_pursuit(torch.ones(2, 3), 1)
