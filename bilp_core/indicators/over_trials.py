"""From the scores of each trial to one score a sample: mean, spread, count, and how far two halves agree."""

from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError
from .ranking import rank_correlation


def over_trials(
    rows: Annotated[Tensor, "float [trials, N]"], labels: Annotated[Tensor, "int64 [N]"]
) -> tuple[Annotated[Tensor, "float64 [N]"], Annotated[Tensor, "float64 [N]"], Annotated[Tensor, "int64 [N]"]]:
    """Mean, spread and number of the trials that scored a sample; nan in a row says that its trial did not.

    spread : the sample standard deviation (over count - 1), nan where there are fewer than two; divided by the square
             root of the count it is the standard error of the mean.
    A sample that no trial scored gets the mean over the trials of its class's mean there.

    >>> import torch
    >>> from bilp_core.indicators import over_trials
    >>> rows = torch.tensor([[1.0, 5.0, float("nan")], [3.0, float("nan"), float("nan")]])
    >>> mean, spread, count = over_trials(rows, labels=torch.tensor([0, 1, 1]))
    >>> mean.tolist(), count.tolist(), [round(value, 3) for value in spread.tolist()]
    ([2.0, 5.0, 5.0], [2, 1, 0], [1.414, nan, nan])
    """
    rows, seen = rows.double(), ~rows.isnan()
    count = seen.sum(0)
    mean = torch.where(seen, rows, 0.0).sum(0) / count
    squares = torch.where(seen, rows - mean, 0.0).square().sum(0)
    spread = torch.where(count > 1, squares / (count - 1), float("nan")).sqrt()
    for c in labels[count == 0].unique():
        members = labels == c
        mean[members & (count == 0)] = rows[:, members].nanmean(1).nanmean()
    return mean, spread, count


def halves(rows: Annotated[Tensor, "float [trials, N]"], labels: Annotated[Tensor, "int64 [N]"]) -> float | None:
    """Rank correlation, class by class, of the mean over trials 1, 3, 5, ... with that over trials 2, 4, 6, ...

    Halves are of one size: the last of an odd number of trials is in neither. None for fewer than two trials, or where
    no class has a ranking. It is that of half of the trials; see `stepped_up`.
    Source: ours; split-half reliability, as psychometrics has it.

    >>> import torch
    >>> from bilp_core.indicators import halves
    >>> rows = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [5.0, 6.0, 7.0], [0.0, 9.0, 9.5]])
    >>> labels = torch.zeros(3, dtype=torch.int64)
    >>> round(halves(rows[:3], labels), 3), round(halves(rows, labels), 3), halves(rows[:1], labels)
    (-1.0, 0.5, None)
    """
    even = len(rows) // 2 * 2
    if not even:
        return None
    first, second = (over_trials(rows[start:even:2], labels)[0] for start in (0, 1))
    try:
        return rank_correlation(first, second, labels)
    except InputError:
        return None


def stepped_up(half: float) -> float:
    """The correlation to expect of the mean over all trials with that over as many new ones: 2 r / (1 + r).

    half : r, the correlation between halves. It holds so far as the trials are alike.
    Source: the formula of Spearman and Brown, both 1910.

    >>> from bilp_core.indicators import stepped_up
    >>> round(stepped_up(0.9), 3)
    0.947
    """
    return 2 * half / (1 + half)
