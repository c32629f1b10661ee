"""Scoring a data set."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from ..data.images import ImageData, fingerprint
from ..errors import InputError
from ..evaluation.baselines import chance, hardly
from ..utils.files import Unfinished
from ..utils.progress import Report
from ..utils.revisions import changed
from .finished import Finished
from .recording import Recorded, record
from .registry import INDICATORS, options_of, resolve


@dataclass(frozen=True, eq=False)
class Scored:
    """values : float32 [N] on the CPU. seconds : that they took, of a stopped job with those of its earlier parts.

    learned : accuracy on the training data that the networks had in the last epoch, as batches came by; None where
              none was trained, or none is watched.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.indicators import Scored
    >>> train, _ = load("digits")
    >>> Scored(torch.zeros(len(train)), 1.0, learned=0.12).doubt(train)  # doctest: +ELLIPSIS
    'the networks have hardly learned: they name 12.0% of the training images, where chance is ...'
    """

    values: Annotated[Tensor, "float32 [N]"]
    seconds: float
    learned: float | None = None

    def doubt(self, data: ImageData) -> str:
        """A sentence if the networks have hardly learned; else empty."""
        if self.learned is None or not hardly(self.learned, chance(data)):
            return ""
        return (
            f"the networks have hardly learned: they name {self.learned:.1%} of the training images, where chance is "
            f"{chance(data):.1%}, so the scores mean little; more epochs, a smaller batch or another lr may help"
        )


def score(
    data: ImageData,
    name: str,
    *,
    seed: int = 0,
    progress: Report | None = None,
    unfinished: Unfinished | None = None,
    **options: Any,
) -> Annotated[Tensor, "float32 [N]"]:
    """Score every sample of `data`: float32 [N] on the CPU, finite, larger = harder.

    options : those of the indicator (`options_of`), defaults by data set.
    unfinished : keeps the trials that are finished, from which the same call goes on if it is stopped.
    Raises InputError for an unknown indicator or option, FloatingPointError if a probe diverges. Warns if the networks
    have hardly learned, so that the scores mean little.

    >>> from bilp_core import keep, load, score
    >>> train, _ = load("digits")
    >>> scores = score(train, "loss", trials=2, epochs=3, network="convnet:depth=1,width=4")
    >>> scores.shape, scores.dtype
    (torch.Size([1352]), torch.float32)
    >>> train.subset(keep(scores, train.labels, ratio=0.9)).counts().tolist()  # the easy tenth of each class
    [14, 14, 14, 14, 14, 14, 14, 14, 14, 14]
    """
    found = scored(data, name, seed=seed, progress=progress, unfinished=unfinished, **options)
    if doubt := found.doubt(data):
        warnings.warn(doubt, stacklevel=2)
    return found.values


def timed_score(
    data: ImageData,
    name: str,
    *,
    seed: int = 0,
    progress: Report | None = None,
    unfinished: Unfinished | None = None,
    **options: Any,
) -> tuple[Annotated[Tensor, "float32 [N]"], float]:
    """`score`, and the seconds it took; of a stopped job, with those of the parts that were finished before.

    >>> from bilp_core import load
    >>> from bilp_core.indicators import timed_score
    >>> scores, seconds = timed_score(load("digits").train, "random")
    >>> scores.shape, 0 < seconds < 60
    (torch.Size([1352]), True)
    """
    found = scored(data, name, seed=seed, progress=progress, unfinished=unfinished, **options)
    return found.values, found.seconds


def scored(
    data: ImageData,
    name: str,
    *,
    seed: int = 0,
    progress: Report | None = None,
    unfinished: Unfinished | None = None,
    **options: Any,
) -> Scored:
    """`score` with what is to be known of it: how long it took, and whether the networks learned.

    >>> from bilp_core import load
    >>> from bilp_core.indicators import scored
    >>> found = scored(load("digits").train, "loss", trials=1, epochs=4, network="convnet:depth=1,width=8")
    >>> found.values.shape, 0.3 < found.learned < 1
    (torch.Size([1352]), True)
    """
    settings, indicator = resolve(name, data, options), INDICATORS[name]
    about = {"indicator": name, "options": {**settings, "together": 0}, "seed": seed, "set": [data.named, data.flip]}
    about |= changed([f"indicator:{name}"])
    kept = unfinished if indicator.parts else None
    finished = Finished(kept, {**about, "data": fingerprint(data)} if kept else None)
    if indicator.parts:
        settings["finished"] = finished
    scores = _checked(name, data, indicator.compute(data, seed, progress, **settings))
    return Scored(scores, finished.seconds, finished.learned)


def score_together(
    data: ImageData, names: Sequence[str], *, seed: int = 0, progress: Report | None = None, **options: Any
) -> dict[str, Annotated[Tensor, "float32 [N]"]]:
    """`score` of several indicators that watch a training, from one training: the same numbers, once the work.

    options : of any of the indicators; each takes those it has.
    Raises InputError for an indicator that watches none (random, grand, ...), or if they train differently.

    >>> import torch
    >>> from bilp_core import load, score
    >>> from bilp_core.indicators import score_together
    >>> train, _ = load("digits")
    >>> probe = dict(trials=2, epochs=3, network="convnet:depth=1,width=4")
    >>> scores = score_together(train, ["loss", "el2n", "forgetting"], **probe)
    >>> list(scores), torch.allclose(scores["el2n"], score(train, "el2n", **probe), atol=1e-5)
    (['loss', 'el2n', 'forgetting'], True)
    """
    watches, probe = {}, None
    for name in names:
        own = {key: value for key, value in options.items() if key in options_of(name, data)}
        settings, indicator = resolve(name, data, own), INDICATORS[name]
        if not isinstance(indicator, Recorded):
            able = ", ".join(n for n, i in INDICATORS.items() if isinstance(i, Recorded))
            raise InputError(f"indicator {name!r} watches no training, so shares none; those that do: {able}")
        own_probe, watches[name] = indicator.plan(settings)
        probe = probe or own_probe
        if replace(own_probe, epochs=probe.epochs) != probe:
            raise InputError(f"indicators {names[0]!r} and {name!r} train differently: {probe} and {own_probe}")
    if unknown := [key for key in options if not any(key in options_of(name, data) for name in names)]:
        raise InputError(f"option {unknown[0]!r} belongs to none of the indicators {', '.join(names)}")
    if probe is None:
        return {}
    found = record(data, probe, seed, watches, progress)
    return {name: _checked(name, data, values.double().mean(0)) for name, values in found.items()}


def _checked(name: str, data: ImageData, scores: Tensor) -> Tensor:
    scores = scores.float().cpu()
    if not torch.isfinite(scores).all():
        raise FloatingPointError(f"indicator {name!r} gave scores that are not finite on {data.name}")
    return scores
