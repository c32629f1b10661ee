"""Distillations that end before their last round."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class EarlyStop:
    """When a distillation ends early; settings that follow the number of rounds stay those of all of them.

    rounds : how many are run at most; 0: all.
    plateau : window in rounds; ends when the mean loss of the last `plateau` rounds is no lower than that of as many
              before. 0: never. Each round then waits for its loss, which on a GPU costs a little.
    Raises InputError for negative numbers.
    Source: supplement Sec. 6.6 stops pruned runs at a fixed round (DC on ImageNet at 800 of 1000); the plateau is ours.

    >>> from bilp_core.distillers import EarlyStop
    >>> early = EarlyStop(plateau=2)
    >>> early.flat([3.0, 2.0, 2.0, 1.5]), early.flat([3.0, 2.0, 3.0, 2.5]), early.flat([2.0, 2.0])
    (False, True, False)
    """

    rounds: int = 0
    plateau: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "plateau"):
            if getattr(self, name) < 0:
                raise InputError(f"early stop: {name} = {getattr(self, name)}: must not be negative")

    def last(self, iterations: int) -> int:
        """The last round of a run of so many."""
        return min(self.rounds or iterations, iterations)

    def flat(self, losses: list[float]) -> bool:
        """Whether the losses of all rounds so far, or of the last ones, no longer fall."""
        if not self.plateau or len(losses) < 2 * self.plateau:
            return False
        before, now = losses[-2 * self.plateau : -self.plateau], losses[-self.plateau :]
        return math.fsum(now) >= math.fsum(before)
