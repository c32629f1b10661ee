"""Mean loss over the first epochs, where a few trials already give the ranking (main paper, Sec. 5.5).

Scores are in nats.

>>> import torch
>>> from bilp_core import load, score
>>> from bilp_core.indicators import loss_curves
>>> from bilp_core.nets import Probe
>>> train, _ = load("digits")
>>> probe = dict(trials=2, epochs=3, lr=0.03, batch=64, network="convnet:depth=1,width=4")
>>> curves = loss_curves(train, Probe(**probe), seed=0)
>>> torch.allclose(score(train, "early-loss", **probe), curves.mean((0, 1)), atol=1e-5)
True
"""

import torch

from .recording import Watch, Weighted, cross_entropy, recorded


def watch(epochs: int) -> Watch:
    return Watch(epochs, cross_entropy, lambda: Weighted(torch.full((epochs,), 1 / epochs)))


INDICATOR = recorded("mean loss over the first epochs and the trials (main paper, Sec. 5.5)", watch, epochs=5)
