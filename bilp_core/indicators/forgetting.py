"""Forgetting events: how often a sample that was classified correctly no longer is, a whole training long.

Source: Toneva et al., An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019.
As there, a sample is looked at when its batch comes by, so once an epoch.

Events are few, so most samples tie, more of them the fewer the trials: `pruning.keep` chooses among them at random.

>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> scores = score(train, "forgetting", trials=2, epochs=4, network="convnet:depth=1,width=4")
>>> bool((2 * scores == (2 * scores).round()).all() and scores.max() <= 4)  # a mean of two whole numbers
True
"""

import torch
from torch import Tensor

from .recording import Watch, is_correct, recorded


class Events:
    """Transitions from correct to incorrect between epochs; the number of epochs where a sample never was correct.

    >>> import torch
    >>> from bilp_core.indicators.forgetting import Events
    >>> events = Events()
    >>> for epoch, correct in enumerate([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]):
    ...     events.add(epoch, torch.tensor([correct]))
    >>> events.result().tolist()
    [[1.0, 0.0, 3.0]]
    """

    def __init__(self) -> None:
        self.before = self.ever = self.events = torch.zeros(())
        self.epochs = 0

    def add(self, epoch: int, values: Tensor) -> None:  # noqa: ARG002
        self.before, self.ever, self.events = (t.to(values.device) for t in (self.before, self.ever, self.events))
        self.events = self.events + self.before * (1 - values)
        self.ever = torch.maximum(self.ever, values)
        self.before = values.clone()
        self.epochs += 1

    def result(self) -> Tensor:
        return torch.where(self.ever > 0, self.events, float(self.epochs))


def watch(epochs: int) -> Watch:
    """Mean number of events over the trials. More than epochs / 2 cannot be, so never learned is the largest."""
    return Watch(epochs, is_correct, Events)


INDICATOR = recorded("forgetting events; never learned is the largest (Toneva et al. 2019)", watch)
