"""The first-order gradient against the exact one."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from bilp_core.nets import initialise, network
from bilp_core.studies.first_order import first_order_errors, first_order_figure


@pytest.fixture(scope="module")
def case():
    rng = torch.Generator().manual_seed(0)
    net = network("convnet:depth=1,width=4", (1, 8, 8), 2)
    initialise(net, rng)
    net = net.double()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    target = {name: p + 0.1 * torch.randn(p.shape, generator=rng) for name, p in start.items()}
    return net, start, target, torch.randn(4, 1, 8, 8, generator=rng).double(), torch.tensor([0, 0, 1, 1])


def test_the_error_is_that_of_frozen_parameters(case):
    """Both gradients of a student of three steps written out, in one graph and with constant parameters."""
    net, start, target, images, labels = case
    (row,) = first_order_errors(*case, steps=[3], rates=[0.2]).to_dict("records")
    found = []
    for frozen in (False, True):
        leaf, rate = images.clone().requires_grad_(), torch.tensor(0.2).double().requires_grad_()
        here = {name: p.clone().requires_grad_() for name, p in start.items()}
        total = {name: torch.zeros_like(p) for name, p in start.items()}
        for _ in range(3):
            at = {n: p.detach().requires_grad_() for n, p in here.items()} if frozen else here
            loss = F.cross_entropy(functional_call(net, at, (leaf,)), labels)
            slopes = dict(zip(at, torch.autograd.grad(loss, list(at.values()), create_graph=True), strict=True))
            total = {name: total[name] + slopes[name] for name in total}
            here = {name: start[name] - rate * total[name] for name in total}
            if not frozen:
                here = {name: p if p.requires_grad else p.requires_grad_() for name, p in here.items()}
        missed = sum((here[n] - target[n]).square().sum() for n in start)
        found.append(torch.autograd.grad(missed, (leaf, rate)))
    (exact, exact_lr), (first, first_lr) = found
    assert row["error"] == pytest.approx(float((first - exact).norm() / exact.norm()), rel=1e-6)
    assert row["length"] == pytest.approx(float(first.norm() / exact.norm()), rel=1e-6)
    assert row["by_lr"] == pytest.approx(float((first_lr - exact_lr).abs() / exact_lr.abs()), rel=1e-6)
    assert row["error"] > 0.005


def test_a_line_for_each_step_size(case):
    rows = first_order_errors(*case, steps=[1, 2, 4], rates=[0.01, 0.1])
    left, right = first_order_figure(rows).axes
    assert [len(line.get_xdata()) for line in left.lines] == [2, 2]  # one step is exact
    assert [len(line.get_xdata()) for line in right.lines] == [3, 3]
    assert rows.groupby("lr")["error"].apply(lambda own: own.is_monotonic_increasing).all()
