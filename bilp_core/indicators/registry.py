"""Indicators by name. A new one is a file here with an `INDICATOR`, and an entry in `INDICATORS`."""

from collections.abc import Mapping
from typing import Any

from ..data.images import ImageData
from ..errors import InputError
from ..nets.networks import check_frames
from ..utils.options import merged
from . import coresets, early_loss, el2n, forgetting, grand, loss, margin, monte_carlo, uniform
from .base import Indicator

INDICATORS: dict[str, Indicator] = {
    "random": uniform.INDICATOR,
    "loss": loss.INDICATOR,
    "early-loss": early_loss.INDICATOR,
    "el2n": el2n.INDICATOR,
    "grand": grand.INDICATOR,
    "forgetting": forgetting.INDICATOR,
    "margin": margin.INDICATOR,
    "monte-carlo": monte_carlo.INDICATOR,
    **coresets.INDICATORS,
}


def options_of(name: str, data: ImageData | str = "") -> dict[str, Any]:
    """Options of an indicator with their defaults on a data set. Raises InputError for an unknown name.

    data : the samples that are scored, or the name of a data set of ours. Of a folder, size and shape count, and its
           name does not; of a name that is not known the defaults are those for any.

    >>> from bilp_core.indicators import options_of
    >>> options = options_of("loss", "digits")
    >>> options["trials"], options["epochs"], options["sigma"]
    (5, 30, 3.0)
    >>> options_of("loss", "cifar10")["trials"], options_of("random")
    (50, {})
    """
    if name not in INDICATORS:
        raise InputError(f"indicator {name!r} is unknown; there are: {', '.join(INDICATORS)}")
    return INDICATORS[name].options(data)


def resolve(name: str, data: ImageData | str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an indicator, `options` over the defaults; names, types and ranges checked.

    Raises InputError for an unknown indicator or option, and for a value that is not allowed.

    >>> from bilp_core.indicators import resolve
    >>> resolve("grand", "digits", {"trials": 3})["trials"]
    3
    >>> resolve("margin", "digits", {"kind": "least"})
    Traceback (most recent call last):
    bilp_core.errors.InputError: option kind = 'least' of indicator 'margin': must be one of margin, entropy
    """
    settings = merged(f"indicator {name!r}", options_of(name, data), options)
    indicator = INDICATORS[name]
    for key, value in settings.items():
        least = indicator.least.get(key, 1 if isinstance(value, int) else 0)
        if not isinstance(value, str) and not least <= value < float("inf"):
            raise InputError(f"option {key} = {value!r} of indicator {name!r}: must be finite, at least {least}")
        if value not in indicator.choices.get(key, (value,)):
            allowed = ", ".join(indicator.choices[key])
            raise InputError(f"option {key} = {value!r} of indicator {name!r}: must be one of {allowed}")
    if "network" in settings and not isinstance(data, str):
        check_frames(settings["network"], data.frames)
    return settings
