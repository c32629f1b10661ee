"""EL2N, the error L2-norm: how far the predicted probabilities are from the label, early in training.

Source: Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet: Finding Important Examples Early in Training,
NeurIPS 2021, Definition 2.3: E ||p(x) - onehot(y)||_2, there over 10 trials after 10 to 20 of 200 epochs.

>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> scores = score(train, "el2n", trials=2, epochs=3, network="convnet:depth=1,width=4")
>>> scores.shape, bool((scores >= 0).all() and (scores <= 2**0.5).all())
(torch.Size([1352]), True)
"""

import torch.nn.functional as F
from torch import Tensor

from .recording import Watch, Weighted, at_the_end, recorded


def error_norm(logits: Tensor, labels: Tensor) -> Tensor:
    """||softmax(logits) - onehot(label)||_2, from 0 to sqrt(2): logits [..., classes], labels [...] -> [...].

    >>> import torch
    >>> from bilp_core.indicators.el2n import error_norm
    >>> norms = error_norm(torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]), torch.tensor([0, 0, 0]))
    >>> [round(float(norm), 4) for norm in norms]
    [0.7071, 0.0, 1.4142]
    """
    return (logits.softmax(-1) - F.one_hot(labels, logits.shape[-1])).norm(dim=-1)


def watch(epochs: int) -> Watch:
    """The norm in the last of a few epochs; that of a sample is taken when its batch comes by."""
    return Watch(epochs, error_norm, lambda: Weighted(at_the_end(epochs, 0)))


INDICATOR = recorded("EL2N: norm of the error of the probabilities, early (Paul et al. 2021)", watch, epochs=10)
