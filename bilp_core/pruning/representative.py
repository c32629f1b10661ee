"""Representative real batches: the samples next to the centres of clusters, in place of random ones (DREAM)."""

import warnings
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Generator, Tensor

from ..errors import InputError


@dataclass(frozen=True)
class Representative:
    """interval : steps of a class that one clustering serves.

    Raises InputError below 1.
    Source: Liu et al., DREAM: Efficient Dataset Distillation by Representative Matching, ICCV 2023. Its code counts
    the steps anew for each network; here they go on.

    >>> from bilp_core.pruning import Representative
    >>> Representative().interval
    10
    """

    interval: int = 10

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise InputError(f"interval = {self.interval}: must be at least 1")


def representatives(
    features: Annotated[Tensor, "float [n, E]"], count: int, rng: Generator
) -> Annotated[Tensor, "int64 [count]"]:
    """The samples next to the centres of `count` clusters; one that is next to two of them is there twice.

    By scikit-learn's k-means, on the CPU, from random samples and with its stopping rule.
    Source: DREAM, and its code.

    >>> import torch
    >>> from bilp_core.pruning import representatives
    >>> features = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    >>> sorted(representatives(features, 2, torch.Generator().manual_seed(0)).tolist())
    [1, 4]
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
    points = features.detach().float().cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        found = KMeans(count, init="random", n_init=1, max_iter=100, random_state=seed).fit(points.numpy())
    centres = torch.from_numpy(found.cluster_centers_).to(points.dtype)
    return torch.cdist(centres, points).argmin(1).to(features.device)
