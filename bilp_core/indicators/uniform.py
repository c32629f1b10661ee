"""No knowledge of the samples: the baseline of every comparison."""

import torch
from torch import Tensor

from ..data import ImageData
from .base import Indicator, Progress


def compute(data: ImageData, seed: int, progress: Progress | None) -> Tensor:  # noqa: ARG001
    return torch.rand(len(data), generator=torch.Generator().manual_seed(seed))


INDICATOR = Indicator("uniform random numbers", compute)
