"""Trials: what to run, the records of what ran, and the store that keeps them.

A trial is one seed of one setting: score, prune, distil, evaluate. Its record is stored by the process that made
it the moment it is finished, so a stopped or killed run goes on where it was. Two processes may share a store:
they may do a trial twice, but every file is written whole, and both would write the same numbers.
Nothing here imports torch until a trial runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, engines
from .errors import InputError
from .files import atomic
from .progress import Progress, Report

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

REVISION = 1  # raised when the library changes so that stored numbers are no longer what it would give
MAPPINGS = ("score", "options", "evaluation")


@dataclass(frozen=True)
class Trial:
    """One experiment with one seed.

    data, size   : a data set's name or a folder; pixels to resize a folder's images to.
    method, ipc, init, network, options : the distillation; options are the method's hyper-parameters.
    criterion, ratio, drop, score : the pruning: indicator, share removed, which end, the indicator's options.
    stratum      : keep this tenth of each class by score instead (0 = smallest), `ratio` aside.
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

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the settings."""
        return _hash(asdict(self))

    @property
    def score_key(self) -> str:
        """Stands for what decides the scores; random ones differ by seed."""
        parts = {name: getattr(self, name) for name in ("data", "size", "criterion", "score")}
        return _hash({**parts, "seed": self.seed if self.criterion == "random" else 0})

    @property
    def synthetic_key(self) -> str:
        """Stands for what decides the synthetic set, whatever evaluates it."""
        settings = asdict(self)
        for name in ("evaluate_on", "repeats", "evaluation"):
            del settings[name]
        return _hash(settings)

    @property
    def prunes(self) -> bool:
        return self.ratio > 0 or self.stratum is not None


def _typed(name: str, value: Any, kind: str) -> Any:
    optional = kind.endswith("| None")
    kind = kind.removesuffix(" | None")
    if value is None and optional:
        return None
    trap = ""
    if isinstance(value, str) and kind in ("int", "float"):
        trap = " (YAML reads 1e3 as text: write 1.0e+3)"
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("Mapping") and isinstance(value, Mapping):
        return {str(key): value[key] for key in sorted(value)}
    raise InputError(f"{name} = {value!r}: must be of type {kind.partition('[')[0]}{trap}")


def _hash(settings: Mapping[str, Any]) -> str:
    text = json.dumps({"revision": REVISION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    values = [list(v) if isinstance(v, list | tuple | range) else [v] for v in axes.values()]
    return [Trial(**dict(zip(axes, combination, strict=True))) for combination in itertools.product(*values)]


# ---- the store ----------------------------------------------------------------------------------------------


class Store:
    """A folder: records/<key>.json, scores/<key>.npz, synthetic/<key>.safetensors. $BILP_STORE or "records"."""

    def __init__(self, path: str | Path | None = None) -> None:
        # absolute, since a chapter's kernel may work in another folder than its workers
        self.path = Path(path or os.environ.get("BILP_STORE") or default_store()).absolute()

    def record_path(self, key: str) -> Path:
        return self.path / "records" / f"{key}.json"

    def scores_path(self, key: str) -> Path:
        return self.path / "scores" / f"{key}.npz"

    def synthetic_path(self, key: str) -> Path:
        return self.path / "synthetic" / f"{key}.safetensors"

    def get(self, trial: Trial) -> dict[str, Any] | None:
        """The record of a trial, None if there is none. A damaged file is moved aside with a warning."""
        path = self.record_path(trial.key)
        try:
            record = json.loads(path.read_text())
            if record["key"] != trial.key or not record["accuracies"]:
                raise ValueError("it is of another trial")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            path.replace(path.with_suffix(".corrupt"))
            warnings.warn(f"record {path} is damaged ({error}); moved aside, the trial runs again", stacklevel=2)
            return None
        return record

    def put(self, record: Mapping[str, Any]) -> None:
        with atomic(self.record_path(record["key"])) as path:
            path.write_text(json.dumps(record, indent=1))

    def scores(self, key: str) -> "tuple[np.ndarray, np.ndarray] | None":
        """Scores and labels stored under a key."""
        import zipfile

        import numpy as np

        try:
            with np.load(self.scores_path(key), allow_pickle=False) as file:
                return file["scores"], file["labels"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None  # absent or damaged: it is computed again

    def put_scores(self, key: str, scores: "np.ndarray", labels: "np.ndarray") -> None:
        import numpy as np

        with atomic(self.scores_path(key)) as path:
            np.savez(path, scores=scores, labels=labels)


def default_store() -> Path:
    """`records` in the project's root, or in the working folder outside the project."""
    from .paths import root

    try:
        return root() / "records"
    except InputError:
        return Path("records")


# ---- running ------------------------------------------------------------------------------------------------


class TrialsFailed(RuntimeError):
    """Some trials failed; the others are finished and stored. `failures`: (trial, error) pairs."""

    def __init__(self, failures: Sequence[tuple[Trial, BaseException]], total: int) -> None:
        self.failures = list(failures)
        lines = [f"  {describe(trial)}: {type(error).__name__}: {error}" for trial, error in self.failures]
        super().__init__("\n".join([f"{len(lines)} of {total} trials failed; the others are stored.", *lines]))


def describe(trial: Trial) -> str:
    """The settings that differ from the defaults, on one line."""
    standard = Trial(trial.data)
    parts = [
        f"{f.name}={getattr(trial, f.name)}"
        for f in fields(Trial)
        if f.name in ("data", "method", "seed") or getattr(trial, f.name) != getattr(standard, f.name)
    ]
    return " ".join(parts)


def run(
    trials: Sequence[Trial],
    store: Store | str | Path | None = None,
    engine: engines.Engine | str | None = None,
    progress: bool = True,
    allow_failures: bool = False,
    execute: Callable[..., dict[str, Any]] | None = None,
) -> "pd.DataFrame":
    """Records of `trials`, one row each, in their order; what the store lacks is run first.

    engine : its name or itself; by default $BILP_ENGINE or local worker processes.
    A failed trial does not stop the others. Raises InputError before anything runs if a setting cannot work,
    TrialsFailed at the end if any failed and not `allow_failures`.
    """
    store = store if isinstance(store, Store) else Store(store)
    unique = {trial.key: trial for trial in trials}
    pending = [trial for trial in unique.values() if store.get(trial) is None]
    failures: list[tuple[Trial, BaseException]] = []
    if pending:
        failures = _run_pending(pending, store, engine, progress, execute)
    if failures and not allow_failures:
        raise TrialsFailed(failures, len(unique))
    records = [record for trial in trials if (record := store.get(trial)) is not None]
    return frame(records)


def _run_pending(
    pending: list[Trial],
    store: Store,
    engine: engines.Engine | str | None,
    progress: bool,
    execute: Callable[..., dict[str, Any]] | None,
) -> list[tuple[Trial, BaseException]]:
    runner = engines.engine(engine) if isinstance(engine, str) or engine is None else engine
    where = str(store.path)
    try:
        if execute is None:
            runner.submit(check, (pending,)).result()
            scored = {t.score_key: t for t in pending if t.prunes and t.criterion != "random"}
            missing = [t for key, t in scored.items() if store.scores(key) is None]
            unscored = _gather(runner, compute_scores, missing, where, "scores", progress)
            failed = {trial.score_key: error for trial, error in unscored}
        else:
            failed = {}
        able = [t for t in pending if t.score_key not in failed or not t.prunes]
        lost = [(t, failed[t.score_key]) for t in pending if t not in able]
        return lost + _gather(runner, execute or run_trial, able, where, "trials", progress)
    except KeyboardInterrupt:
        runner.close()
        raise


def _gather(
    runner: engines.Engine, function: Callable, trials: list[Trial], where: str, label: str, show: bool
) -> list[tuple[Trial, BaseException]]:
    """Run function(trial, where) for each; returns the failures."""
    failures: list[tuple[Trial, BaseException]] = []
    if not trials:
        return failures
    with Progress(label, every=None) as bar:
        if show:
            bar.line(f"{label}: {len(trials)} to run")
        share: dict[str, float] = {}
        done = 0

        def following(key: str) -> Report:
            def report(part: int, whole: int, note: str = "") -> None:
                share[key] = part / max(whole, 1)
                if show:
                    bar(min(done + sum(share.values()), len(trials)), len(trials), note)

            return report

        futures = {runner.submit(function, (t, where), following(t.key)): t for t in trials}
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                trial = futures[future]
                share.pop(trial.key, None)
                done += 1
                try:
                    future.result()
                    outcome = "done"
                except CancelledError:
                    raise KeyboardInterrupt from None
                except Exception as error:
                    failures.append((trial, error))
                    outcome = f"FAILED: {error}"
                if show:
                    bar(done, len(trials), "")
                    bar.line(
                        f"{label}: {done}/{len(trials)} {outcome}: {describe(trial)}{bar.times(done, len(trials))}"
                    )
    return failures


def frame(records: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """One row a record; mappings become JSON text, `accuracies` stays a list."""
    import pandas as pd

    rows = []
    for record in records:
        row = dict(record)
        for name in (*MAPPINGS, "versions", "timing"):
            if isinstance(row.get(name), Mapping):
                row[name] = json.dumps(row[name], sort_keys=True)
        rows.append(row)
    columns = [f.name for f in fields(Trial)] if not rows else None
    return pd.DataFrame(rows, columns=columns)


def export(records: "pd.DataFrame", path: str | Path) -> None:
    """Write records as a tidy CSV for book/results: accuracies joined by ';'."""
    table = records.copy()
    table["accuracies"] = [";".join(f"{a:.4f}" for a in row) for row in table["accuracies"]]
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


# ---- the work, in a worker process --------------------------------------------------------------------------


def check(trials: Sequence[Trial]) -> None:
    """All that can be known to fail before anything long: names, options, networks, data sets (InputError)."""
    from . import distill, indicators, pruning
    from .evaluate import protocol
    from .networks import evaluation_spec, network

    for trial in trials:
        try:
            distill.make(trial.method, **trial.options)
            splits = _data(trial.data, trial.size)
            indicators.resolve(trial.criterion, splits.train.name, trial.score)
            if trial.init is not None and trial.init not in (inits := _inits()):
                raise InputError(f"init = {trial.init!r}: must be one of {', '.join(inits)}")
            judge = trial.evaluate_on or evaluation_spec(trial.network)
            for spec in {trial.network, judge}:
                network(spec, splits.train.shape, splits.train.num_classes)
            protocol(trial.method, splits.test, judge, **trial.evaluation).recipe()
            counts = splits.train.counts().tolist()
            if trial.stratum is not None and min(counts) < 10:
                raise InputError(f"stratum = {trial.stratum}: a class has only {min(counts)} samples, 10 are needed")
            left = min(count - pruning.removed(trial.ratio, count) for count in counts)
            init = trial.init or distill.METHODS[trial.method].default_init
            if init != "noise" and trial.stratum is None and left < trial.ipc:
                raise InputError(
                    f"ipc = {trial.ipc} with init {init!r}: ratio {trial.ratio} leaves {left} samples in a class"
                )
        except InputError as error:
            raise InputError(f"{error} (in the trial {describe(trial)})") from None


def _inits() -> tuple[str, ...]:
    from .synthetic import INITS

    return INITS


def device() -> str:
    """$BILP_DEVICE (cpu or cuda), or the GPU if there is one."""
    import torch

    wanted = os.environ.get("BILP_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"BILP_DEVICE = {wanted!r}: must be auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("BILP_DEVICE = 'cuda', but PyTorch sees no GPU here")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


@lru_cache(maxsize=2)
def _data(name: str, size: int | None) -> Any:
    from .data import load

    return load(name, size=size)


def compute_scores(trial: Trial, where: str) -> None:
    """Scores of the whole training split, stored under the trial's score key."""
    from .indicators import score

    train = _data(trial.data, trial.size).train.to(device())
    seed = trial.seed if trial.criterion == "random" else 0
    scores = score(train, trial.criterion, seed=seed, progress=engines.report, **trial.score)
    Store(where).put_scores(trial.score_key, scores.numpy(), train.labels.cpu().numpy())


def kept_indices(trial: Trial, train: Any, store: Store) -> Any:
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
        if stored is None or len(stored[0]) != len(train) or (torch.from_numpy(stored[1]) != labels).any():
            compute_scores(trial, str(store.path))
            stored = store.scores(trial.score_key)
        assert stored is not None
        scores = torch.from_numpy(stored[0])
    if trial.stratum is not None:
        return stratum(scores, labels, trial.stratum)
    return keep(scores, labels, trial.ratio, trial.drop)


def run_trial(trial: Trial, where: str) -> dict[str, Any]:
    """Score (or reuse), prune, distil (or reuse), evaluate; the record is stored and returned."""
    from . import distill
    from .evaluate import evaluate, protocol
    from .networks import evaluation_spec
    from .synthetic import SyntheticSet

    store, place = Store(where), device()
    clock = [time.perf_counter()]
    splits = _data(trial.data, trial.size)
    train, test = splits.train.to(place), splits.test.to(place)
    kept = kept_indices(trial, train, store)
    clock.append(time.perf_counter())
    path = store.synthetic_path(trial.synthetic_key)
    made = None
    if path.exists():
        try:
            made = SyntheticSet.load(path)
        except InputError:
            path.unlink(missing_ok=True)  # damaged: made again
    if made is None:
        method = distill.make(trial.method, **trial.options)
        made = distill.distill(
            method, train.subset(kept), trial.ipc,
            network=trial.network, init=trial.init, seed=trial.seed, progress=_part(0, 2),
        )  # fmt: skip
        made.save(path)
    clock.append(time.perf_counter())
    judge = trial.evaluate_on or evaluation_spec(trial.network)
    accuracies = evaluate(
        made, test, network=judge, protocol=protocol(trial.method, test, judge, **trial.evaluation),
        repeats=trial.repeats, seed=trial.seed, progress=_part(1, 2),
    )  # fmt: skip
    clock.append(time.perf_counter())
    prune, distillation, evaluation = (round(b - a, 3) for a, b in itertools.pairwise(clock))
    record = {
        **asdict(trial),
        "key": trial.key,
        "kept": len(kept),
        "accuracy": accuracies.mean,
        "std": accuracies.std,
        "accuracies": accuracies.values,
        "seconds": round(clock[-1] - clock[0], 3),
        "timing": {"prune": prune, "distil": distillation, "evaluate": evaluation},
        **provenance(place),
    }
    store.put(record)
    return record


def _part(index: int, count: int) -> Report:
    """Progress of one of several equal parts of a job."""

    def report(done: int, total: int, note: str = "") -> None:
        engines.report(int(1000 * (index + done / max(total, 1)) / count), 1000, note)

    return report


def provenance(place: str) -> dict[str, Any]:
    """Device, date (UTC), versions and commit: what a number has to carry."""
    import torch

    name = torch.cuda.get_device_name() if place.startswith("cuda") else _cpu()
    return {
        "device": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"bilp_core": __version__, "python": platform.python_version(), "torch": torch.__version__},
        "commit": commit(),
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
