"""From the order in which samples are taken to scores."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def completed(picks: Tensor, members: Tensor, rng: Generator) -> Tensor:
    """`picks`, then the rest of `members` in random order: int64 [n]. Both are indices; rng is on the CPU.

    >>> import torch
    >>> from bilp_core.coresets import completed
    >>> order = completed(torch.tensor([7, 3]), torch.tensor([1, 3, 5, 7]), torch.Generator().manual_seed(0))
    >>> order[:2].tolist(), sorted(order[2:].tolist())
    ([7, 3], [1, 5])
    """
    rest = members[~torch.isin(members, picks)]
    return torch.cat([picks, rest[torch.randperm(len(rest), generator=rng).to(rest.device)]])


def ranks(orders: Sequence[Tensor], count: int) -> Tensor:
    """Scores [count], float32: a sample's position in the order of its class, from 0 for the first.

    orders : for each class the indices of its samples as they are taken; together all of 0..count-1, each once.

    >>> import torch
    >>> from bilp_core.coresets import ranks
    >>> ranks([torch.tensor([2, 0]), torch.tensor([1, 3])], count=4).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    scores = torch.full((count,), torch.nan)
    for order in orders:
        scores[order.cpu()] = torch.arange(len(order), dtype=torch.float32)
    return scores
