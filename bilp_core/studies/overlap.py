"""How much two selections have in common, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def _by_class(first: Tensor, second: Tensor, labels: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """Each class, and which of its samples either selection has."""
    masks = [torch.zeros(len(labels), dtype=torch.bool).index_fill(0, kept.cpu(), True) for kept in (first, second)]
    labels = labels.cpu()
    return [(c, *(mask[labels == c] for mask in masks)) for c in labels.unique().tolist()]


def jaccard(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Samples in both selections over samples in either, the mean over classes: from 0 (none) to 1 (equal).

    first, second : indices that are kept, int64; labels : int64 [N], of all samples.
    Raises InputError where neither selection has a sample of some class.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> overlap.jaccard(torch.tensor([0, 1, 3]), torch.tensor([0, 2, 3]), labels)  # 1/3 and 1/1
    0.6666666666666666
    """
    shares = []
    for c, one, other in _by_class(first, second, labels):
        either = int((one | other).sum())
        if not either:
            raise InputError(f"neither selection has a sample of class {c}")
        shares.append(int((one & other).sum()) / either)
    return sum(shares) / len(shares)


def common(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Of what the first selection has of a class, the share that the second has too; the mean over classes.

    first, second : indices that are kept, int64; labels : int64 [N], of all samples. By chance it is the share of the
    class that the second has.
    Raises InputError where the first has no sample of some class.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> overlap.common(torch.tensor([0, 1, 3]), torch.tensor([0, 2, 3]), labels)  # 1/2 and 1/1
    0.75
    """
    shares = []
    for c, one, other in _by_class(first, second, labels):
        if not one.any():
            raise InputError(f"the first selection has no sample of class {c}")
        shares.append(float(other[one].double().mean()))
    return sum(shares) / len(shares)


def by_chance(kept: float) -> float:
    """What two independent random selections of the share `kept` of a large class have in common, by Jaccard.

    Source: ours: kept^2 of the class are in both, 2 kept - kept^2 in either.

    >>> from bilp_core.studies import overlap
    >>> overlap.by_chance(1.0), round(overlap.by_chance(0.1), 4)
    (1.0, 0.0526)
    """
    return kept / (2 - kept)


def overlaps(selections: Mapping[str, Tensor], labels: Tensor) -> pd.DataFrame:
    """`jaccard` between all pairs of named selections: a square frame.

    Raises InputError as `jaccard` does.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> selections = {"loss": torch.tensor([0, 1]), "el2n": torch.tensor([0, 2])}
    >>> overlap.overlaps(selections, torch.tensor([0, 0, 0])).round(2).values.tolist()
    [[1.0, 0.33], [0.33, 1.0]]
    """
    import pandas as pd

    rows = [[jaccard(one, other, labels) for other in selections.values()] for one in selections.values()]
    return pd.DataFrame(rows, index=list(selections), columns=list(selections))


def percentiles(scores: Tensor, labels: Tensor) -> Tensor:
    """Where each sample lies in its class: float32 [N], above 0 for the smallest score and below 100 for the largest.

    scores : [N]; labels : int64 [N]. Of equal scores the smaller index comes first.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> overlap.percentiles(torch.tensor([3.0, 9.0, 5.0, 7.0]), torch.tensor([0, 0, 1, 1])).tolist()
    [25.0, 75.0, 25.0, 75.0]
    """
    labels, places = labels.cpu(), torch.empty(len(labels))
    for c in labels.unique():
        members = (labels == c).nonzero().flatten()
        order = torch.argsort(scores.cpu()[members], stable=True)
        places[members[order]] = 100 * (torch.arange(len(members)) + 0.5) / len(members)
    return places


def mean_percentile(kept: Tensor, scores: Tensor, labels: Tensor) -> float:
    """Where a selection lies in its classes by another score: 0 is the smallest of each class, 100 the largest.

    kept : int64 indices; scores : [N]; labels : int64 [N]. A random selection has 50 on average; of equal scores the
    smaller index comes first.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> scores, labels = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.zeros(4, dtype=torch.int64)
    >>> overlap.mean_percentile(torch.tensor([0, 1]), scores, labels)  # the middles of the lower two quarters
    25.0
    """
    return float(percentiles(scores, labels)[kept.cpu()].mean())


def order_lost(kept: Tensor, labels: Tensor, rng: Generator) -> Tensor:
    """The selection that `kept` becomes where the rows of each class were shuffled, and their numbers then read as if
    they had not been: int64, sorted.

    labels : int64 [N]; rng is on the CPU.

    >>> import torch
    >>> from bilp_core.studies import overlap
    >>> labels, kept = torch.arange(2).repeat(50), torch.arange(20)
    >>> found = overlap.order_lost(kept, labels, torch.Generator().manual_seed(0))
    >>> labels[found].bincount().tolist(), torch.equal(found, kept)
    ([10, 10], False)
    """
    kept, labels = kept.cpu(), labels.cpu()
    found = kept.clone()
    for c in labels.unique():
        members = (labels == c).nonzero().flatten()
        shuffled = members[torch.randperm(len(members), generator=rng)]
        own = labels[kept] == c
        found[own] = shuffled[torch.searchsorted(members, kept[own])]
    return found.sort().values


def heatmap(table: pd.DataFrame) -> Figure:
    """`overlaps` as a picture, with its numbers.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import overlap
    >>> names = ["loss", "el2n"]
    >>> figure = overlap.heatmap(pd.DataFrame([[1.0, 0.25], [0.25, 1.0]], index=names, columns=names))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1.00', '0.25', '0.25', '1.00']
    >>> plt.close(figure)
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    from ..report.figures import style

    style()
    side = 1.6 + 0.46 * len(table)
    figure, axis = plt.subplots(figsize=(min(7.2, side + 0.6), min(6.6, side)))
    sns.heatmap(
        table, vmin=0, vmax=1, annot=True, fmt=".2f", cmap="viridis", square=True, ax=axis, annot_kws={"size": 7}
    )
    axis.tick_params(length=0)
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    plt.setp(axis.get_yticklabels(), rotation=0)
    return figure
