"""No knowledge of the samples: the baseline of every comparison.

Scores are uniform in [0, 1) and follow from the seed.
Source: the criterion "Random" of the supplement, Sec. 3.

>>> import torch
>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> scores = score(train, "random", seed=1)
>>> scores.shape, bool((scores < 1).all())
(torch.Size([1352]), True)
>>> torch.equal(scores, score(train, "random", seed=1)), torch.equal(scores, score(train, "random", seed=2))
(True, False)
"""

import torch
from torch import Tensor

from ..data.images import ImageData
from ..utils.progress import Report
from .base import Indicator


def compute(data: ImageData, seed: int, progress: Report | None) -> Tensor:  # noqa: ARG001
    return torch.rand(len(data), generator=torch.Generator().manual_seed(seed))


INDICATOR = Indicator("uniform random numbers", compute)
