"""One training of the probe, watched: what several indicators need of every sample, in little memory.

At each step every sample's logits pass by once, before the update, so watching costs nothing. A `Watch` makes one
number of them (a statistic), and reduces these numbers along the epochs at once. What is held for a watch is two to
four float32 numbers a trial and sample: at most 40 MB for 50 trials on CIFAR-10, where curves of 100 epochs take 1 GB.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble
from ..nets.memory import fitting
from ..nets.probe import Probe, probe_for, probe_options
from ..nets.training import fit
from ..utils.progress import Report
from ..utils.seeds import seeds
from .base import Indicator
from .finished import Finished

# ---- statistics: logits [..., classes] and labels [...] -> [...] ------------------------------------------------

Statistic = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """In nats.

    >>> import torch
    >>> from bilp_core.indicators.recording import cross_entropy
    >>> [round(float(loss), 4) for loss in cross_entropy(torch.zeros(2, 10), torch.tensor([3, 7]))]  # ln 10
    [2.3026, 2.3026]
    """
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(-1) == labels).float()


# ---- reductions along the epochs --------------------------------------------------------------------------------


class Reduction(Protocol):
    """add(epoch, values [K, N]) once an epoch, then result() -> [K, N], or [K, ..., N]."""

    def add(self, epoch: int, values: Tensor) -> None: ...
    def result(self) -> Tensor: ...


class Weighted:
    """The sum over epochs of weights [epochs] times the values."""

    def __init__(self, weights: Tensor) -> None:
        self.weights, self.total = weights.tolist(), torch.zeros(())

    def add(self, epoch: int, values: Tensor) -> None:
        if self.weights[epoch]:
            self.total = self.total.to(values.device) + self.weights[epoch] * values

    def result(self) -> Tensor:
        return self.total


class Curve:
    """All values: [K, epochs, N], on the CPU. For data small enough to keep them."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def add(self, epoch: int, values: Tensor) -> None:  # noqa: ARG002
        self.rows.append(values.cpu().clone())

    def result(self) -> Tensor:
        return torch.stack(self.rows, 1)


def at_the_end(epochs: int, sigma: float) -> Tensor:
    """Weights [epochs] that a Gaussian filter of width `sigma` epochs, reflected at the end, gives for the last one.

    sigma = 0 : the last epoch alone. The filter is linear, so means over trials may be taken before or after it.
    Raises InputError for a width that is negative or not finite.
    Source: supplement Sec. 6.4; about the last 8 epochs count at its 3 epochs.

    >>> from bilp_core.indicators.recording import at_the_end
    >>> at_the_end(4, 0).tolist()
    [0.0, 0.0, 0.0, 1.0]
    >>> round(float(at_the_end(50, 3.0)[-8:].sum()), 3)
    0.992
    """
    if not 0 <= sigma < float("inf"):
        raise InputError(f"sigma = {sigma}: the filter's width in epochs must be finite, not negative")
    unit = np.eye(epochs)
    return torch.from_numpy((gaussian_filter1d(unit, sigma, axis=0, mode="reflect") if sigma else unit)[-1].copy())


LEARNED = "accuracy on the training data"  # beside the watches, of each trial in its last epoch


# ---- the recording ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watch:
    """What of a training is kept: `statistic` of every sample in each of the first `epochs`, reduced."""

    epochs: int
    statistic: Statistic
    reduction: Callable[[], Reduction]


def record(
    data: ImageData,
    probe: Probe,
    seed: int,
    watches: Mapping[str, Watch],
    progress: Report | None = None,
    finished: Finished | None = None,
) -> dict[str, Annotated[Tensor, "[..., N]"]]:
    """Train the probe's trials and return, for each watch, the reduced statistic of each trial: [trials, N], CPU.
    A `Curve` reduces nothing: [trials, epochs, N].

    Trials train `probe.together` at a time; a trial's numbers do not depend on the others, but for rounding. As many
    epochs are trained as the longest watch needs; since the learning rate is constant, those of a shorter watch are
    the same as without the longer. finished : takes each trial that is done; those it has are not trained again.
    Raises FloatingPointError when a trial diverges.

    >>> from bilp_core import load
    >>> from bilp_core.indicators.recording import Curve, Watch, cross_entropy, is_correct, record
    >>> from bilp_core.nets import Probe
    >>> train, _ = load("digits")
    >>> watches = {"loss": Watch(2, cross_entropy, Curve), "right": Watch(3, is_correct, Curve)}
    >>> found = record(train, Probe(trials=2, network="convnet:depth=1,width=4"), 0, watches)
    >>> {name: list(values.shape) for name, values in found.items()}
    {'loss': [2, 2, 1352], 'right': [2, 3, 1352]}
    """
    finished = finished or Finished()
    done = {k: found for k in range(probe.trials) if (found := finished.get(k)) is not None}
    epochs = max(watch.epochs for watch in watches.values())
    probe, steps = replace(probe, epochs=epochs), epochs * -(-len(data) // probe.batch)
    together = probe.together or fitting(probe.batch * data.positions, data.device)
    start = len(done)
    while len(done) < probe.trials:
        group = list(islice((k for k in range(probe.trials) if k not in done), together))

        def on_step(step: int, size: int = len(group), before: int = len(done)) -> None:
            if progress:
                note = f"trials {before + 1} to {before + size} of {probe.trials}"
                progress(steps * (before - start) + size * (step + 1), steps * (probe.trials - start), note)

        try:
            found = _train(data, probe, [seeds("probe", seed, probe.trials)[k] for k in group], watches, on_step)
        except torch.OutOfMemoryError:
            if len(group) == 1:
                raise
            torch.cuda.empty_cache()
            together = len(group) // 2
            continue
        for place, k in enumerate(group):
            done[k] = {name: values[place] for name, values in found.items()}
        finished.put({k: done[k] for k in group})
    finished.learned = float(torch.stack([done[k][LEARNED] for k in range(probe.trials)]).mean())
    return {name: torch.stack([done[k][name] for k in range(probe.trials)]) for name in watches}


def _train(
    data: ImageData, probe: Probe, seeds: list[int], watches: Mapping[str, Watch], on_step: Callable[[int], None]
) -> dict[str, Tensor]:
    """`record` for one group of trials: [K, N] for each watch."""
    # of all groups, which share what is compiled; of the usual number of trials, so that a trial's numbers do not
    # depend on how many are asked for
    positions = probe_for(data).trials * probe.epochs * len(data) * data.positions
    ensemble = Ensemble(
        probe.network, data.shape, data.num_classes, seeds, data.device,
        batch=probe.batch, positions=positions, mixed=True,
    )  # fmt: skip
    now = {name: torch.empty(len(seeds), len(data), device=data.device) for name in watches}
    reductions = {name: watch.reduction() for name, watch in watches.items()}
    correct = torch.zeros(len(seeds), device=data.device)

    steps = count()  # of the whole training

    def read(epoch: int, picks: list[Tensor] | None, logits: Tensor) -> None:
        labels = data.labels.expand(len(seeds), -1) if picks is None else data.labels[torch.stack(picks)]
        if epoch == probe.epochs - 1:
            correct.add_(is_correct(logits, labels).sum(1))
        for name, watch in watches.items():
            if epoch < watch.epochs:
                values = watch.statistic(logits, labels)
                if picks is None:
                    now[name] = values
                else:
                    now[name].scatter_(1, torch.stack(picks), values)
        on_step(next(steps))

    def reduce(epoch: int) -> None:
        for name, watch in watches.items():
            if epoch < watch.epochs:
                reductions[name].add(epoch, now[name])

    fit(ensemble, data, probe.recipe(), on_step=read, on_epoch=reduce)
    return {
        **{name: reduction.result().cpu() for name, reduction in reductions.items()},
        LEARNED: correct.cpu() / len(data),
    }


def loss_curves(
    data: ImageData, probe: Probe, seed: int, progress: Report | None = None
) -> Annotated[Tensor, "[trials, epochs, N]"]:
    """Per-sample losses of every trial and epoch, [trials, epochs, N] in nats, on the CPU: 4 bytes each.

    Raises FloatingPointError when a trial diverges.
    Source: supplement Sec. 6.4.

    >>> from bilp_core import load
    >>> from bilp_core.indicators import loss_curves
    >>> from bilp_core.nets import Probe
    >>> train, _ = load("digits")
    >>> curves = loss_curves(train, Probe(trials=2, epochs=4, batch=64, network="convnet:depth=1,width=4"), seed=0)
    >>> curves.shape, bool(curves[:, -1].mean() < curves[:, 0].mean())
    (torch.Size([2, 4, 1352]), True)
    """
    return record(data, probe, seed, {"loss": Watch(probe.epochs, cross_entropy, Curve)}, progress)["loss"]


# ---- indicators that are a recording ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded(Indicator):
    """The mean over trials of one watch. watch(epochs, **own options) says which."""

    watch: Callable[..., Watch] = Watch

    def plan(self, settings: Mapping[str, Any]) -> tuple[Probe, Watch]:
        """What to train and what to watch, for all the indicator's options."""
        own = {name: value for name, value in settings.items() if name not in Probe.names()}
        probe = Probe(**{name: value for name, value in settings.items() if name in Probe.names()})
        return probe, self.watch(probe.epochs, **own)


def recorded(
    summary: str,
    watch: Callable[..., Watch],
    choices: Mapping[str, tuple[str, ...]] | None = None,
    **options: Any,
) -> Recorded:
    """An indicator of a watch. options : its own with their defaults, or other defaults for those of the probe.

    >>> import torch
    >>> from bilp_core.indicators.recording import Watch, Weighted, is_correct, recorded
    >>> def watch(epochs):
    ...     return Watch(epochs, is_correct, lambda: Weighted(-torch.ones(epochs)))
    >>> learned = recorded("epochs in which a sample was correct, negative", watch, epochs=7)
    >>> learned.options("digits")["epochs"], learned.options("digits")["trials"]
    (7, 5)
    """

    def defaults(data: ImageData | str) -> dict[str, Any]:
        return {**probe_options(data), **options}

    def compute(data: ImageData, seed: int, progress: Report | None, finished: Finished, **settings: Any) -> Tensor:
        probe, watching = indicator.plan(settings)
        return record(data, probe, seed, {"": watching}, progress, finished)[""]

    indicator = Recorded(summary, compute, defaults, {"together": 0}, choices or {}, trials="trials", watch=watch)
    return indicator
