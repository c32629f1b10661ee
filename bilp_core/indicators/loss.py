"""Empirical loss: the criterion of preemptive pruning (supplement Sec. 6.4).

Scores are in nats.

>>> import torch
>>> from bilp_core import load, score
>>> from bilp_core.indicators import empirical_loss, loss_curves
>>> from bilp_core.nets import Probe
>>> train, _ = load("digits")
>>> probe = dict(trials=2, epochs=3, lr=0.03, batch=64, network="convnet:depth=1,width=4")
>>> curves = loss_curves(train, Probe(**probe), seed=0)
>>> torch.allclose(score(train, "loss", sigma=1.0, **probe), empirical_loss(curves, sigma=1.0), atol=1e-5)
True
"""

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

    >>> import torch
    >>> from bilp_core.indicators import empirical_loss
    >>> curves = torch.tensor([[[2.0, 3.0], [0.0, 1.0]], [[2.0, 3.0], [1.0, 2.0]]])  # 2 trials, 2 epochs, 2 samples
    >>> empirical_loss(curves, sigma=0).tolist()
    [0.5, 1.5]
    >>> bool((empirical_loss(curves, sigma=1.0) > empirical_loss(curves, sigma=0)).all())  # earlier losses were larger
    True
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
