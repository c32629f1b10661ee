"""Mean loss over the first epochs, where a few trials already give the ranking (main paper, Sec. 5.5)."""

import torch

from .recording import Watch, Weighted, cross_entropy, recorded


def watch(epochs: int) -> Watch:
    return Watch(epochs, cross_entropy, lambda: Weighted(torch.full((epochs,), 1 / epochs)))


INDICATOR = recorded("mean loss over the first epochs and the trials (main paper, Sec. 5.5)", watch, epochs=5)
