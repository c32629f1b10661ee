"""Empirical loss: the criterion of preemptive pruning (supplement Sec. 6.4)."""

import torch
from torch import Tensor

from ..errors import InputError
from .recording import Watch, Weighted, at_the_end, cross_entropy, recorded


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
    return (at_the_end(curves.shape[1], sigma) @ curves.mean(0).cpu().double()).float()


def watch(epochs: int, sigma: float) -> Watch:
    """`empirical_loss`, summed as the epochs go by."""
    return Watch(epochs, cross_entropy, lambda: Weighted(at_the_end(epochs, sigma)))


INDICATOR = recorded(
    "empirical loss: mean over trials, Gaussian-smoothed, at the last epoch (supplement Sec. 6.4)", watch, sigma=3.0
)
