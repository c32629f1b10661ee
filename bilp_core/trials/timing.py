"""What the work of a trial will take, from a few timed steps: in a worker process, named by `plan` and not imported."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import distillers, indicators
from ..distillers.method import Distiller, Stage
from ..errors import Diverged
from ..evaluation.accuracies import evaluate
from ..evaluation.protocols import protocol
from ..nets.networks import evaluation_spec
from ..pruning.classwise import removed
from ..utils.progress import Enough, Report, Stopwatch
from . import work
from .provenance import device
from .trial import Trial

EPOCHS = 4  # of an evaluation that is timed


def burdens(trials: Sequence[Trial]) -> list[int]:
    """Real images that a pass of each trial's method goes through: what decides its pace beside the settings."""
    found = []
    for trial in trials:
        data = work._data(trial).train
        left = [n - removed(trial.ratio, n) if trial.stratum is None else n // 10 for n in data.counts().tolist()]
        size = distillers.make(trial.method, **trial.options).resolved(data, trial.ipc).batch
        while size >= 2 * max(left):  # as `ClassBatches` halves it
            size //= 2
        found.append(sum(min(size, n) for n in left))
    return found


def stages(trials: Sequence[Trial]) -> list[tuple[str, int, int] | None]:
    """What tells each trial's first stage from others, its size and its bytes on the disk; None where there is none.

    Told apart by what is to be kept of the data: which samples these are, only their scores would say.
    """
    found: list[tuple[str, int, int] | None] = []
    known: dict[Trial, Stage | None] = {}  # to tell a stage, all images are read
    for trial in trials:
        about = Trial(
            trial.data, trial.method, trial.ipc, network=trial.network, size=trial.size, options=trial.options
        )
        if about not in known:
            known[about] = None
            if distillers.METHODS[trial.method].staged:
                plain = work._data(trial).train
                method = distillers.make(trial.method, **trial.options).resolved(plain, trial.ipc)
                known[about] = method.first_stage(work._train(trial, method.zca), trial.network)
        stage = known[about]
        kept = (trial.score_key, trial.ratio, trial.drop, trial.stratum) if trial.prunes else ()
        found.append((f"{stage.key} {kept}", stage.size, stage.disk()) if stage else None)
    return found


def scoring(trial: Trial) -> dict[str, float]:
    """Seconds to score for the trial, and the peak of memory in bytes."""
    train = work._data(trial).train.to(device())

    def scored(progress: Report) -> None:
        indicators.score(train, trial.criterion, progress=progress, **trial.score)

    return {"score": _timed(scored), "memory": _peak()}


def making(trial: Trial) -> dict[str, float]:
    """Seconds of the trial's first stage, distillation and evaluation; the peak of memory and the set, in bytes."""
    place = device()
    plain = work._data(trial).train
    method = distillers.make(trial.method, **trial.options).resolved(plain, trial.ipc)
    random = replace(trial, criterion="random", score={})  # the pace of any samples, as many of them
    train = work._train(random, method.zca).subset(work.kept_indices(random, plain, work.Store()))
    spent, stage = {"stage": 0.0}, method.first_stage(train, trial.network)
    with tempfile.TemporaryDirectory() as home:
        if stage is not None:
            spent["stage"] = _timed(lambda progress: stage.make(Path(home), progress))
            if hasattr(method, "experts"):
                method = replace(method, experts=1)  # type: ignore[call-arg]  # enough for the pace of rounds

        def made(progress: Report, shorter: Distiller = method) -> None:
            distillers.distill(
                shorter, train, trial.ipc, network=trial.network, init=trial.init, seed=trial.seed,
                adaptive=work.adaptive_of(trial), home=home, progress=progress, early=work.early_of(trial),
                part=distillers.Part(1, trial.splits) if trial.splits > 1 else None,
            )  # fmt: skip

        spent["distil"] = trial.splits * _of_rounds(method, trial.ipc, made)
    start = method.start(train, trial.ipc, "noise", torch.Generator(train.device).manual_seed(0), trial.network)
    test, judge = work._data(trial).test.to(place), trial.evaluate_on or evaluation_spec(trial.network)
    recipe = protocol(trial.method, test, judge, ipc=trial.ipc, factor=start.formation.factor, **trial.evaluation)
    short = replace(recipe, epochs=min(EPOCHS, recipe.epochs), test_every=0)
    watch = Stopwatch(steps=sys.maxsize, most=math.inf)  # goes to the end, where the test is
    evaluate(start, test, network=judge, protocol=short, repeats=trial.repeats, seed=trial.seed, progress=watch)
    last = time.monotonic() - watch.marks[-1][0]  # the test, which comes once, or after every `test_every` epochs
    tests = 1 + (recipe.epochs // recipe.test_every if recipe.test_every else 0)
    spent["evaluate"] = (watch.whole or 0.0) / short.epochs * recipe.epochs + tests * last
    return {**spent, "memory": _peak(), "set": float(start.images.nbytes)}


def _of_rounds(method: Distiller, ipc: int, made: Callable[..., None]) -> float:
    """Seconds of all rounds. Where a round has loops inside, one and two of them are timed, and carried on."""
    if not method.turns or method.passes(ipc) <= 2:
        return _timed(made)
    shorter: list[Any] = [replace(method, **{method.turns: turns}) for turns in (1, 2)]  # type: ignore[arg-type]
    one, two = (_timed(partial(made, shorter=each)) for each in shorter)
    return one + (method.passes(ipc) - 1) * max(two - one, 0.0)


def _timed(work_: Callable[[Report], Any]) -> float:
    """Seconds that the work would take, which is stopped once its pace is known."""
    watch, begun = Stopwatch(), time.monotonic()
    with contextlib.suppress(Enough, Diverged):  # a single expert may lead astray, at the same pace
        work_(watch)
        return time.monotonic() - begun  # it came to its end
    return watch.whole or 0.0


def _peak() -> float:
    """The most memory that this process held, of the GPU where there is one."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
