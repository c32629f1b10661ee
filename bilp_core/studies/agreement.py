"""How many trials and epochs are enough: does a ranking from few agree with one from many?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..indicators.loss import empirical_loss

if TYPE_CHECKING:
    import pandas as pd


def rank_correlation(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Spearman's rank correlation of two scores [N] inside each class, averaged over the samples.

    Ranks are class-wise since pruning is: that one class is harder than another says nothing about who stays.
    A class whose scores are all equal, or that has one sample, has no ranking and is left out.
    Raises InputError when no class is left, or a score is not finite.
    Source: ours; the main paper, Sec. 5.5, asks how many epochs and trials are enough.

    >>> import torch
    >>> from bilp_core.studies.agreement import rank_correlation
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> scores = torch.tensor([1.0, 2.0, 3.0, 30.0, 20.0, 10.0])
    >>> round(rank_correlation(scores, scores + 100 * labels, labels), 3)
    1.0
    >>> round(rank_correlation(scores, torch.arange(6.0), labels), 3)  # the same in one class, reversed in the other
    0.0
    """
    from scipy.stats import spearmanr

    if not (first.shape == second.shape == labels.shape and first.ndim == 1):
        raise InputError(
            f"scores {list(first.shape)}, {list(second.shape)} and labels {list(labels.shape)}: must all be [N]"
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise InputError("a score is not finite: it has no rank")
    total, count = 0.0, 0
    for c in labels.unique():
        one, other = first[labels == c].double(), second[labels == c].double()
        if all(len(values.unique()) > 1 for values in (one, other)):
            total += float(spearmanr(one.numpy(), other.numpy()).statistic) * len(one)
            count += len(one)
    if not count:
        raise InputError("no class has two different scores to rank")
    return total / count


def check_fewer(most_trials: int, most_epochs: int, trials: Sequence[int], epochs: Sequence[int]) -> None:
    """Raises InputError unless all `trials` and `epochs` are from 1 to the most there are.

    >>> from bilp_core.studies.agreement import check_fewer
    >>> check_fewer(5, 30, trials=[1, 5], epochs=[10])
    >>> check_fewer(5, 30, trials=[1, 6], epochs=[10])
    Traceback (most recent call last):
    bilp_core.errors.InputError: trials = 6: must be from 1 to 5
    """
    for name, values, most in (("trials", trials, most_trials), ("epochs", epochs, most_epochs)):
        if not values:
            raise InputError(f"{name} = {values!r}: give at least one number")
        for value in values:
            if not 1 <= value <= most:
                raise InputError(f"{name} = {value}: must be from 1 to {most}")


def agreement(
    curves: Tensor,
    labels: Tensor,
    trials: Sequence[int],
    epochs: Sequence[int],
    score: Callable[[Tensor], Tensor] = empirical_loss,
) -> "pd.DataFrame":
    """Rank correlation of the score from t trials of e epochs with the score from all trials and epochs.

    curves : [trials, epochs, N] of a full run, as `loss_curves` records them, on the CPU. labels : int64 [N].
    score  : curves -> [N], by default the empirical loss.
    One row for each t and e. The trials are cut into as many groups of t as there are; columns:
        groups      : how many
        full        : mean over the groups of the correlation with the full run, which the group is a part of
        full_std    : its population standard deviation over the groups
        independent : mean of the correlation with all epochs of the trials outside the group; nan if none are left.
                      Unlike `full` it is not flattered by the group's own share, but the yardstick has fewer trials.
    Raises InputError for a t or e that the curves do not have.

    >>> import torch
    >>> from bilp_core.studies.agreement import agreement
    >>> rng = torch.Generator().manual_seed(0)
    >>> hardness = torch.arange(10.0)  # of ten samples; losses are noisy, over 4 trials of 3 epochs
    >>> curves = hardness + torch.randn(4, 3, 10, generator=rng)
    >>> found = agreement(curves, torch.zeros(10, dtype=torch.int64), trials=[1, 4], epochs=[1, 3])
    >>> found[["trials", "epochs", "groups"]].values.tolist()
    [[1, 1, 4], [1, 3, 4], [4, 1, 1], [4, 3, 1]]
    >>> round(float(found["full"].iloc[-1]), 6)  # the full run with itself
    1.0
    """
    import pandas as pd

    check_fewer(curves.shape[0], curves.shape[1], trials, epochs)
    whole, everyone = score(curves), torch.arange(len(curves))
    rows = []
    for count in trials:
        groups = [g for g in everyone.split(count) if len(g) == count]
        others = [everyone[~torch.isin(everyone, g)] for g in groups]
        rest = [score(curves[o]) if len(o) else None for o in others]
        for length in epochs:
            few = [score(curves[g, :length]) for g in groups]
            full = torch.tensor([rank_correlation(f, whole, labels) for f in few], dtype=torch.float64)
            apart = [rank_correlation(f, r, labels) for f, r in zip(few, rest, strict=True) if r is not None]
            rows.append(
                {
                    "trials": count,
                    "epochs": length,
                    "groups": len(groups),
                    "full": float(full.mean()),
                    "full_std": float(full.std(correction=0)),
                    "independent": sum(apart) / len(apart) if apart else float("nan"),
                }
            )
    return pd.DataFrame(rows)
