"""GLISTER: samples on which a step lowers the loss of held-out ones (Killamsetty et al., AAAI 2021)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import InputError
from .last_layer import LastLayer, check_gradient

SCOPES = ("all", "class")
FEWER = 0.8  # the share of samples that are free below which the others are left out
BLOCK = 1024  # rows that are moved together


def check_glister(rounds: int, scope: str, gradient: str) -> None:
    """Raises InputError for what `glister` does not take.

    >>> from bilp_core.coresets import check_glister
    >>> check_glister(rounds=1000, scope="all", gradient="layer")
    >>> check_glister(rounds=1000, scope="half", gradient="layer")
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: scope = 'half': must be one of all, class
    """
    if rounds < 1:
        raise InputError(f"rounds = {rounds}: must be at least 1")
    if scope not in SCOPES:
        raise InputError(f"scope = {scope!r}: must be one of {', '.join(SCOPES)}")
    check_gradient(gradient, ("layer", "logits"))


def taylor_greedy(
    train: LastLayer,
    validation: LastLayer,
    *,
    eta: float,
    rounds: int = 1000,
    gradient: str = "layer",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """All samples of `train`, best first: int64 [n].

    The last layer takes a gradient step of size `eta` on the SUM of the losses of the chosen, with their gradients
    as they were before it. To first order, adding sample i lowers the mean loss of `validation` by eta times the
    inner product of its gradient with that of the validation loss after the step so far.
    rounds   : times the validation gradient is renewed (r in the paper); in each, the n / rounds best are taken.
               From n on it is the plain greedy.
    gradient : 'layer', of weights and biases, or 'logits', of the biases alone.
    progress : called with (taken, n).
    Raises InputError for settings out of range, and where nothing is to choose from or held out.
    Source: Killamsetty et al., AAAI 2021, the Taylor form of their greedy.

    >>> import torch
    >>> from bilp_core.coresets import LastLayer, taylor_greedy
    >>> even = torch.zeros(3, 2)  # logits of a network that knows nothing
    >>> train = LastLayer(torch.tensor([[1.0], [3.0], [2.0]]), even, torch.tensor([0, 0, 1]))
    >>> held_out = LastLayer(torch.tensor([[2.0]]), even[:1], torch.tensor([0]))
    >>> taylor_greedy(train, held_out, eta=0.01).tolist()  # <e_i, e> (<h_i, h> + 1) = 1.5, 3.5, -2.5
    [1, 0, 2]
    """
    check_glister(rounds, "all", gradient)
    if not len(train) or not len(validation):
        raise InputError(f"{len(train)} samples to choose from, {len(validation)} held out: both must be at least 1")
    left, right = _factors(train.features, validation.features, gradient)
    if len(validation) <= left.shape[1]:  # fewer held-out samples than features: their product is smaller
        left, right = left @ right.T, torch.eye(len(validation), device=left.device, dtype=left.dtype)
    logits = validation.logits.to(torch.float64, copy=True)
    errors, samples = train.errors, torch.arange(len(train), device=left.device)
    free = torch.ones(len(train), dtype=torch.bool, device=left.device)
    each = math.ceil(len(train) / rounds)
    order: list[Tensor] = []
    for taken in range(0, len(train), each):
        # few rows times many columns: the other way round the same products take twice as long
        slope = _directions(logits, validation.labels).to(left.dtype).T @ right
        gains = torch.where(free, (errors.T * (slope @ left.T)).sum(0), -torch.inf)
        best = gains.topk(min(each, len(train) - taken)).indices
        free[best] = False
        logits -= eta * (errors[best].T @ left[best] @ right.T).T.double()
        order.append(samples[best])
        if int(free.sum()) < FEWER * len(free):  # what was taken is no longer multiplied
            rest = free.nonzero().flatten()
            left, errors, samples, free = _moved_up(left, rest), errors[rest], samples[rest], free[rest]
        if progress:
            progress(min(taken + each, len(train)), len(train))
    return torch.cat(order)


def _moved_up(matrix: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a matrix, ascending, moved to its beginning, so that no second one is needed."""
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        matrix[start : start + len(some)] = matrix[some]
    return matrix[: len(rows)]


def _factors(features: Tensor, others: Tensor, gradient: str) -> tuple[Tensor, Tensor]:
    """A [n, .] and B [m, .] with A B^T = <h_i, h_j> + 1, or 1 for the gradient of the biases alone."""
    pair = (torch.cat([part, part.new_ones(len(part), 1)], 1) for part in (features, others))
    left, right = (part if gradient == "layer" else part[:, -1:] for part in pair)
    return left, right


def _directions(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(logits) - onehot(labels), times one positive number for all: [m, C].

    The number is such that the largest wrong probability becomes 1, so that a gradient far below the smallest
    float, as after long steps, still has its direction.
    """
    wrong = logits.log_softmax(1).scatter(1, labels[:, None], -torch.inf)
    wrong = (wrong - wrong.max()).exp()
    return wrong.scatter(1, labels[:, None], -wrong.sum(1, keepdim=True))


def glister(
    train: LastLayer,
    validation: LastLayer,
    *,
    eta: float,
    rounds: int = 1000,
    scope: str = "all",
    gradient: str = "layer",
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """For each class the indices of its samples in `train` in the order GLISTER takes them.

    scope : 'all', one selection among all samples for the loss on all of `validation`, as in the paper; each class
            then has its samples in the order of that one selection. 'class', one for each class, for the loss on
            the held-out samples of that class (on its own ones where none is held out).
    The others as in `taylor_greedy`; progress is called with (taken, samples in all).
    Raises InputError for settings out of range. Source: Killamsetty et al., AAAI 2021; the scope 'class' is ours.

    >>> import torch
    >>> from bilp_core.coresets import LastLayer, glister
    >>> even = torch.zeros(4, 2)
    >>> train = LastLayer(torch.tensor([[1.0], [3.0], [2.0], [4.0]]), even, torch.tensor([0, 0, 1, 1]))
    >>> held_out = LastLayer(torch.tensor([[2.0], [2.0]]), even[:2], torch.tensor([0, 1]))
    >>> [order.tolist() for order in glister(train, held_out, eta=0.01, scope="class")]
    [[1, 0], [3, 2]]
    """
    check_glister(rounds, scope, gradient)
    if scope == "all":
        order = taylor_greedy(train, validation, eta=eta, rounds=rounds, gradient=gradient, progress=progress)
        return [order[train.labels[order] == c] for c in train.labels.unique()]
    orders: list[Tensor] = []
    done = 0
    for members in train.classes():
        own = train.subset(members)
        held = (validation.labels == own.labels[0]).nonzero().flatten()
        judge = validation.subset(held) if len(held) else own
        orders.append(members[taylor_greedy(own, judge, eta=eta, rounds=rounds, gradient=gradient)])
        done += len(members)
        if progress:
            progress(done, len(train))
    return orders
