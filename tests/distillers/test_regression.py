"""Kernel ridge regression against its formula and by hand."""

import pytest
import torch

from bilp_core.distillers.regression import regressed
from bilp_core.errors import Diverged, InputError


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    """Features (2, 0) and (0, 1): the kernel is diagonal (4, 1), its mean diagonal element 2.5."""
    support, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, -0.5], [-0.5, 0.5]])
    targets = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    # without a ridge the support is met exactly; (1, 3) has inner products 2 and 3
    half = 2 / 4 * 0.5 - 3 / 1 * 0.5
    torch.testing.assert_close(regressed(support, labels, targets, 0.0), torch.tensor([[0.5, -0.5], [half, -half]]))
    # with a ridge of 0.4 mean elements, that is of 1, the diagonal is (5, 2)
    half = 2 / 5 * 0.5 - 3 / 2 * 0.5
    torch.testing.assert_close(regressed(support, labels, targets, 0.4), torch.tensor([[0.4, -0.4], [half, -half]]))


def test_equals_ridge_regression_in_the_space_of_features():
    """The primal solution: (S'S + l I)^-1 S'y, in as many unknowns as there are features."""
    support, labels, targets = draws(6, 4).double(), draws(6, 3, seed=1).double(), draws(5, 4, seed=2).double()
    amount = 0.1 * support.square().sum(1).mean()
    primal = torch.linalg.solve(support.T @ support + amount * torch.eye(4).double(), support.T @ labels)
    torch.testing.assert_close(regressed(support, labels, targets, 0.1), targets @ primal)


def test_gradients_by_finite_differences():
    inputs = [draws(*shape, seed=k).double().requires_grad_() for k, shape in enumerate([(5, 7), (5, 3), (4, 7)])]
    assert torch.autograd.gradcheck(lambda *tensors: regressed(*tensors, 0.01), inputs)


def test_float32_features_near_each_other_are_solved_accurately():
    """Fifty features within a thousandth of one another: in float32 the kernel would lose its positive eigenvalues."""
    support = draws(1, 200) + 1e-3 * draws(50, 200, seed=1)
    labels, targets = draws(50, 3, seed=2), draws(4, 200, seed=3)
    found = regressed(support, labels, targets, 1e-6)
    assert found.dtype == torch.float32
    kernel = support.double() @ support.double().T
    kernel += 1e-6 * kernel.trace() / 50 * torch.eye(50)
    exact = targets.double() @ support.double().T @ torch.linalg.solve(kernel, labels.double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4 * exact.abs().max().item())


@pytest.mark.parametrize("size", [2, 3, 40])
def test_equal_images_without_ridge_are_singular(size):
    support = draws(size, 64)
    support[-1] = support[0]
    with pytest.raises(InputError, match=r"kernel of \d+ synthetic images is singular .* ridge = 0.0 .*: raise ridge"):
        regressed(support, draws(size, 2), draws(3, 64), 0.0)
    assert torch.isfinite(regressed(support, draws(size, 2), draws(3, 64), 1e-6)).all()


def test_more_images_than_features_without_ridge_are_singular():
    with pytest.raises(InputError, match="singular"):
        regressed(draws(9, 4), draws(9, 2), draws(3, 4), 0.0)


def test_features_without_numbers_are_named():
    with pytest.raises(InputError, match="singular"):
        regressed(torch.zeros(2, 4), draws(2, 2), draws(3, 4), 1e-6)
    support = draws(3, 4)
    support[1, 2] = float("nan")
    with pytest.raises(Diverged, match="features of the synthetic images are not finite"):
        regressed(support, draws(3, 2), draws(3, 4), 1e-6)
