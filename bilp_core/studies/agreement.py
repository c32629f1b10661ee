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
    """Raises InputError unless all `trials` and `epochs` are from 1 to the most there are."""
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
