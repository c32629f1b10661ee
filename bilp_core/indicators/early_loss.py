"""Mean loss over the first epochs, where a few trials already give the ranking (main paper, Sec. 5.5)."""

from typing import Any

from torch import Tensor

from ..data import ImageData
from .base import Indicator, Progress
from .probe import Probe, loss_curves, probe_options


def compute(data: ImageData, seed: int, progress: Progress | None, **probe: Any) -> Tensor:
    return loss_curves(data, Probe(**probe), seed, progress).mean((0, 1))


INDICATOR = Indicator(
    "mean loss over the first epochs and the trials (main paper, Sec. 5.5)",
    compute,
    lambda name: {**probe_options(name), "epochs": 5},
)
