"""How many trials and epochs are enough: does a ranking from few agree with one from many?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..indicators import empirical_loss, rank_correlation

if TYPE_CHECKING:
    import pandas as pd


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
