"""Trials: what to run, the records of what ran, and the store that keeps them.

A trial is one seed of one setting: score, prune, distil, evaluate. Its record is stored by the process that made
it the moment it is finished, and the state of a distillation once a minute, so a stopped or killed run goes on where
it was. Several processes may share a store without locks: what another one has finished meanwhile is not done again,
two that work on the same trial at the same time both do it, and since every file is written whole, the store stays
sound.
Nothing here imports torch until a trial runs.
"""

from __future__ import annotations

import platform
import secrets
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import engines
from ..errors import InputError
from ..utils.progress import Progress
from .plan import collect
from .store import Store
from .table import frame
from .trial import Trial, describe, folder_stamp, forget_folders

if TYPE_CHECKING:
    import pandas as pd

    from ..engines.jobs import Function

WORK = "bilp_core.trials.work."  # named, not imported: only workers need torch


class TrialsFailed(RuntimeError):
    """Some trials failed; the others are finished and stored. `failures`: (trial, error) pairs.

    >>> from bilp_core.trials import Trial, TrialsFailed, run
    >>> def broken(trial, store):
    ...     raise FloatingPointError("the loss is nan")
    >>> try:
    ...     run([Trial("digits", seed=4)], "records", engine="inline", progress=False, execute=broken)
    ... except TrialsFailed as failed:
    ...     print(failed)
    1 of 1 trials failed; the others are stored.
      data=digits seed=4: FloatingPointError: the loss is nan
    """

    def __init__(self, failures: Sequence[tuple[Trial, BaseException]], total: int) -> None:
        self.failures = list(failures)
        lines = [f"  {describe(trial)}: {type(error).__name__}: {error}" for trial, error in self.failures]
        super().__init__("\n".join([f"{len(lines)} of {total} trials failed; the others are stored.", *lines]))


def run(
    trials: Sequence[Trial],
    store: Store | str | Path | None = None,
    engine: engines.Engine | str | None = None,
    progress: bool = True,
    allow_failures: bool = False,
    execute: Callable[..., dict[str, Any]] | None = None,
) -> pd.DataFrame:
    """Records of `trials`, one row each, in their order; what the store lacks is run first, the smallest seeds first.

    engine : its name or itself; by default $BILP_ENGINE or local worker processes. A trial whose worker died is
             tried again (`retries` of the engine), one that raised an exception is not.
    execute : for tests: function(trial, path of the store) that stores and returns a record, in place of the work.
    A failed trial does not stop the others. Raises InputError before anything runs if a setting cannot work,
    TrialsFailed at the end if any failed; with `allow_failures` it warns and returns the rows there are.

    >>> from bilp_core.trials import grid, run
    >>> tiny = dict(network="convnet:depth=1,width=4", options={"iterations": 2}, evaluation={"epochs": 2}, repeats=2)
    >>> asked = grid(data="digits", method="dm", ratio=[0, 0.5], **tiny)
    >>> records = run(asked, "records", engine="inline", progress=False)
    >>> records[["method", "ratio", "kept"]].values.tolist()
    [['dm', 0.0, 1352], ['dm', 0.5, 679]]
    >>> [len(accuracies) for accuracies in records["accuracies"]]  # of two networks each
    [2, 2]
    >>> run(asked, "records", engine="inline", progress=False).equals(records)  # read from the store
    True
    """
    collect(trials)
    store = store if isinstance(store, Store) else Store(store)
    forget_folders()
    unique = {trial.key: trial for trial in trials}
    found = {key: record for key, trial in unique.items() if (record := store.get(trial)) is not None}
    pending = [trial for key, trial in unique.items() if key not in found]
    # all settings once before any twice, the most pruned first: a run that is stopped tells most
    pending.sort(key=lambda trial: (trial.seed, trial.ipc, -trial.ratio))
    if pending:
        runner = engine if engine is not None and not isinstance(engine, str) else engines.engine(engine)
        try:
            _check_sharing(pending, store, runner)
            failures = _run_pending(pending, store, runner, progress, execute)
        except KeyboardInterrupt:
            runner.close()
            raise
        found |= {trial.key: record for trial in pending if (record := store.get(trial)) is not None}
        told = {trial.key for trial, _ in failures}
        lost = RuntimeError(f"it was done, but {store.path} has no record of it: do all workers see this store?")
        failures += [(trial, lost) for trial in pending if trial.key not in found and trial.key not in told]
        if failures:
            failed = TrialsFailed(failures, len(unique))
            if not allow_failures:
                raise failed
            warnings.warn(str(failed), stacklevel=2)
    # the settings as asked for, where trials with other settings share the record
    return frame([{**found[trial.key], **asdict(trial)} for trial in trials if trial.key in found])


def _check_sharing(trials: Sequence[Trial], store: Store, runner: engines.Engine) -> None:
    """InputError if another machine of the engine has not this store, or not these folders of data."""
    folders = {t.data: stamp for t in trials if (stamp := folder_stamp(t.data)) is not None}
    store.path.mkdir(parents=True, exist_ok=True)
    mark = store.path / f".{secrets.token_hex(8)}"
    mark.touch()
    try:
        runner.everywhere(check_machine, (str(mark), folders))
    finally:
        mark.unlink()


def check_machine(mark: str, folders: Mapping[str, str]) -> None:
    """On another machine: is the file `mark` in the store, and does each folder of data have its stamp?"""
    if not Path(mark).exists():
        raise InputError(
            f"the store {Path(mark).parent} is not the same folder on {platform.node()}: "
            "name one that all machines share ($BILP_STORE)"
        )
    forget_folders()
    for folder, stamp in folders.items():
        if folder_stamp(folder) != stamp:
            raise InputError(
                f"the data in {folder} are not the same on {platform.node()}: name a folder that all machines share"
            )


Failures = list[tuple[Trial, BaseException]]


def _run_pending(
    pending: list[Trial],
    store: Store,
    runner: engines.Engine,
    show: bool,
    execute: Callable[..., dict[str, Any]] | None,
) -> Failures:
    """First what several trials share, each once; then the trials. A trial fails with what it rests on."""
    where = str(store.path)
    if execute is not None:
        return _gather(runner, execute, pending, where, "trials", show)
    runner.submit(WORK + "check", (pending,)).result()
    failures: Failures = []

    def prepare(work: str, trials: list[Trial], key: Callable[[Trial], str], label: str) -> None:
        nonlocal pending
        broken = {key(trial): error for trial, error in _gather(runner, WORK + work, trials, where, label, show)}
        failures.extend((t, broken[key(t)]) for t in pending if key(t) in broken)
        pending = [t for t in pending if key(t) not in broken]

    scored = {t.score_key: t for t in pending if t.scored}
    missing = [t for key, t in scored.items() if store.scores(key) is None]
    prepare("compute_scores", missing, lambda t: t.score_key if t.scored else "", "scores")
    stages = dict(zip(pending, runner.submit(WORK + "stage_keys", (pending, where)).result(), strict=True))
    staged = {t: stage for t, stage in stages.items() if stage}
    # the largest comes last and stays
    first = {key: t for t, (key, _) in sorted(staged.items(), key=lambda item: item[1][1])}
    prepare("prepare_stage", list(first.values()), lambda t: staged[t][0] if t in staged else "", "first stages")
    split = {t.synthetic_key: t for t in pending if t.parts and not store.synthetic_path(t.synthetic_key).exists()}
    whole = {part.synthetic_key: key for key, t in split.items() for part in t.parts}
    missing = [p for t in split.values() for p in t.parts if not store.synthetic_path(p.synthetic_key).exists()]
    prepare("share_synthetic", missing, lambda t: whole.get(t.synthetic_key, t.synthetic_key), "parts")
    uses = Counter(t.synthetic_key for t in pending)
    shared = {t.synthetic_key: t for t in pending if uses[t.synthetic_key] > 1}
    missing = [t for key, t in shared.items() if not store.synthetic_path(key).exists()]
    prepare("share_synthetic", missing, lambda t: t.synthetic_key, "synthetic sets")
    return failures + _gather(runner, WORK + "run_trial", pending, where, "trials", show)


def _gather(
    runner: engines.Engine, function: Function, trials: list[Trial], where: str, label: str, show: bool
) -> Failures:
    """Run function(trial, where) for each, showing progress; returns the failures."""
    failures: Failures = []
    if not trials:
        return failures
    total, done = len(trials), 0
    running: dict[str, float] = {}  # share done of each, by key
    lock = threading.Lock()  # `advance` and `finish` are called from the engine's threads
    finished = threading.Semaphore(0)

    with Progress(label, every=60) as bar:

        def advance(trial: Trial, part: int, whole: int, note: str = "") -> None:
            with lock:
                running[trial.key] = part / max(whole, 1)
                if show:
                    bar(done + sum(running.values()), total, note)

        def finish(trial: Trial, future: Future) -> None:
            nonlocal done
            error = CancelledError() if future.cancelled() else future.exception()
            try:
                with lock:
                    running.pop(trial.key, None)
                    done += 1
                    if error is not None:
                        failures.append((trial, error))
                    if show:
                        outcome = "done" if error is None else f"FAILED ({error})"
                        if bar.terminal:
                            bar(done + sum(running.values()), total)
                        bar.line(
                            f"{label}: {done}/{total} {outcome}: {describe(trial, trials)}{bar.times(done, total)}"
                        )
            finally:
                finished.release()

        if show:
            bar.line(f"{label}: {total} to run, {min(runner.slots, total)} at a time")
        try:
            for trial in trials:
                runner.submit(function, (trial, where), partial(advance, trial)).add_done_callback(
                    partial(finish, trial)
                )
            for _ in trials:
                finished.acquire()
        except KeyboardInterrupt:
            show = False  # the ends of the jobs that are stopped now are no news
            raise
    return failures
