"""Trials of the chapters within a time: an estimate before each, so that none is cut, and in the tables once done."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

from bilp_core import trials
from bilp_core.book import chapters, planned
from bilp_core.indicators import INDICATORS, options_of, resolve
from bilp_core.nets import speed
from bilp_core.trials import Store, Trial, describe, timing, work
from bilp_core.trials import trial as keys
from bilp_core.trials.exporting import identity, outdated, read, row_of
from bilp_core.trials.plan import plan
from bilp_core.utils.progress import duration

MARGIN, RESERVE = 1.3, 10.0  # an estimate is off by so much at most; seconds that the end takes
LEAST = 45.0  # seconds left, below which nothing new is timed


def asked(preset: str, names: Sequence[str], data: str, score_trials: int | None = None) -> list[list]:
    """[chapters, settings without the data] of each trial: all settings of seed 0 first, at the fewest images a class.

    data : a folder. The paper's probe is CIFAR-10's, which a folder of the same images does not have by itself;
    score_trials : in place of its number of trials.
    """
    found: dict[Trial, list[str]] = {}
    book = {chapter.name: chapter for chapter in chapters()}
    for name in names:
        own: dict[str, Any] = {"data": data}
        if preset == "paper":
            published = options_of("loss", "cifar10")
            probe = published | ({"trials": score_trials} if score_trials else {})
            full = {key: value for key, value in published.items() if key != "sigma"}
            values = {"probe": probe, "score": probe, "fullest": full}
            own |= {key: value for key, value in values.items() if key in book[name].defaults}
        for trial in planned(name, preset, own):
            if name not in (where := found.setdefault(trial, [])):
                where.append(name)
    order = sorted(found, key=lambda trial: (trial.seed, trial.ipc))
    return [[found[trial], {**asdict(trial), "data": ""}] for trial in order]


class Paper:
    """The trials, the store and the tables. state : what is kept between calls, JSON values.

    left : seconds that there are. say : is told each line.
    """

    def __init__(
        self, listed: list[list], folder: Path, results: Path, state: dict[str, Any], left: Callable[[], float], say
    ) -> None:
        self.todo = [(where, Trial(**{**settings, "data": str(folder)})) for where, settings in listed]
        self.name, self.results, self.state, self.left, self.say = folder.name, results, state, left, say
        self.store = Store()
        self.seconds: dict[str, float] = state.setdefault(
            "seconds", {}
        )  # of trials alike and of scores, with the margin
        self.scored: dict[str, int] = state.setdefault("scored", {})  # by score key: trials of it that are there

    def run(self, done: Callable[[], None]) -> None:
        """`done` is called after each trial. What is skipped goes into the state, with the reason."""
        self.state["skipped"] = {}
        # nobody changes the folder meanwhile, and to look at 60,000 files before each step takes seconds
        with mock.patch.object(keys.folder_stamp, "cache_clear", create=True):
            rows = [row for path in self.results.glob("*.csv") for row in read(path)]
            there = {identity(row) for row in rows if not outdated(row)}
            for where, trial in self.todo:
                same = identity(row_of(trial, {"accuracies": [], "speed": speed.mode()}, self.name))
                if same in there:
                    continue
                if why := self._one(where, trial) if self.left() > 0 else "no time was left":
                    self.state["skipped"].setdefault(why, []).append(describe(replace(trial, data="any")))
                else:
                    done()

    def _one(self, where: list[str], trial: Trial) -> str:
        """Nothing, if it is done; else why not."""
        try:
            own = self._pace(trial)
            if own is None:
                return "no time was left to look how long it takes"
            if why := self._scores(trial):
                return why
            if own > self.left():
                return "it would have been cut"
            named = describe(replace(trial, data="any"))
            self.say(f"{where[0]}: {named}, about {duration(own / MARGIN)}; {duration(self.left())} left")
            record = trials.run([trial], self.store, "inline", progress=False).iloc[0]
        except Exception as error:  # the others are still to be tried
            return f"it failed: {type(error).__name__}: {str(error)[:300]}"
        for chapter in where:
            trials.export([trial], self.results, chapter, self.store, data_name=self.name)
        trials.pictures([trial], self.results / "sets", self.store)
        took = float(record["seconds"])
        self.seconds[self._like(trial)] = MARGIN * took
        found = {"chapter": where[0], "what": named, "accuracy": record["accuracy"], "std": record["std"]}
        self.state.setdefault("trials", []).append({**found, "estimate": round(own / MARGIN, 1), "seconds": took})
        self.say(f"  {100 * record['accuracy']:.2f} ± {100 * record['std']:.2f} %, {duration(took)}")
        return ""

    def _like(self, trial: Trial) -> str:
        """What decides how long a trial takes; as `trials.plan` sees it."""
        plain = {"criterion": "random", "score": {}, "drop": "largest", "init": None, "stratum": None}
        return f"{replace(trial, seed=0, ratio=0.0, **plain).key} {timing.burdens([trial])[0]}"

    def _pace(self, trial: Trial) -> float | None:
        """Seconds to distil and to judge, with the margin; None where there is no time to find out."""
        like = self._like(trial)
        if like not in self.seconds:
            if self.left() < LEAST:
                return None
            alone = replace(trial, criterion="random", score={})
            self.seconds[like] = MARGIN * plan([alone], self.store.path / "none", "inline").seconds
        return self.seconds[like]

    def _scores(self, trial: Trial) -> str:
        """Make the scores that the trial needs. Where all trials of an indicator take too long, as many as there is
        time for: the next call goes on from there."""
        key = trial.score_key
        if not trial.scored or self.store.scores(key) is not None:
            return ""
        if self.left() < LEAST:
            return "no time was left to look how long its scores take"
        if key not in self.seconds:
            self.seconds[key] = MARGIN * max(timing.scoring(trial)["score"], 1e-3)
        whole, counted, where = self.seconds[key], INDICATORS[trial.criterion].trials, str(self.store.path)
        settings = resolve(trial.criterion, work._data(trial).train, trial.score)
        most, ready = (settings[counted], self.scored.get(key, 0)) if counted else (1, 0)
        able = min(most, ready + int(self.left() / whole * most))
        if able > ready:
            took = duration(whole / MARGIN * (able - ready) / most)
            self.say(f"scores by {trial.criterion}, {able} of {most}: about {took}")
            made = replace(trial, score={**trial.score, counted: able}) if able < most else trial
            work.compute_scores(made, where)
            self.scored[key] = able
        why = f"its scores by {trial.criterion} take {duration(whole / MARGIN)}"
        return "" if able == most else f"{why}: {able} of {most} made" if counted else why
