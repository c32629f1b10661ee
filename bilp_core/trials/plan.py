"""Before anything runs: how many trials there are, how many are stored, and what the others will take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import engines
from ..utils.progress import Progress, duration
from .store import Store
from .trial import Trial, describe, forget_folders

if TYPE_CHECKING:
    import pandas as pd

TIMING = "bilp_core.trials.timing."  # named, not imported: only workers need torch
_planned: ContextVar[list[Trial] | None] = ContextVar("planned", default=None)


class Planned(Exception):
    """Ends a `run` whose trials were only asked for."""


@contextmanager
def collecting() -> Iterator[list[Trial]]:
    """Inside, `run` runs nothing: it adds its trials to the list, and raises Planned.

    >>> from bilp_core.trials import Trial, run
    >>> from bilp_core.trials.plan import Planned, collecting
    >>> with collecting() as found:
    ...     try:
    ...         run([Trial("digits")])
    ...     except Planned:
    ...         print(len(found))
    1
    """
    found: list[Trial] = []
    token = _planned.set(found)
    try:
        yield found
    finally:
        _planned.reset(token)


def collect(trials: Sequence[Trial]) -> None:
    """Called by `run`: raises Planned inside of `collecting`."""
    if (found := _planned.get()) is not None:
        found.extend(trials)
        raise Planned


@dataclass(frozen=True)
class Plan:
    """What `plan` found.

    kinds : a row for each kind of work that is left: work ("score", "stage", which trials share, "trial", or
            "evaluation" of a set that another trial makes or that is stored), what (the settings that tell it from the
            others), count, seconds (of one; NaN where it was not timed). Stages are counted when they are timed, and
            those that are stored, too.
    slots : jobs side by side. memory : bytes, the most that a job held while it was timed. disk : bytes of the sets
            and of first stages, such as experts.

    >>> import pandas as pd
    >>> from bilp_core.trials import Plan
    >>> kinds = pd.DataFrame([("trial", "ratio=0.5", 6, 90.0)], columns=["work", "what", "count", "seconds"])
    >>> print(Plan(kinds, total=8, stored=2, slots=2, memory=1.2e9, disk=2e6))
    8 trials, 2 of them stored
      trial ratio=0.5: 6 to do, 1 min 30 s each
    in all about 4 min 30 s, 2 at a time on this machine; memory of a job at least 1.2 GB, on disk 2.0 MB
    (from a few timed steps of each kind; other work on the machine makes it more)
    """

    kinds: pd.DataFrame
    total: int
    stored: int
    slots: int
    memory: float = 0.0
    disk: float = 0.0

    @property
    def seconds(self) -> float:
        """Of all that is left, with every slot busy; 0 where nothing was timed."""
        return float((self.kinds["count"] * self.kinds["seconds"]).sum()) / self.slots

    def __str__(self) -> str:
        lines = [f"{self.total} trials, {self.stored} of them stored"]
        for work, what, count, seconds in self.kinds.values.tolist():
            each = "" if math.isnan(seconds) else f", {duration(seconds)} each"
            lines.append(f"  {work} {what}: {count} to do{each}")
        if self.seconds:
            lines += [
                f"in all about {duration(self.seconds)}, {self.slots} at a time on this machine; "
                f"memory of a job at least {self.memory / 1e9:.1f} GB, on disk {self.disk / 1e6:.1f} MB",
                "(from a few timed steps of each kind; other work on the machine makes it more)",
            ]
        elif self.total == self.stored:
            lines.append("no trial is left to run")
        return "\n".join(lines)


def plan(
    trials: Sequence[Trial],
    store: Store | str | Path | None = None,
    engine: engines.Engine | str | None = None,
    *,
    timed: bool = True,
    show: Callable[[str], object] | None = None,
) -> Plan:
    """What running `trials` will take: counted at once, then timed on a few steps of each kind of work.

    timed : False counts only. show : is told the counts before the timing begins, which takes seconds for each kind.
    Nothing is stored. Raises InputError as `run` does for settings that cannot work.

    >>> from bilp_core.trials import grid
    >>> from bilp_core.trials.plan import plan
    >>> asked = grid(data="digits", method="dm", criterion="loss", ratio=[0, 0.5], seed=[0, 1])
    >>> print(plan(asked, timed=False))
    4 trials, 0 of them stored
      score criterion=loss: 1 to do
      trial ratio=0.0: 2 to do
      trial ratio=0.5: 2 to do
    """
    store = store if isinstance(store, Store) else Store(store)
    forget_folders()
    unique = list({trial.key: trial for trial in trials}.values())
    pending = [trial for trial in unique if store.get(trial) is None]
    unscored = {t.score_key: t for t in pending if t.scored and store.scores(t.score_key) is None}
    first: dict[str, Trial] = {}  # of each set that is not there: it distils, the others take what it made
    for trial in pending:
        if not store.synthetic_path(trial.synthetic_key).exists():
            first.setdefault(trial.synthetic_key, trial)
    makers = list(first.values())
    others = [trial for trial in pending if first.get(trial.synthetic_key) is not trial]
    groups = {"score": _grouped(list(unscored.values()), _scoring), "stage": {}, "trial": _grouped(makers, _kind)}
    groups["evaluation"] = _grouped(others, _kind)
    runner = engine if engine is not None and not isinstance(engine, str) else engines.engine(engine)
    counted = Plan(_table(groups, {}), len(unique), len(unique) - len(pending), runner.slots)
    if not timed or not pending:
        return counted
    runner.submit("bilp_core.trials.work.check", (pending,)).result()
    if show:
        show(str(counted))
    stages: dict[str, tuple[int, int, Trial]] = {}  # the largest of each, its bytes, and a trial that makes it
    for trial, stage in zip(makers, runner.submit(TIMING + "stages", (makers,)).result(), strict=True):
        if stage and stage[1] > stages.get(stage[0], (0,))[0]:
            stages[stage[0]] = (*stage[1:], trial)
    groups["stage"] = _grouped([trial for *_, trial in stages.values()], _kind)
    kinds = list(groups["trial"] | groups["evaluation"])
    alike = dict(zip(kinds, runner.submit(TIMING + "burdens", (kinds,)).result(), strict=True))
    spent: dict[Trial, dict[str, float]] = {}
    known: dict[Trial, dict[str, float]] = {}  # by what decides the pace: the share removed counts only by the burden
    with Progress("timing", every=10) as progress:
        for work in groups:
            function = "scoring" if work == "score" else "making"
            for number, kind in enumerate(groups[work]):
                # all real images make a stage, some of them a round
                whole = work in ("score", "stage")
                paced = kind if whole else replace(kind, ratio=0.0, stratum=None, seed=alike.get(kind, 0))
                if kind not in spent:  # a trial is timed with its stage
                    if paced not in known:
                        known[paced] = runner.submit(TIMING + function, (kind,)).result()
                    spent[kind] = known[paced]
                progress(number + 1, len(groups[work]), work)
    return replace(
        counted,
        kinds=_table(groups, spent),
        memory=max(found["memory"] for found in spent.values()),
        disk=sum(count * spent[kind]["set"] for kind, count in groups["trial"].items())
        + sum(disk for _, disk, _ in stages.values()),
    )


def _scoring(trial: Trial) -> Trial:
    return Trial(trial.data, size=trial.size, criterion=trial.criterion, ratio=0.5, score=trial.score)


def _kind(trial: Trial) -> Trial:
    """The trial without what hardly changes the time it takes."""
    stratum = None if trial.stratum is None else 0
    return replace(trial, criterion="random", score={}, drop="largest", init=None, seed=0, stratum=stratum)


def _grouped(trials: Sequence[Trial], key: Callable[[Trial], Trial]) -> dict[Trial, int]:
    return dict(Counter(map(key, trials)))


def _table(groups: Mapping[str, Mapping[Trial, int]], spent: Mapping[Trial, Mapping[str, float]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (work, _words(kind, work, list(kinds)), count, _seconds(spent.get(kind), work))
        for work, kinds in groups.items()
        for kind, count in kinds.items()
    ]
    return pd.DataFrame(rows, columns=["work", "what", "count", "seconds"])


def _words(kind: Trial, work: str, among: list[Trial]) -> str:
    return describe(replace(kind, ratio=0.0, data="any")) if work == "score" else describe(kind, among)


def _seconds(found: Mapping[str, float] | None, work: str) -> float:
    if found is None:
        return math.nan
    names = {"score": ["score"], "stage": ["stage"], "trial": ["distil", "evaluate"], "evaluation": ["evaluate"]}
    return sum(found[name] for name in names[work])
