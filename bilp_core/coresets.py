"""Which samples stand best for the others."""

import torch
from torch import Tensor

from .errors import InputError


def herding(features: Tensor, count: int) -> Tensor:
    """The `count` rows whose running mean follows the mean of all: int64 [count], in the order chosen.

    features : [N, E] of one class. At each turn the row is taken that brings the mean of the chosen nearest to
    the mean of all (Welling 2009; iCaRL 2017). Raises InputError when count is not in 1..N.
    """
    if not 1 <= count <= len(features):
        raise InputError(f"herding {count} of {len(features)} samples: must be from 1 to {len(features)}")
    mean = features.mean(0)
    chosen = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    picks = []
    for turn in range(1, count + 1):
        gaps = (turn * mean - chosen - features).norm(dim=1)
        pick = int(torch.where(free, gaps, torch.inf).argmin())
        free[pick] = False
        chosen = chosen + features[pick]
        picks.append(pick)
    return torch.tensor(picks, device=features.device)
