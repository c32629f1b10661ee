"""What an indicator is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..data.images import ImageData


@dataclass(frozen=True)
class Indicator:
    """compute(data, seed, progress, **options) -> [N], larger = harder; options(data) -> their defaults, of
    images or of a data set known by name. One that averages over trials names the option that says how many.

    least   : the smallest value of an option where it is not 1 (whole numbers) or 0 (real numbers).
    choices : the words that an option may be.
    trials  : that option, '' if there is none. Its `compute` also takes `finished`, a `Finished`, in which it keeps
              each trial it has done, and returns the score in each, [trials, N]; trial k must not depend on how many
              there are.
    partial : whether a trial may leave samples out, nan in its row.

    >>> from bilp_core import load
    >>> from bilp_core.indicators import Indicator
    >>> light = Indicator("mean pixel", lambda data, seed, progress: data.images.float().mean((1, 2, 3)))
    >>> light.compute(load("digits").train, 0, None).shape, light.options("digits")
    (torch.Size([1352]), {})
    """

    summary: str
    compute: Callable[..., Tensor]
    options: Callable[[ImageData | str], dict[str, Any]] = field(default=lambda _: {})
    least: Mapping[str, int] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trials: str = ""
    partial: bool = False
