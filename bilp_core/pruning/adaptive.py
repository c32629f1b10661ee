"""Adaptive pruning: drop the tails of each real batch by ITE, where a running normal law puts them.

The ITE norms of a class are taken to be normal. Mean and variance run along with momentum 0.1, starting from the
first batch, and the cut-offs are quantiles of that law, so that no pass over the whole class is needed. A decision
is renewed at every `lazy`-th step of the class; in between, the samples that survived are used again.
Where each decision meets a fresh network, that law lags behind, and a whole batch can lie outside, or inside: hence the
law of the batch alone, with which about the share asked for goes every time.
Source: main paper (two tails, running statistics, lazy selection); supplement Sec. 6.5 (momentum 0.1) and Table 12.
That the survivors are reused, and that the law is the class's own, is our reading. The law of the batch is ours, and so
is that the joint batches of kernel regression are pruned, too (FRePo, KIP, RFAD): the paper has no such run.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError
from .ite import Effect

LAWS = {"running": 0.1, "batch": 1.0}  # how far mean and variance go towards those of the batch at hand
TAILS = ("both", "largest", "smallest")


@dataclass(frozen=True)
class Adaptive:
    """rate : share of a batch to drop, in (0, 1) (beta). lazy : steps of a class that one decision serves.

    tails : 'both' drops rate / 2 at each end; 'largest' or 'smallest' only that end (the paper's ablation).
    effect : how the ITE is found, see `ite.Effect`: such as 'sketch', or 'sketch:top=2'. 'auto': a sketch; where a
             class has several synthetic images, by a few of them if the method allows it, see `distillers.settled`.
    law : 'running' takes the tails from the law of all batches so far, 'batch' from that of the batch at hand.
    Raises InputError for a value out of range.
    Source: main paper; supplement Table 12 has rates of 0.2 and 0.3, and 5 or 10 steps.

    >>> from bilp_core.pruning import Adaptive
    >>> Adaptive(rate=0.3)
    Adaptive(rate=0.3, lazy=10, tails='both', effect='auto', law='running')
    >>> Adaptive(rate=1.0)
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: adaptive = 1.0: the share dropped from a batch must be in (0, 1)
    """

    rate: float
    lazy: int = 10
    tails: str = "both"
    effect: str = "auto"
    law: str = "running"

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError(f"adaptive = {self.rate}: the share dropped from a batch must be in (0, 1)")
        if self.lazy < 1:
            raise InputError(f"lazy = {self.lazy}: must be at least 1")
        if self.tails not in TAILS:
            raise InputError(f"tails = {self.tails!r}: must be one of {', '.join(TAILS)}")
        if self.law not in LAWS:
            raise InputError(f"law = {self.law!r}: must be one of {', '.join(LAWS)}")
        _ = self.found  # raises, with python -O, too

    @property
    def found(self) -> Effect:
        """How the ITE is found; where that is not settled, by a sketch of all."""
        return Effect.read("sketch" if self.effect == "auto" else self.effect)


@dataclass
class RunningNormal:
    """Mean and variance that follow batches of values; the first batch sets them.

    Source: main paper (running statistics), supplement Sec. 6.5 (momentum 0.1); that each class has its own is ours.

    >>> import torch
    >>> from bilp_core.pruning import RunningNormal
    >>> law = RunningNormal()
    >>> law.update(torch.tensor([1.0, 3.0]))
    >>> law.mean, law.variance
    (2.0, 1.0)
    >>> law.update(torch.tensor([4.0, 4.0]))  # a tenth of the way to mean 4 and variance 0
    >>> round(law.mean, 3), round(law.variance, 3)
    (2.2, 0.9)
    >>> low, high = law.bounds(rate=0.05, tails="both")
    >>> round((high - law.mean) / law.variance**0.5, 2)  # in standard deviations
    1.96
    >>> law.inside(torch.tensor([0.0, 2.0, 4.5]), rate=0.05, tails="both").tolist()
    [False, True, False]
    """

    mean: float = math.nan
    variance: float = math.nan

    def update(self, values: Tensor, momentum: float = LAWS["running"]) -> None:
        """values : [N], N >= 1; if one is not finite, neither is the mean then.

        momentum : how far the law goes towards theirs, in (0, 1].
        """
        mean, variance = torch.stack([values.mean(), values.var(correction=0)]).tolist()  # a GPU waits once
        if math.isnan(self.mean):
            self.mean, self.variance = mean, variance
        else:
            self.mean += momentum * (mean - self.mean)
            self.variance += momentum * (variance - self.variance)

    def bounds(self, rate: float, tails: str) -> tuple[float, float]:
        """(low, high) between which 1 - rate of the law lies."""
        share = rate / 2 if tails == "both" else rate
        reach = NormalDist().inv_cdf(1 - share) * math.sqrt(self.variance)
        low = -math.inf if tails == "largest" else self.mean - reach
        high = math.inf if tails == "smallest" else self.mean + reach
        return low, high

    def inside(self, values: Annotated[Tensor, "float [N]"], rate: float, tails: str) -> Annotated[Tensor, "bool [N]"]:
        """Mask [N] of the values to keep: all of them where the variance is zero, or where none would be left."""
        low, high = self.bounds(rate, tails)
        kept = (values >= low) & (values <= high)
        spread = self.variance > (1e-6 * self.mean) ** 2  # less is rounding
        return kept | ~kept.any() if spread else torch.ones_like(kept)  # no GPU waits for that
