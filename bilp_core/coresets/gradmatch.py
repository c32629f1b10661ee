"""GradMatch: samples whose weighted gradients sum to everyone's (Killamsetty et al., ICML 2021)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import InputError
from .last_layer import BLOCK, LastLayer, check_gradient

PICKS = ("positive", "any")
PANEL = 64  # vectors that are orthogonalised before what they leave is brought up to date
FEWER = 0.8  # the share of samples that are free below which the others are left out


def matching_pursuit(
    products: Tensor, count: int, *, lam: float = 0.5, eps: float = 1e-4, picks: str = "positive"
) -> Tensor:
    """Orthogonal matching pursuit of the sum of n vectors by few of them: their indices in order, at most `count`.

    products : [n, n] inner products of the vectors g_i. Minimised is |sum_i w_i g_i - sum_i g_i|^2 + lam |w|^2.
    eps      : stop when the root of that, over the norm of the sum, is at most this.
    picks    : 'positive' takes the vector most along the residual, as weights should be positive, and stops when
               none is; 'any' the one whose inner product with it is largest in absolute value.
    It also stops when what is left lies in the span of the chosen. Returns int64, on the device of `products`.

    A ridge is an own dimension for each vector, of length sqrt(lam), where the sum has none; so this is plain
    pursuit with products + lam I. The chosen vectors are orthogonalised one by one, a pivoted Cholesky factorisation:
    row t of `basis` holds all vectors' parts along the t-th of the last few. What these leave of the products is
    brought up to date when `basis` is full, in one product of matrices, and what was chosen is left out by and by.
    Raises InputError for products that are not square or empty, a count out of range, or other picks.
    Source: Killamsetty et al., ICML 2021; the factorisation is ours.

    >>> import torch
    >>> from bilp_core.coresets import matching_pursuit
    >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> matching_pursuit(vectors @ vectors.T, count=2, lam=0.0).tolist()  # most along the sum (4, 5), then the rest
    [2, 1]
    """
    n = len(products)
    if products.shape != (n, n) or not n:
        raise InputError(f"inner products are {list(products.shape)}: must be [n, n], not empty")
    if not 1 <= count <= n:
        raise InputError(f"matching pursuit of {count} of {n} samples: must be from 1 to {n}")
    check_picks(picks)
    left = products.to(torch.float64, copy=True)  # what the chosen leave of the products
    left.diagonal().add_(lam)
    whole, along = left.diagonal().clone(), left.sum(1) - lam  # along: <g_i, residual>
    energy = total = float(along.sum())
    noise = 1e-12 * float(along.abs().max())
    basis, filled = left.new_empty(PANEL, n), 0
    samples, free = torch.arange(n, device=left.device), torch.ones(n, dtype=torch.bool, device=left.device)
    order: list[int] = []
    while len(order) < count and energy > eps**2 * total:
        worth = torch.where(free, along if picks == "positive" else along.abs(), -torch.inf)
        best = int(worth.argmax())
        if not float(worth[best]) > noise:
            break
        free[best] = False
        row = torch.cat([left[best, :best], left[best:, best]])  # `left` is up to date on and below its diagonal
        part = row - basis[:filled, best] @ basis[:filled]
        square = float(part[best])
        if square <= 1e-10 * float(whole[best]):
            continue  # it lies in the span of the chosen
        basis[filled] = part / math.sqrt(square)
        step = float(along[best]) / math.sqrt(square)
        along = along - step * basis[filled]
        energy -= step**2
        order.append(int(samples[best]))
        filled += 1
        if filled == PANEL:
            for start in range(0, len(left), BLOCK):
                rows, end = slice(start, start + BLOCK), start + BLOCK
                left[rows, :end].addmm_(basis[:, rows].T, basis[:, :end], alpha=-1)
            filled = 0
            if int(free.sum()) < FEWER * len(free):
                rest = free.nonzero().flatten()
                left, basis = left[rest][:, rest], basis[:, rest]
                whole, along, samples, free = whole[rest], along[rest], samples[rest], free[rest]
    return torch.tensor(order, dtype=torch.int64, device=products.device)


def check_picks(picks: str) -> None:
    """Raises InputError for what is not one of `PICKS`."""
    if picks not in PICKS:
        raise InputError(f"picks = {picks!r}: must be one of {', '.join(PICKS)}")


def check_gradmatch(budget: float, picks: str, gradient: str) -> None:
    """Raises InputError for what `gradmatch` does not take.

    >>> from bilp_core.coresets import check_gradmatch
    >>> check_gradmatch(budget=0.7, picks="positive", gradient="layer")
    >>> check_gradmatch(budget=70, picks="positive", gradient="layer")
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: budget = 70: the share of a class to take must be in (0, 1]
    """
    if not 0 < budget <= 1:
        raise InputError(f"budget = {budget}: the share of a class to take must be in (0, 1]")
    check_picks(picks)
    check_gradient(gradient)


def gradmatch(
    layer: LastLayer,
    budget: float = 0.7,
    *,
    lam: float = 0.5,
    eps: float = 1e-4,
    picks: str = "positive",
    gradient: str = "layer",
    progress: Callable[[int], None] | None = None,
) -> list[Tensor]:
    """For each class the indices that GradMatch takes, in order: at most ceil(budget x class size), or fewer.

    budget   : share of a class to take; time grows with its square.
    gradient : see `LastLayer.gram`. With 'class' only E + 1 gradients can be independent.
    progress : called with the number of classes done. For the others see `matching_pursuit`.
    A whole data set at once would need the products of all pairs of samples; class by class, as here, is the
    paper's own approximation.
    Raises InputError for settings out of range. Source: Killamsetty et al., ICML 2021.

    >>> import torch
    >>> from bilp_core.coresets import LastLayer, gradmatch
    >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0]])
    >>> layer = LastLayer(features, logits=torch.zeros(4, 2), labels=torch.tensor([0, 0, 0, 1]))
    >>> [order.tolist() for order in gradmatch(layer, budget=0.5)]  # up to two of the first class, one of the second
    [[2, 1], [3]]
    """
    check_gradmatch(budget, picks, gradient)
    orders = []
    for members in layer.classes():
        products = layer.gram(members, gradient)
        chosen = matching_pursuit(products, target(budget, len(members)), lam=lam, eps=eps, picks=picks)
        orders.append(members[chosen])
        if progress:
            progress(len(orders))
    return orders


def target(budget: float, size: int) -> int:
    """Samples that a share `budget` of a class of `size` stands for: rounded up."""
    return min(size, math.ceil(budget * size - 1e-9))
