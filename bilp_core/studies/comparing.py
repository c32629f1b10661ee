"""Two scores of the same samples: do they rank them alike, and do they keep the same ones?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..indicators import rank_correlation, rank_correlations
from ..pruning import keep
from . import overlap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.01, 0.1, 0.4)  # kept, of each class


def compare(
    first: Tensor, second: Tensor, labels: Tensor, shares: Sequence[float] = SHARES, drop: Sequence[str] = ("largest",)
) -> dict[str, Any]:
    """Whether two scores [N] rank alike, and keep the same samples: JSON values.

        classes : for each class its samples and Spearman's correlation in it, None where it has no ranking
        mean    : the mean of these, by samples; None where there is none
        overall : Spearman's correlation over all samples, whatever their class: it may be large because the two agree
                  on which classes are hard, and still say nothing of who stays
        kept    : for each of `shares`, of what the first keeps of a class, the part that the second keeps too
                  (`both`, the mean over classes), and what that is by chance
    shares : kept of each class, in (0, 1). drop : which end goes, 'largest' or 'smallest'; two for one each.
    Raises InputError for a share or an end that is not allowed.

    >>> import torch
    >>> from bilp_core.studies.comparing import compare
    >>> rng = torch.Generator().manual_seed(0)
    >>> labels = torch.arange(2).repeat_interleave(500)
    >>> first, second = (10 * labels + torch.rand(1000, generator=rng) for _ in range(2))
    >>> found = compare(first, second, labels, shares=[0.4])
    >>> round(found["overall"], 1), abs(found["mean"]) < 0.1, found["kept"][0]["chance"]
    (0.8, True, 0.4)
    """
    if len(drop) not in (1, 2):
        raise InputError(f"drop = {list(drop)}: must be one end, or one for each file")
    for share in shares:
        if not 0 < share < 1:
            raise InputError(f"share = {share:g}: what is kept of each class must be in (0, 1), such as 0.1 for 10 %")
    by_class = rank_correlations(first, second, labels)
    ranked = [value for value in by_class.values() if value == value]
    kept = []
    for share in shares:
        one, other = (
            keep(s, labels, 1 - share, end) for s, end in zip((first, second), (*drop, drop[-1]), strict=False)
        )
        found, all_of = (of.bincount(minlength=int(labels.max()) + 1).tolist() for of in (labels[other], labels))
        chance = [c / n for c, n in zip(found, all_of, strict=True) if n]
        kept.append({"share": share, "both": overlap.common(one, other, labels), "chance": sum(chance) / len(chance)})
    whole = rank_correlations(first, second, torch.zeros_like(labels))[0]
    counts = labels.bincount().tolist()
    return {
        "samples": len(labels),
        "classes": {c: {"samples": counts[c], "correlation": _known(value)} for c, value in by_class.items()},
        "mean": rank_correlation(first, second, labels) if ranked else None,
        "overall": _known(whole),
        "kept": kept,
    }


def _known(value: float) -> float | None:
    return value if value == value else None


def picture(
    first: Tensor, second: Tensor, labels: Tensor, names: Sequence[str] = ("first", "second"),
    drop: Sequence[str] = ("largest",),
) -> Figure:  # fmt: skip
    """Rank against rank, in per cent of the class; and, for each share kept, the part of it that both keep.

    >>> import matplotlib.pyplot as plt
    >>> import torch
    >>> from bilp_core.studies.comparing import picture
    >>> scores = torch.rand(100, generator=torch.Generator().manual_seed(0))
    >>> figure = picture(scores, scores.square(), torch.arange(100) % 2, ["loss", "its square"])
    >>> [axis.get_xlabel() for axis in figure.axes]
    ['loss: percentile of the class', 'kept of each class (%)']
    >>> plt.close(figure)
    """
    import matplotlib.pyplot as plt

    from ..report.figures import style

    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    places = [overlap.percentiles(scores, labels).numpy() for scores in (first, second)]
    left.hexbin(*places, gridsize=40, cmap="viridis", mincnt=1, linewidths=0.1)
    left.set_xlabel(f"{names[0]}: percentile of the class")
    left.set_ylabel(f"{names[1]}: percentile of the class")
    shares = [0.005, 0.01, 0.02, 0.05, *(tenth / 10 for tenth in range(1, 10)), 0.95, 0.99]
    kept = compare(first, second, labels, shares, drop)["kept"]
    percent = [100 * share for share in shares]
    right.plot(percent, [100 * row["both"] for row in kept], marker="o", markersize=3, label="both keep")
    right.plot(percent, [100 * row["chance"] for row in kept], color="0.5", linestyle="--", label="by chance")
    right.set_xscale("log")
    right.set_xticks([1, 10, 40, 100], ["1", "10", "40", "100"])
    right.set(xlabel="kept of each class (%)", ylabel="of what one keeps (%)", ylim=(0, 103))
    right.legend(frameon=False, loc="upper left")
    return figure
