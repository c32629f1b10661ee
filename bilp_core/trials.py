"""Trials: what to run, the records of what ran, and the store that keeps them.

A trial is one seed of one setting: score, prune, distil, evaluate. Its record is stored by the process that made
it the moment it is finished, and the state of a distillation once a minute, so a stopped or killed run goes on where
it was. Several processes may share a store without locks: what another one has finished meanwhile is not done again,
two that work on the same trial at the same time both do it, and since every file is written whole, the store stays
sound.
Nothing here imports torch until a trial runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import platform
import secrets
import subprocess
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, engines, files, paths
from .errors import InputError
from .files import Unfinished, atomic
from .progress import Progress, Report

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from .adaptive import Adaptive
    from .data import ImageData, Splits
    from .distill import Distiller
    from .synthetic import SyntheticSet

REVISION = 6  # raised when the library changes so that stored numbers are no longer what it would give
ADAPTIVE = ("adaptive", "lazy", "tails", "effect")  # the fields of adaptive pruning


@dataclass(frozen=True)
class Trial:
    """One experiment with one seed.

    data, size   : a data set's name or a folder; pixels to resize a folder's images to.
    method, ipc, init, network, options : the distillation; options are the method's hyper-parameters.
    criterion, ratio, drop, score : the pruning: indicator, share removed, which end, the indicator's options.
    stratum      : keep this tenth of each class by score (0 = smallest) instead of pruning by `ratio`.
    adaptive, lazy, tails, effect : the share of each real batch that adaptive pruning drops by ITE (0: none), the
                   steps of a class a decision serves, which end goes, and how the ITE is found: see `Adaptive`.
    evaluate_on, repeats, evaluation : the network (None: the distillation network, BatchNorm replaced), how many
                   of it, and changes to the protocol.
    seed         : of the distillation, of the evaluation, and of random pruning. Indicators use seed 0 always, so
                   that trials share one ranking, as in the paper.
    """

    data: str
    method: str = "dc"
    ipc: int = 1
    init: str | None = None
    network: str = "convnet"
    criterion: str = "random"
    ratio: float = 0.0
    drop: str = "largest"
    stratum: int | None = None
    seed: int = 0
    evaluate_on: str | None = None
    repeats: int = 5
    size: int | None = None
    adaptive: float = 0.0
    lazy: int = 10
    tails: str = "both"
    effect: str = "sketch"
    score: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _typed(f.name, getattr(self, f.name), str(f.type)))
        if not 0 <= self.ratio < 1:
            raise InputError(f"ratio = {self.ratio}: the share removed must be in [0, 1)")
        for name, value, least in (("ipc", self.ipc, 1), ("repeats", self.repeats, 1), ("seed", self.seed, 0)):
            if value < least:
                raise InputError(f"{name} = {value}: must be at least {least}")
        if self.drop not in ("largest", "smallest"):
            raise InputError(f"drop = {self.drop!r}: must be 'largest' or 'smallest'")
        if self.stratum is not None and not 0 <= self.stratum < 10:
            raise InputError(f"stratum = {self.stratum}: must be from 0 to 9")
        if self.stratum is not None and self.ratio:
            raise InputError(f"stratum = {self.stratum} with ratio = {self.ratio}: choose one of the two")
        if not 0 <= self.adaptive < 1:
            raise InputError(f"adaptive = {self.adaptive}: the share dropped from a batch must be in [0, 1)")

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the settings."""
        return _hash(self._canonical())

    @property
    def score_key(self) -> str:
        """Stands for what decides the scores; random ones differ by seed."""
        parts = {name: getattr(self, name) for name in ("data", "size", "criterion", "score")}
        return _hash({**parts, "folder": _stamp(self.data), "seed": self.seed if self.criterion == "random" else 0})

    @property
    def synthetic_key(self) -> str:
        """Stands for what decides the synthetic set, whatever evaluates it."""
        settings = self._canonical()
        for name in ("evaluate_on", "repeats", "evaluation"):
            del settings[name]
        return _hash(settings)

    @property
    def prunes(self) -> bool:
        return self.ratio > 0 or self.stratum is not None

    @property
    def scored(self) -> bool:
        """Whether it needs scores that other trials may share."""
        return self.prunes and self.criterion != "random"

    def _canonical(self) -> dict[str, Any]:
        """The settings, but the default wherever a setting makes no difference: the same work, the same key."""
        settings = {**asdict(self), "folder": _stamp(self.data)}
        if not self.prunes:
            settings |= {"criterion": "random", "score": {}}
        if self.ratio == 0 or self.criterion == "random":
            settings["drop"] = "largest"
        if not self.adaptive:  # and no trace of it: records from before there was any stay valid
            for name in ADAPTIVE:
                del settings[name]
        return settings


@lru_cache(maxsize=8)
def _stamp(data: str) -> str | None:
    """Stands for a folder's files, their sizes and times, so that a changed folder makes new trials."""
    if not Path(data).is_dir():
        return None
    from .folders import read_folder

    try:
        fingerprint, _ = read_folder(Path(data), None)
    except InputError:
        return None  # said by `check`, before anything runs
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:16]


def _typed(name: str, value: Any, kind: str) -> Any:
    """`value` as a field of type `kind` holds it: plain JSON types, equal values in one form."""
    optional = kind.endswith("| None")
    kind = kind.removesuffix(" | None")
    if value is None and optional:
        return None
    if kind.startswith("Mapping") and isinstance(value, Mapping):
        return {str(key): _plain(f"{name}[{key!r}]", value[key]) for key in sorted(value)}
    value = value if kind.startswith("Mapping") else _plain(name, value)
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str) and value:
        return value
    numeric = isinstance(value, str) and kind in ("int", "float")
    trap = " (YAML reads 1e3 as text: write 1.0e+3)" if numeric else ""
    wanted = {"int": "a whole number", "float": "a number", "str": "a name"}.get(kind, "a mapping of options")
    raise InputError(f"{name} = {value!r}: must be {wanted}{trap}")


def _plain(name: str, value: Any) -> Any:
    if getattr(value, "shape", None) == ():
        value = value.item()  # a NumPy scalar
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.12g}")  # 0.1 + 0.2 is 0.3
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InputError(f"{name} = {value!r}: must be a finite number, a text, true or false")


def _hash(settings: Mapping[str, Any]) -> str:
    return files.key({"revision": REVISION, **settings})


def grid(**axes: Any) -> list[Trial]:
    """All combinations: a list, tuple or range is an axis, anything else is fixed. Last axis varies fastest.

    Raises InputError for an unknown field, naming those there are.
    """
    known = {f.name: f for f in fields(Trial)}
    for name in axes:
        if name not in known:
            raise InputError(f"a trial has no field {name!r}; there are: {', '.join(known)}")
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in axes:
            raise InputError(f"a trial needs the field {name!r}")
    for name, value in axes.items():
        if isinstance(value, list | tuple | range) and not len(value):
            raise InputError(f"{name} = {value!r}: an empty axis leaves no trial")
    values = [list(value) if isinstance(value, list | tuple | range) else [value] for value in axes.values()]
    return [Trial(**dict(zip(axes, combination, strict=True))) for combination in itertools.product(*values)]


# ---- the store ----------------------------------------------------------------------------------------------


class Store:
    """A folder: records/<key>.json, scores/<key>.npz, experts/<key>/, synthetic/<key>.safetensors.

    $BILP_STORE or "records".
    """

    def __init__(self, path: str | Path | None = None) -> None:
        # absolute, since a chapter's kernel may work in another folder than its workers
        self.path = Path(path or os.environ.get("BILP_STORE") or paths.in_project("records")).absolute()

    def record_path(self, key: str) -> Path:
        return self.path / "records" / f"{key}.json"

    def scores_path(self, key: str) -> Path:
        return self.path / "scores" / f"{key}.npz"

    def synthetic_path(self, key: str) -> Path:
        return self.path / "synthetic" / f"{key}.safetensors"

    @property
    def stages(self) -> Path:
        """Where first stages are kept, such as expert trajectories."""
        return self.path / "experts"

    @property
    def unfinished(self) -> Path:
        """Where jobs that were stopped left what they had."""
        return self.path / "unfinished"

    def get(self, trial: Trial) -> dict[str, Any] | None:
        """The record of a trial, None if there is none, or if it lacks the curves that the trial asks for.

        A damaged file is moved aside with a warning.
        """
        path = self.record_path(trial.key)
        try:
            record = json.loads(path.read_text())
            if record["key"] != trial.key or not record["accuracies"]:
                raise ValueError("it is of another trial")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _set_aside(path, error)
            return None
        return None if trial.evaluation.get("test_every") and "curves" not in record else record

    def put(self, record: Mapping[str, Any]) -> None:
        with atomic(self.record_path(record["key"])) as path:
            path.write_text(json.dumps(record, indent=1))

    def scores(self, key: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Scores and labels stored under a key, each [N]; None if there are none."""
        found = self._scores(key)
        return (found["scores"], found["labels"]) if found else None

    def score_seconds(self, key: str) -> float:
        """What the scores under a key took to compute."""
        found = self._scores(key)
        return float(found["seconds"]) if found else 0.0

    def put_scores(self, key: str, scores: np.ndarray, labels: np.ndarray, seconds: float) -> None:
        import numpy as np

        with atomic(self.scores_path(key)) as path:
            np.savez(path, scores=scores, labels=labels, seconds=np.array(seconds))

    def _scores(self, key: str) -> dict[str, np.ndarray] | None:
        import zipfile

        import numpy as np

        path = self.scores_path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in ("scores", "labels", "seconds")}
        except FileNotFoundError:
            return None
        except (EOFError, KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            _set_aside(path, error)
            return None

    def synthetic(self, key: str) -> SyntheticSet | None:
        """The synthetic set stored under a key, None if there is none."""
        from .synthetic import SyntheticSet

        path = self.synthetic_path(key)
        try:
            return SyntheticSet.load(path) if path.exists() else None
        except InputError as error:
            _set_aside(path, error)
            return None


def _set_aside(path: Path, error: Exception) -> None:
    """Keep a damaged file for a look at it, out of the way of the one that replaces it."""
    aside = path.with_name(path.name + ".corrupt")
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        path.replace(aside)
    warnings.warn(f"{path} is damaged ({error}); it is now {aside.name}, and made again", stacklevel=3)


# ---- running ------------------------------------------------------------------------------------------------


class TrialsFailed(RuntimeError):
    """Some trials failed; the others are finished and stored. `failures`: (trial, error) pairs."""

    def __init__(self, failures: Sequence[tuple[Trial, BaseException]], total: int) -> None:
        self.failures = list(failures)
        lines = [f"  {describe(trial)}: {type(error).__name__}: {error}" for trial, error in self.failures]
        super().__init__("\n".join([f"{len(lines)} of {total} trials failed; the others are stored.", *lines]))


def describe(trial: Trial, among: Sequence[Trial] = ()) -> str:
    """On one line, the settings that tell a trial from those `among`; by default, all that are not standard."""
    others = among if len(among) > 1 else [Trial("any")]
    parts = [
        f"{f.name}={getattr(trial, f.name)}"
        for f in fields(Trial)
        if any(getattr(trial, f.name) != getattr(other, f.name) for other in others)
    ]
    return " ".join(parts)


def run(
    trials: Sequence[Trial],
    store: Store | str | Path | None = None,
    engine: engines.Engine | str | None = None,
    progress: bool = True,
    allow_failures: bool = False,
    execute: Callable[..., dict[str, Any]] | None = None,
) -> pd.DataFrame:
    """Records of `trials`, one row each, in their order; what the store lacks is run first.

    engine : its name or itself; by default $BILP_ENGINE or local worker processes. A trial whose worker died is
             tried again (`retries` of the engine), one that raised an exception is not.
    execute : for tests: function(trial, path of the store) that stores and returns a record, in place of the work.
    A failed trial does not stop the others. Raises InputError before anything runs if a setting cannot work,
    TrialsFailed at the end if any failed; with `allow_failures` it warns and returns the rows there are.
    """
    store = store if isinstance(store, Store) else Store(store)
    unique = {trial.key: trial for trial in trials}
    found = {key: record for key, trial in unique.items() if (record := store.get(trial)) is not None}
    pending = [trial for key, trial in unique.items() if key not in found]
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
    folders = {t.data: stamp for t in trials if (stamp := _stamp(t.data)) is not None}
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
    for folder, stamp in folders.items():
        if _stamp(folder) != stamp:
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
    runner.submit(check, (pending,)).result()
    failures: Failures = []

    def prepare(work: Callable[..., Any], trials: list[Trial], key: Callable[[Trial], str], label: str) -> None:
        nonlocal pending
        broken = {key(trial): error for trial, error in _gather(runner, work, trials, where, label, show)}
        failures.extend((t, broken[key(t)]) for t in pending if key(t) in broken)
        pending = [t for t in pending if key(t) not in broken]

    scored = {t.score_key: t for t in pending if t.scored}
    missing = [t for key, t in scored.items() if store.scores(key) is None]
    prepare(compute_scores, missing, lambda t: t.score_key if t.scored else "", "scores")
    stages = dict(zip(pending, runner.submit(stage_keys, (pending, where)).result(), strict=True))
    staged = {t: stage for t, stage in stages.items() if stage}
    # the largest comes last and stays
    first = {key: t for t, (key, _) in sorted(staged.items(), key=lambda item: item[1][1])}
    prepare(prepare_stage, list(first.values()), lambda t: staged[t][0] if t in staged else "", "first stages")
    uses = Counter(t.synthetic_key for t in pending)
    shared = {t.synthetic_key: t for t in pending if uses[t.synthetic_key] > 1}
    missing = [t for key, t in shared.items() if not store.synthetic_path(key).exists()]
    prepare(share_synthetic, missing, lambda t: t.synthetic_key, "synthetic sets")
    return failures + _gather(runner, run_trial, pending, where, "trials", show)


def _gather(
    runner: engines.Engine, function: Callable[..., Any], trials: list[Trial], where: str, label: str, show: bool
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


def frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a record; mappings become JSON text, `accuracies` stays a list. For the curves see `curves`."""
    import pandas as pd

    rows = []
    for record in records:
        row = {name: value for name, value in record.items() if name != "curves"}
        for name, value in row.items():
            if isinstance(value, Mapping):
                row[name] = json.dumps(value, sort_keys=True)
        rows.append(row)
    columns = [f.name for f in fields(Trial)] if not rows else None
    return pd.DataFrame(rows, columns=columns)


def curves(records: pd.DataFrame, store: Store | str | Path | None = None) -> pd.DataFrame:
    """Loss curves of the evaluation networks of `records`: one row for each trial, network, epoch and split.

    Returns columns key, network (its number), epoch (trained so far), split ("train": the synthetic set as it was
    augmented, "test"), loss (the cross-entropy in nats; for "train" that of the protocol, see `Protocol.loss`) and
    accuracy (a fraction; NaN for train). Raises InputError for a trial whose evaluation kept none: they are kept with
    `evaluation={"test_every": epochs}`.
    """
    import pandas as pd

    store = store if isinstance(store, Store) else Store(store)
    rows = []
    for key in records["key"].unique():
        path = store.record_path(key)
        found = json.loads(path.read_text()).get("curves", {}) if path.is_file() else {}
        if not found.get("epoch"):
            raise InputError(
                f"trial {key} has no curves in {store.path}: its evaluation needs test_every, at most epochs"
            )
        points = zip(found["epoch"], found["train_loss"], found["test_loss"], found["test_accuracy"], strict=True)
        for epoch, *quantities in points:
            for network, (train, test, accuracy) in enumerate(zip(*quantities, strict=True)):
                rows.append((key, network, epoch, "train", train, math.nan))
                rows.append((key, network, epoch, "test", test, accuracy))
    return pd.DataFrame(rows, columns=["key", "network", "epoch", "split", "loss", "accuracy"])


def export(records: pd.DataFrame, path: str | Path) -> None:
    """Write records as a tidy CSV for book/results: accuracies joined by ';', a folder of data by its name only."""
    table = records.copy()
    table["data"] = [Path(name).name for name in table["data"]]
    table["accuracies"] = [";".join(f"{a:.4f}" for a in row) for row in table["accuracies"]]
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


# ---- the work, in a worker process --------------------------------------------------------------------------


def check(trials: Sequence[Trial]) -> None:
    """All that can be known to fail before anything long: names, options, networks, data sets (InputError)."""
    from . import distill, indicators, pruning, zca
    from .evaluate import protocol
    from .networks import evaluation_spec, network

    device()
    commit()
    for trial in trials:
        try:
            method = distill.make(trial.method, **trial.options)
            splits = _data(trial.data, trial.size)
            indicators.resolve(trial.criterion, splits.train.name, trial.score)
            zca.check(method.resolved(splits.train, trial.ipc).zca, splits.train.shape)
            needed = method.needs(trial.ipc, trial.init)
            judge = trial.evaluate_on or evaluation_spec(trial.network)
            nets = {s: network(s, splits.train.shape, splits.train.num_classes) for s in (trial.network, judge)}
            method.check(nets[trial.network])
            if adaptive_of(trial):
                distill.check_adaptive(method, nets[trial.network])
            factor = method.formation().factor
            protocol(trial.method, splits.test, judge, ipc=trial.ipc, factor=factor, **trial.evaluation).recipe()
            counts = splits.train.counts().tolist()
            if trial.stratum is not None and min(counts) < 10:
                raise InputError(f"stratum = {trial.stratum}: a class has only {min(counts)} samples, 10 are needed")
            left = min(count - pruning.removed(trial.ratio, count) for count in counts)
            if trial.stratum is None and left < needed:
                init = trial.init or method.default_init
                raise InputError(
                    f"ipc = {trial.ipc} with init {init!r} needs {needed} samples in each class: "
                    f"ratio {trial.ratio} leaves {left}"
                )
        except InputError as error:
            raise InputError(f"{error} (in the trial {describe(trial)})") from None


def device() -> str:
    """$BILP_DEVICE (cpu or cuda), or the GPU if there is one; prepared for $BILP_SPEED."""
    import torch

    from . import speed

    wanted = os.environ.get("BILP_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"BILP_DEVICE = {wanted!r}: must be auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("BILP_DEVICE = 'cuda', but PyTorch sees no GPU here")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    speed.prepare(place)
    return place


@lru_cache(maxsize=2)
def _data(name: str, size: int | None) -> Splits:
    from .data import load

    return load(name, size=size)


@lru_cache(maxsize=1)
def _train(name: str, size: int | None, whitening: str, place: str) -> ImageData:
    """The whole training split on a device, whitened by all its samples if the method wants that."""
    from .zca import whitened

    return whitened(_data(name, size).train.to(place), whitening)


def compute_scores(trial: Trial, where: str) -> None:
    """Scores of the whole training split, stored under the trial's score key; nothing if they are there."""
    from .indicators import timed_score

    store = Store(where)
    if store.scores(trial.score_key) is not None:  # another process was quicker
        return
    train = _data(trial.data, trial.size).train.to(device())
    with Unfinished(store.unfinished) as unfinished:
        scores, seconds = timed_score(
            train, trial.criterion, progress=engines.report, unfinished=unfinished, **trial.score
        )
        store.put_scores(trial.score_key, scores.numpy(), train.labels.cpu().numpy(), seconds)


def kept_indices(trial: Trial, train: ImageData, store: Store) -> Tensor:
    """Indices of the real samples that are left, int64."""
    import torch

    from .indicators import score
    from .pruning import keep, stratum

    labels = train.labels.cpu()
    if not trial.prunes:
        return torch.arange(len(train))
    if trial.criterion == "random":
        scores = score(train, "random", seed=trial.seed)
    else:
        stored = store.scores(trial.score_key)
        if stored is None:
            compute_scores(trial, str(store.path))
            stored = store.scores(trial.score_key)
        assert stored is not None
        scores = torch.from_numpy(stored[0])
    if trial.stratum is not None:
        return stratum(scores, labels, trial.stratum)
    return keep(scores, labels, trial.ratio, trial.drop)


def adaptive_of(trial: Trial) -> Adaptive | None:
    """The adaptive pruning of a trial, None if it has none. Raises InputError for a setting out of range."""
    from .adaptive import Adaptive

    return Adaptive(trial.adaptive, trial.lazy, trial.tails, trial.effect) if trial.adaptive else None


def make_synthetic(trial: Trial, where: str) -> SyntheticSet:
    """Score (or reuse), prune and distil; the set is stored under the trial's synthetic key, and reused."""
    from . import distill

    store = Store(where)
    stored = store.synthetic(trial.synthetic_key)
    if stored is not None:
        return stored
    method, train = _prepared(trial, store)
    with Unfinished(store.unfinished) as unfinished:
        made = distill.distill(
            method, train, trial.ipc, network=trial.network, init=trial.init, seed=trial.seed,
            adaptive=adaptive_of(trial), home=store.stages, progress=_part(0, 2), unfinished=unfinished,
        )  # fmt: skip
        made.save(store.synthetic_path(trial.synthetic_key))
    return made


def _prepared(trial: Trial, store: Store) -> tuple[Distiller, ImageData]:
    """The method, and the real samples that are left, on the device as the method wants to see them."""
    from . import distill

    plain = _data(trial.data, trial.size).train
    method = distill.make(trial.method, **trial.options).resolved(plain, trial.ipc)
    kept = kept_indices(trial, plain, store)
    return method, _train(trial.data, trial.size, method.zca, device()).subset(kept)


def stage_keys(trials: Sequence[Trial], where: str) -> list[tuple[str, int] | None]:
    """What stands for the first stage of each trial, and its size; None where its method has none, or its set is
    stored."""
    from .distill import METHODS

    store, keys = Store(where), []
    for trial in trials:
        stage = None
        if METHODS[trial.method].staged and not store.synthetic_path(trial.synthetic_key).exists():
            method, train = _prepared(trial, store)
            key = method.stage_key(train, trial.network)
            stage = (key, method.stage_size()) if key else None
        keys.append(stage)
    return keys


def prepare_stage(trial: Trial, where: str) -> None:
    """The first stage of a trial's method as a job: trials that share it run later, and find it."""
    store = Store(where)
    method, train = _prepared(trial, store)
    method.first_stage(train, trial.network, store.stages, engines.report)


def share_synthetic(trial: Trial, where: str) -> None:
    """`make_synthetic` as a job: nothing goes back to the caller, who may not have torch loaded."""
    make_synthetic(trial, where)


def run_trial(trial: Trial, where: str) -> dict[str, Any]:
    """Score (or reuse), prune, distil (or reuse), evaluate; the record is stored and returned.

    Its `seconds` are what this trial took; `timing` is what each part took when it was made, by this trial or
    by another that shares it: scores, the first stage (0 where there is none, and in `distil` as well where no job
    made it before), distillation and evaluation. `resolved` holds what the settings left to defaults. There are
    `curves` where the evaluation has `test_every`.
    """
    from .evaluate import evaluate, protocol
    from .indicators import resolve
    from .networks import evaluation_spec

    commit()  # of the code that is loaded now: the checkout may have moved on when the record is written
    store = Store(where)
    stored = store.get(trial)
    if stored is not None:  # another process was quicker
        return stored
    start = time.perf_counter()
    made = make_synthetic(trial, where)
    place = device()
    test = _data(trial.data, trial.size).test.to(place)
    judge = trial.evaluate_on or evaluation_spec(trial.network)
    recipe = protocol(
        trial.method, test, judge, ipc=trial.ipc, factor=made.formation.factor, learned_lr=made.meta.get("lr"),
        **trial.evaluation,
    )  # fmt: skip
    halfway = time.perf_counter()
    accuracies = evaluate(
        made, test, network=judge, protocol=recipe, repeats=trial.repeats, seed=trial.seed, progress=_part(1, 2)
    )
    end = time.perf_counter()
    scored = store.score_seconds(trial.score_key) if trial.scored else 0.0
    record = {
        **asdict(trial),
        "key": trial.key,
        "kept": made.meta["real_samples"],
        "accuracy": accuracies.mean,
        "std": accuracies.std,
        "accuracies": accuracies.values,
        "seconds": round(end - start, 3),
        "timing": {
            "score": round(scored, 3),
            "stage": made.meta.get("stage_seconds", 0.0),
            "distil": made.meta["seconds"],
            "evaluate": round(end - halfway, 3),
        },
        "resolved": {
            "init": made.meta["init"],
            "evaluate_on": judge,
            "options": made.meta["options"],
            "evaluation": asdict(recipe),
            "score": resolve(trial.criterion, test.name, trial.score) if trial.scored else {},
        },
        **provenance(place),
    }
    if recipe.test_every:
        record["curves"] = _at_tests(accuracies.curves)
    store.put(record)
    return record


def _at_tests(curves: Mapping[str, list]) -> dict[str, list]:
    """Curves at the tested epochs alone, to six digits: epoch [T], and [T][networks] of each quantity."""
    tested = curves["test_epoch"]
    found = {"train_loss": [curves["train_loss"][epoch] for epoch in tested]}
    found |= {name: curves[name] for name in ("test_loss", "test_accuracy")}
    short = {name: [[float(f"{x:.6g}") for x in row] for row in rows] for name, rows in found.items()}
    return {"epoch": [epoch + 1 for epoch in tested], **short}


def _part(index: int, count: int) -> Report:
    """Progress of one of several equal parts of a job."""

    def report(done: int, total: int, note: str = "") -> None:
        engines.report(int(1000 * (index + done / max(total, 1)) / count), 1000, note)

    return report


def provenance(place: str) -> dict[str, Any]:
    """Device, date (UTC), versions, commit and $BILP_SPEED: what a number has to carry."""
    import torch

    from . import speed

    name = torch.cuda.get_device_name() if place.startswith("cuda") else _cpu()
    return {
        "device": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"bilp_core": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        "commit": commit(),
        "speed": speed.mode(),
    }


def _cpu() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"CPU, {os.cpu_count()} cores, {model}"


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the checkout this library runs from, with '-dirty' if changed; its version elsewhere."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return __version__
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return answer.stdout.strip() or __version__
