"""Scoring a data set."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from ..data.images import ImageData, fingerprint
from ..errors import InputError
from ..evaluation.baselines import chance, hardly
from ..utils.files import Unfinished
from ..utils.progress import Report
from ..utils.revisions import changed
from .finished import Finished, Part
from .over_trials import halves, over_trials
from .recording import Recorded, record
from .registry import INDICATORS, options_of, resolve


@dataclass(frozen=True, eq=False)
class Scored:
    """values : float32 [N] on the CPU. seconds : that they took, with those of trials that were there before.

    learned : accuracy on the training data that the networks had in the last epoch, as batches came by; None where
              none was trained, or none is watched.
    Of an indicator that averages over trials:
    rows    : float [trials, N], the score in each trial, nan where it saw no such sample; None for the others.
    spread  : float32 [N], sample standard deviation over the trials; nan where there are fewer than two.
    count   : int64 [N], trials that scored a sample. The standard error of `values` is spread / sqrt(count).
    With all trials, it is what `scored(..., start=...)` goes on from.

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
    rows: Annotated[Tensor, "float [trials, N]"] | None = None
    spread: Annotated[Tensor, "float32 [N]"] | None = None
    count: Annotated[Tensor, "int64 [N]"] | None = None
    key: str = ""  # stands for the data and the settings, but for the number of trials
    parts: Mapping[int, Part] = field(default_factory=dict)  # what `Finished` holds of the trials

    @property
    def trials(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    def of_trials(self) -> dict[str, Tensor]:
        """spread and count by name; nothing where there are no trials."""
        return {} if self.spread is None or self.count is None else {"spread": self.spread, "count": self.count}

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
    unfinished : keeps the trials that are finished, from which the same call goes on if it is stopped, and one with
    more trials if the place is not cleared.
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
    start: Scored | None = None,
    until: float | None = None,
    **options: Any,
) -> Scored:
    """`score` with what is to be known of it: spread and number of trials, how long it took, what networks learned.

    start : a result with the same data, seed and options, but for the number of trials: its trials are not trained
            again. On a CPU the result is, digit for digit, that of all trials at once; on a GPU up to rounding.
    until : stop as soon as halves of the trials rank alike: after every two trials (or `together`, made even, if it is
            given), where `halves`, Spearman's correlation inside classes between the mean over trials 1, 3, 5, ... and
            the one over 2, 4, 6, ..., is at least so large. It is that of half of the trials, not stepped up
            (`stepped_up`). The option that counts trials is then the most there are to be.
    Raises InputError as `score` does, for a `start` of other data or settings, and for `start` or `until` where an
    indicator has no trials.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.indicators import scored
    >>> train, options = load("digits").train, dict(epochs=4, network="convnet:depth=1,width=8")
    >>> found = scored(train, "loss", trials=1, **options)
    >>> found.values.shape, found.trials, 0.3 < found.learned < 1
    (torch.Size([1352]), 1, True)
    >>> more = scored(train, "loss", trials=2, start=found, **options)  # trains one
    >>> torch.equal(more.values, scored(train, "loss", trials=2, **options).values)
    True
    """
    settings, indicator = resolve(name, data, options), INDICATORS[name]
    check_until(name, settings, until)
    if not indicator.trials and start:
        raise InputError(f"start = scores to go on from: {_no_trials(name)}")
    if not indicator.trials:
        begun = time.perf_counter()
        values = _checked(name, data, indicator.compute(data, seed, progress, **settings))
        return Scored(values, time.perf_counter() - begun)
    most = settings.pop(indicator.trials)
    about = {"indicator": name, "options": {**settings, "together": 0}, "seed": seed, "set": [data.named, data.flip]}
    about |= changed([f"indicator:{name}"])
    finished = Finished(unfinished, {**about, "data": fingerprint(data)}, start.parts if start else None)
    if start and start.key != finished.key:
        raise InputError(
            f"start = scores of other data, or by other settings, than indicator {name!r} is asked for here: only the "
            f"number of {indicator.trials} may differ"
        )
    labels, before = data.labels.cpu(), 0
    for count in _counts(most, settings.get("together", 0), until):
        report = progress and _part(progress, before, count, most, until is not None)
        own = {**settings, indicator.trials: count}
        rows = indicator.compute(data, seed, report, finished=finished, **own).cpu()
        if not indicator.partial:
            _checked(name, data, rows)
        before, agreed = count, halves(rows, labels) if until is not None else None
        if until is not None and agreed is not None and agreed >= until:
            break
    mean, spread, each = over_trials(rows, labels)
    values = _checked(name, data, mean)
    return Scored(values, finished.seconds, finished.learned, rows, spread.float(), each, finished.key, finished.parts)


def check_until(name: str, settings: Mapping[str, Any], until: float | None) -> None:
    """Raises InputError where `until` cannot be used with an indicator and all its options, see `scored`.

    >>> from bilp_core.indicators import check_until, options_of
    >>> check_until("loss", options_of("loss", "digits"), 0.95)
    >>> check_until("herding", options_of("herding", "digits"), 0.95)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: until = 0.95: indicator 'herding' has no trials; those that do: loss, early-loss, ...
    """
    if until is None:
        return
    trials = INDICATORS[name].trials
    if not trials:
        raise InputError(f"until = {until}: {_no_trials(name)}")
    if not 0 < until < 1:
        raise InputError(f"until = {until}: the rank correlation between halves of the {trials} must be in (0, 1)")
    if settings[trials] < 2:
        raise InputError(f"until = {until} with {trials} = {settings[trials]}: two halves need at least two")


def _no_trials(name: str) -> str:
    able = ", ".join(other for other, found in INDICATORS.items() if found.trials)
    return f"indicator {name!r} has no trials; those that do: {able}"


def _counts(most: int, together: int, until: float | None) -> Iterator[int]:
    """The numbers of trials after which to look whether they are enough; the last is the most there are to be."""
    step = most if until is None else max(2, together + together % 2)
    return iter((*range(step, most, step), most))


def _part(progress: Report, before: int, count: int, most: int, steps: bool) -> Report:
    """Progress of the trials from `before` to `count`, as a part of all there may be."""

    def report(done: int, total: int, note: str = "") -> None:
        progress(int(1000 * (before + done / max(total, 1) * (count - before))), 1000 * most, note)

    return report if steps else progress


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
    labels = data.labels.cpu()
    return {name: _checked(name, data, over_trials(rows, labels)[0]) for name, rows in found.items()}


def _checked(name: str, data: ImageData, scores: Tensor) -> Tensor:
    scores = scores.float().cpu()
    if not torch.isfinite(scores).all():
        raise FloatingPointError(f"indicator {name!r} gave scores that are not finite on {data.name}")
    return scores
