"""No knowledge of the samples: the baseline of every comparison."""

import torch
from torch import Tensor

from ..data.images import ImageData
from ..utils.progress import Report
from .base import Indicator


def compute(data: ImageData, seed: int, progress: Report | None) -> Tensor:  # noqa: ARG001
    return torch.rand(len(data), generator=torch.Generator().manual_seed(seed))


INDICATOR = Indicator("uniform random numbers", compute)
