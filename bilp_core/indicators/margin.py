"""Uncertainty of the trained network, whatever the label says.

Source: Coleman et al., Selection via Proxy: Efficient Data Selection for Deep Learning, ICLR 2020, Sec. 3; the
measures are those of uncertainty sampling (Settles, Active Learning, 2012).

>>> import math
>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> probe = dict(trials=2, epochs=3, network="convnet:depth=1,width=4")
>>> float(score(train, "margin", **probe).max()) <= 1
True
>>> float(score(train, "margin", kind="entropy", **probe).max()) <= math.log(10)
True
"""

from torch import Tensor

from .recording import Statistic, Watch, Weighted, at_the_end, recorded


def margin(logits: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """1 - (largest - second largest probability), from 0 to 1: logits [..., classes] -> [...].

    >>> import torch
    >>> from bilp_core.indicators.margin import margin
    >>> margin(torch.tensor([[0.0, 0.0, -100.0], [100.0, 0.0, 0.0]]), torch.tensor([0, 0])).tolist()
    [1.0, 0.0]
    """
    first, second = logits.softmax(-1).topk(2, dim=-1).values.unbind(-1)
    return 1 - (first - second)


def entropy(logits: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Entropy of the probabilities in nats: logits [..., classes] -> [...].

    >>> import torch
    >>> from bilp_core.indicators.margin import entropy
    >>> round(float(entropy(torch.zeros(4), torch.tensor(0))), 3)  # ln 4
    1.386
    """
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


KINDS: dict[str, Statistic] = {"margin": margin, "entropy": entropy}


def watch(epochs: int, kind: str, sigma: float) -> Watch:
    """At the last epoch, smoothed over the epochs before it as the empirical loss is."""
    return Watch(epochs, KINDS[kind], lambda: Weighted(at_the_end(epochs, sigma)))


INDICATOR = recorded(
    "uncertainty at the last epoch: 1 - margin of the two likeliest classes, or entropy (Coleman et al. 2020)",
    watch,
    {"kind": tuple(KINDS)},
    kind="margin",
    sigma=3.0,
)
