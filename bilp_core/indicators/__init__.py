"""Indicators: a data set in, one score a sample out. Larger = harder, always.

A new indicator is a file here with an `INDICATOR`, and an entry in `INDICATORS`: `bilp methods`, `bilp score`, the
trials and the generic tests follow from the registry.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data import ImageData
from ..errors import InputError
from ..options import merged
from . import coresets, early_loss, loss, uniform
from .base import Indicator, Progress
from .loss import empirical_loss
from .probe import PROBES, Probe, features_of_trained_network, loss_curves, probe_for

INDICATORS: dict[str, Indicator] = {
    "random": uniform.INDICATOR,
    "loss": loss.INDICATOR,
    "early-loss": early_loss.INDICATOR,
    **coresets.INDICATORS,
}

__all__ = [
    "INDICATORS",
    "PROBES",
    "Indicator",
    "Probe",
    "Progress",
    "empirical_loss",
    "features_of_trained_network",
    "loss_curves",
    "options_of",
    "probe_for",
    "resolve",
    "score",
]


def options_of(name: str, data_name: str = "") -> dict[str, Any]:
    """Options of an indicator with their defaults on a data set. Raises InputError for an unknown name."""
    if name not in INDICATORS:
        raise InputError(f"indicator {name!r} is unknown; there are: {', '.join(INDICATORS)}")
    return INDICATORS[name].options(data_name)


def resolve(name: str, data_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an indicator, `options` over the defaults; names, types and ranges checked."""
    settings = merged(f"indicator {name!r}", options_of(name, data_name), options)
    for key, value in settings.items():
        least = 1 if isinstance(value, int) else 0
        if not isinstance(value, str) and not least <= value < float("inf"):
            raise InputError(f"option {key} = {value!r} of indicator {name!r}: must be finite, at least {least}")
    return settings


def score(data: ImageData, name: str, *, seed: int = 0, progress: Progress | None = None, **options: Any) -> Tensor:
    """Score every sample of `data`: float32 [N] on the CPU, finite, larger = harder.

    options : those of the indicator (`options_of`), defaults by data set.
    Raises InputError for an unknown indicator or option, FloatingPointError if a probe diverges.
    """
    settings = resolve(name, data.name, options)
    scores = INDICATORS[name].compute(data, seed, progress, **settings).float().cpu()
    if not torch.isfinite(scores).all():
        raise FloatingPointError(f"indicator {name!r} gave scores that are not finite on {data.name}")
    return scores
