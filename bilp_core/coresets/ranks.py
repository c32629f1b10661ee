"""From the order in which samples are taken to scores."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def completed(picks: Tensor, members: Tensor, rng: Generator) -> Tensor:
    """`picks`, then the rest of `members` in random order: int64 [n]. Both are indices; rng is on the CPU."""
    rest = members[~torch.isin(members, picks)]
    return torch.cat([picks, rest[torch.randperm(len(rest), generator=rng).to(rest.device)]])


def ranks(orders: Sequence[Tensor], count: int) -> Tensor:
    """Scores [count], float32: a sample's position in the order of its class, from 0 for the first.

    orders : for each class the indices of its samples as they are taken; together all of 0..count-1, each once.
    """
    scores = torch.full((count,), torch.nan)
    for order in orders:
        scores[order.cpu()] = torch.arange(len(order), dtype=torch.float32)
    return scores
