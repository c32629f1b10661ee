"""How far two scores rank alike, inside each class."""

from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError


def rank_correlations(
    first: Annotated[Tensor, "[N]"], second: Annotated[Tensor, "[N]"], labels: Annotated[Tensor, "int64 [N]"]
) -> dict[int, float]:
    """Spearman's rank correlation of two scores [N] in each class: {class: from -1 to 1}.

    nan where a class has no ranking: its scores are all equal, or it has one sample.
    Raises InputError for other shapes, or a score that is not finite.

    >>> import torch
    >>> from bilp_core.indicators import rank_correlations
    >>> scores, labels = torch.tensor([1.0, 2.0, 3.0, 5.0, 4.0, 9.0]), torch.tensor([0, 0, 0, 1, 1, 2])
    >>> found = rank_correlations(scores, torch.arange(6.0), labels)
    >>> {c: round(value, 3) for c, value in found.items()}
    {0: 1.0, 1: -1.0, 2: nan}
    """
    from scipy.stats import spearmanr

    if not (first.shape == second.shape == labels.shape and first.ndim == 1):
        raise InputError(
            f"scores {list(first.shape)}, {list(second.shape)} and labels {list(labels.shape)}: must all be [N]"
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise InputError("a score is not finite: it has no rank")
    found = {}
    for c in labels.unique().tolist():
        one, other = (scores[labels == c].double() for scores in (first, second))
        ranked = all(len(values.unique()) > 1 for values in (one, other))
        found[c] = float(spearmanr(one.numpy(), other.numpy()).statistic) if ranked else float("nan")
    return found


def rank_correlation(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Spearman's rank correlation of two scores [N] inside each class, averaged over the samples.

    Ranks are class-wise since pruning is: that one class is harder than another says nothing about who stays.
    A class whose scores are all equal, or that has one sample, has no ranking and is left out.
    Raises InputError when no class is left, or a score is not finite.
    Source: ours; the main paper, Sec. 5.5, asks how many epochs and trials are enough.

    >>> import torch
    >>> from bilp_core.indicators import rank_correlation
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> scores = torch.tensor([1.0, 2.0, 3.0, 30.0, 20.0, 10.0])
    >>> round(rank_correlation(scores, scores + 100 * labels, labels), 3)
    1.0
    >>> round(rank_correlation(scores, torch.arange(6.0), labels), 3)  # the same in one class, reversed in the other
    0.0
    """
    ranked = {c: value for c, value in rank_correlations(first, second, labels).items() if value == value}
    if not ranked:
        raise InputError("no class has two different scores to rank")
    counts = {c: int((labels == c).sum()) for c in ranked}
    return sum(value * counts[c] for c, value in ranked.items()) / sum(counts.values())
