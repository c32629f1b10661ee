"""Empirical loss: the criterion of preemptive pruning (supplement Sec. 6.4)."""

from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..data import ImageData
from ..errors import InputError
from .base import Indicator, Progress
from .probe import Probe, loss_curves, probe_options


def empirical_loss(curves: Tensor, sigma: float = 3.0) -> Tensor:
    """Smoothed loss of each sample at the last epoch: the preemptive criterion.

    curves : [trials, epochs, N] per-sample cross-entropy in nats, one row an epoch.
    sigma  : width of the Gaussian filter along epochs, in epochs; 0 takes the last epoch as it is.
    Returns [N]; larger = harder. Raises InputError on an empty or non-finite curve.
    Source: supplement Sec. 6.4. The filter reflects at the end, so about the last 8 epochs count.
    """
    if curves.ndim != 3 or not curves.numel():
        raise InputError(f"loss curves have shape {list(curves.shape)}: must be [trials, epochs, N], not empty")
    if not torch.isfinite(curves).all():
        raise InputError("loss curves hold values that are not finite: lower the learning rate of the probe")
    if sigma < 0:
        raise InputError(f"sigma = {sigma}: the filter's width in epochs must not be negative")
    mean = curves.mean(0).cpu().double().numpy()
    smooth = gaussian_filter1d(mean, sigma, axis=0, mode="reflect") if sigma else mean
    return torch.from_numpy(np.ascontiguousarray(smooth[-1])).float()


def compute(data: ImageData, seed: int, progress: Progress | None, *, sigma: float, **probe: Any) -> Tensor:
    return empirical_loss(loss_curves(data, Probe(**probe), seed, progress), sigma)


INDICATOR = Indicator(
    "empirical loss: mean over trials, Gaussian-smoothed, at the last epoch (supplement Sec. 6.4)",
    compute,
    lambda name: {**probe_options(name), "sigma": 3.0},
)
