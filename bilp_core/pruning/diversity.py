"""How diverse a subset is, class by class."""

import torch
from torch import Tensor

from ..errors import InputError


def relative_diversity(points: Tensor, labels: Tensor, subset: Tensor) -> Tensor:
    """Diversity of each class in a subset, relative to the whole class: float [classes in `labels`].

    points : [N, ...], images or features, flattened here; labels : int64 [N]; subset : int64 indices.
    Diversity is the mean Euclidean distance over all pairs of different samples of one class. A random
    subset has 1 on average, whatever its size; below 1 its samples look alike. Raises InputError for a class
    of which the subset holds fewer than two samples, or whose samples are all equal.
    """
    flat = points.flatten(1).float()
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[subset] = True
    ratios = []
    for c in labels.unique():
        members = labels == c
        part = flat[members & chosen]
        if len(part) < 2:
            raise InputError(f"class {int(c)}: {len(part)} samples in the subset; a distance needs at least 2")
        whole = torch.pdist(flat[members]).mean()
        if whole == 0:
            raise InputError(f"class {int(c)}: all its samples are equal, so its diversity is not defined")
        ratios.append(torch.pdist(part).mean() / whole)
    return torch.stack(ratios)
