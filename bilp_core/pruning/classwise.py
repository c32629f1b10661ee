"""From scores to kept indices, class by class; strata."""

import math
import zlib
from typing import Annotated

import torch
from torch import Generator, Tensor

from ..errors import InputError

DROPS = ("largest", "smallest")


def _check(scores: Tensor, labels: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError(f"scores {list(scores.shape)} and labels {list(labels.shape)}: must both be [N]")
    if not len(scores):
        raise InputError("scores are empty: there is nothing to prune")
    bad = (~torch.isfinite(scores)).nonzero().flatten()
    if len(bad):
        raise InputError(f"scores[{int(bad[0])}] = {float(scores[bad[0]])}: every score must be finite")


def removed(ratio: float, count: int) -> int:
    """Samples that go from a class of `count`: floor(ratio x count), exact for decimal ratios.

    >>> from bilp_core.pruning import removed
    >>> removed(0.29, 100), removed(0.99, 50)  # 0.29 * 100 is 28.999999999999996
    (29, 49)
    """
    return math.floor(ratio * count + 1e-9)


def _lot(scores: Tensor) -> Generator:
    """Draws the order of equal scores: that of the file may be sorted. Its seed comes from the scores, so that each
    use of them, at any ratio, has one order, and two criteria do not agree because they share it."""
    return torch.Generator().manual_seed(zlib.crc32(scores.cpu().contiguous().numpy().tobytes()))


def _ranked(scores: Tensor, labels: Tensor, drop: str = "smallest") -> list[Tensor]:
    """The indices of each class, those to drop first; equal scores in random order."""
    rng, ranked = _lot(scores), []
    for c in labels.unique():
        members = (labels == c).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=rng).to(members.device)]
        ranked.append(members[torch.argsort(scores[members], descending=drop == "largest", stable=True)])
    return ranked


def keep(
    scores: Annotated[Tensor, "float [N]"], labels: Annotated[Tensor, "int64 [N]"], ratio: float, drop: str = "largest"
) -> Annotated[Tensor, "int64 [kept]"]:
    """Indices that stay when the share `ratio` of every class is removed: int64, sorted.

    scores : [N], larger = harder. labels : int64 [N].
    drop   : which end goes, 'largest' or 'smallest'.
    Equal scores go in random order, the same in every call and at every ratio.
    Removal is class-wise (supplement Sec. 6.3); floor(ratio x class size) samples go, so no class is emptied.
    Raises InputError for a ratio outside [0, 1), an unknown `drop`, or a score that is not finite.

    >>> import torch
    >>> import bilp_core
    >>> scores = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.8, 0.4])
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> bilp_core.keep(scores, labels, ratio=0.4).tolist()  # floor(0.4 x 3) = 1 of each class goes
    [0, 2, 3, 5]
    >>> bilp_core.keep(scores, labels, ratio=0.4, drop="smallest").tolist()
    [1, 2, 4, 5]
    """
    _check(scores, labels)
    if not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise InputError(f"ratio = {ratio!r}: the share removed must be a number in [0, 1)")
    if drop not in DROPS:
        raise InputError(f"drop = {drop!r}: must be one of {', '.join(DROPS)}")
    kept = [members[removed(ratio, len(members)) :] for members in _ranked(scores, labels, drop)]
    return torch.cat(kept).sort().values


def stratum(
    scores: Annotated[Tensor, "float [N]"], labels: Annotated[Tensor, "int64 [N]"], index: int, count: int = 10
) -> Annotated[Tensor, "int64 [n]"]:
    """Indices of stratum `index` of `count` equal layers of each class: int64, sorted.

    Stratum 0 holds the smallest scores, stratum count - 1 the largest (supplement Sec. 7, whose own numbering
    contradicts itself); equal scores are in random order, as in `keep`.
    Raises InputError when a class has fewer than `count` samples.

    >>> import torch
    >>> from bilp_core.pruning import stratum
    >>> scores = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.8, 0.4])
    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> [stratum(scores, labels, index, count=3).tolist() for index in range(3)]
    [[0, 3], [2, 5], [1, 4]]
    """
    _check(scores, labels)
    if not 0 <= index < count:
        raise InputError(f"stratum {index}: must be from 0 to {count - 1}")
    chosen = []
    for members in _ranked(scores, labels):
        if len(members) < count:
            raise InputError(f"class {int(labels[members[0]])} has {len(members)} samples: too few for {count} strata")
        edges = [round(i * len(members) / count) for i in (index, index + 1)]
        chosen.append(members[edges[0] : edges[1]])
    return torch.cat(chosen).sort().values
