"""Herding: samples whose mean follows the mean of all (Welling 2009; iCaRL 2017)."""

from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError


def herding(features: Annotated[Tensor, "float [N, E]"], count: int) -> Annotated[Tensor, "int64 [count]"]:
    """The `count` rows whose running mean follows the mean of all: int64 [count], in the order chosen.

    features : [N, E] of one class. At each turn the row is taken that brings the mean of the chosen nearest to
    the mean of all. Raises InputError when count is not in 1..N.

    >>> import torch
    >>> from bilp_core.coresets import herding
    >>> herding(torch.tensor([[0.0], [1.0], [5.0]]), count=2).tolist()  # means so far: 1, 3; the mean of all is 2
    [1, 2]
    """
    if not 1 <= count <= len(features):
        raise InputError(f"herding {count} of {len(features)} samples: must be from 1 to {len(features)}")
    # |t mean - chosen - f|^2 without what is the same for all: |f|^2 - 2 <f, t mean - chosen>
    squares = features.double().square().sum(1)
    pull = features.double() @ features.double().mean(0)
    chosen = torch.zeros_like(pull)  # <f, sum of the chosen>
    # products of all pairs, where so many columns of them are needed that one matrix product is cheaper
    products = features @ features.T if 20 * count > len(features) else None
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    order = []
    for turn in range(1, count + 1):
        gaps = squares - 2 * (turn * pull - chosen)
        pick = torch.where(free, gaps, torch.inf).argmin()
        free[pick] = False
        chosen += features @ features[pick] if products is None else products[pick]
        order.append(pick)
    return torch.stack(order)
