"""The work of a trial, in a worker process: score, prune, distil, evaluate.

The caller names these functions and does not import them, since it may do without torch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .. import distillers, engines, indicators
from ..data import whitening
from ..data.datasets import load
from ..data.images import ImageData, Splits
from ..distillers.method import Distiller
from ..distillers.parts import check_part
from ..distillers.stopping import EarlyStop
from ..errors import InputError
from ..evaluation.accuracies import evaluate
from ..evaluation.protocols import protocol
from ..indicators import resolve, score, scored
from ..nets.networks import check_frames, evaluation_spec, network
from ..pruning.adaptive import Adaptive
from ..pruning.classwise import keep, removed, stratum
from ..synthetic.set import SyntheticSet
from ..utils.files import Unfinished
from ..utils.progress import Report
from ..utils.revisions import numbers
from .provenance import commit, device, provenance
from .store import Store
from .trial import PartTrial, Trial, describe, folder_stamp, forget_folders


def check(trials: Sequence[Trial]) -> None:
    """All that can be known to fail before anything long: names, options, networks, data sets (InputError)."""
    forget_folders()
    device()
    commit()
    for trial in trials:
        try:
            method = distillers.make(trial.method, **trial.options)
            splits = _data(trial)
            distillers.check_augment(method, trial.options, splits.train)
            indicators.resolve(trial.criterion, splits.train, trial.score)
            whitening.check(method.resolved(splits.train, trial.ipc).zca, splits.train.shape)
            needed = method.needs(trial.ipc, trial.init)
            judge = trial.evaluate_on or evaluation_spec(trial.network)
            nets = {s: network(s, splits.train.shape, splits.train.num_classes) for s in (trial.network, judge)}
            for spec in nets:
                check_frames(spec, splits.train.frames)
            method.check(nets[trial.network])
            _check_shortened(trial, method.resolved(splits.train, trial.ipc), splits.train)
            if adaptive_of(trial):
                distillers.check_adaptive(method, nets[trial.network], adaptive_of(trial))
            factor = method.formation().factor
            protocol(trial.method, splits.test, judge, ipc=trial.ipc, factor=factor, **trial.evaluation).recipe()
            counts = splits.train.counts().tolist()
            if trial.stratum is not None and min(counts) < 10:
                raise InputError(f"stratum = {trial.stratum}: a class has only {min(counts)} samples, 10 are needed")
            left = min(count - removed(trial.ratio, count) for count in counts)
            if trial.stratum is None and left < needed:
                init = trial.init or method.default_init
                raise InputError(
                    f"ipc = {trial.ipc} with init {init!r} needs {needed} samples in each class: "
                    f"ratio {trial.ratio} leaves {left}"
                )
        except InputError as error:
            raise InputError(f"{error} (in the trial {describe(trial)})") from None


def _check_shortened(trial: Trial, method: Distiller, train: ImageData) -> None:
    """Raise InputError for classes that cannot be split so, and for a stop that stops nothing."""
    if trial.splits > 1:
        check_part(method, trial.network, train, adaptive_of(trial))
        distillers.Part(1, trial.splits).classes(train.num_classes)
    if trial.stop >= method.iterations:
        raise InputError(
            f"stop = {trial.stop}: {trial.method} has {method.iterations} rounds; a stop must come before the last"
        )


def _data(trial: Trial) -> Splits:
    return _loaded(trial.data, trial.size, folder_stamp(trial.data))


@lru_cache(maxsize=2)
def _loaded(name: str, size: int | None, stamp: str | None) -> Splits:
    found = load(name, size=size)
    if folder_stamp.__wrapped__(name) != stamp:  # what is made of it would be kept under the key of other images
        raise InputError(f"{name} was changed while it was read: run the trials again")
    return found


def _train(trial: Trial, kind: str) -> ImageData:
    """The whole training split on the device, whitened by all its samples if the method wants that."""
    return _placed(trial.data, trial.size, folder_stamp(trial.data), kind, device())


@lru_cache(maxsize=1)
def _placed(name: str, size: int | None, stamp: str | None, kind: str, place: str) -> ImageData:
    return whitening.whitened(_loaded(name, size, stamp).train.to(place), kind)


def compute_scores(trial: Trial, where: str) -> None:
    """Scores of the whole training split, stored under the trial's score key; nothing if they are there."""
    forget_folders()
    store = Store(where)
    if store.scores(trial.score_key) is not None:  # another process was quicker
        return
    train = _data(trial).train.to(device())
    kept = Unfinished(store.scoring)  # and not cleared: scores of more trials go on from there
    found = scored(train, trial.criterion, progress=engines.report, unfinished=kept, **trial.score)
    of_trials = {name: values.numpy() for name, values in found.of_trials().items()}
    labels = train.labels.cpu().numpy()
    store.put_scores(trial.score_key, found.values.numpy(), labels, found.seconds, **of_trials)


def kept_indices(trial: Trial, train: ImageData, store: Store) -> Tensor:
    """Indices of the real samples that are left, int64."""
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
    return Adaptive(trial.adaptive, trial.lazy, trial.tails, trial.effect, trial.law) if trial.adaptive else None


def early_of(trial: Trial) -> EarlyStop | None:
    """When the distillation of a trial ends early, None if it does not."""
    return EarlyStop(trial.stop, trial.plateau) if trial.stop or trial.plateau else None


def make_synthetic(trial: Trial, where: str) -> SyntheticSet:
    """Score (or reuse), prune and distil; the set is stored under the trial's synthetic key, and reused.

    Where the classes are split, the set is joined of those of the parts, which are made here if no job has made them.
    """
    store = Store(where)
    stored = store.synthetic(trial.synthetic_key)
    if stored is not None:
        return stored
    if trial.parts:
        made = distillers.joined([make_synthetic(part, where) for part in trial.parts])
        made.save(store.synthetic_path(trial.synthetic_key))
        return made
    method, train = _prepared(trial, store)
    with Unfinished(store.unfinished) as unfinished:
        made = distillers.distill(
            method, train, trial.ipc, network=trial.network, init=trial.init, seed=trial.seed,
            adaptive=adaptive_of(trial), home=store.stages, progress=_part(0, 2), unfinished=unfinished,
            part=distillers.Part(trial.part, trial.splits) if isinstance(trial, PartTrial) else None,
            early=early_of(trial),
        )  # fmt: skip
        made.save(store.synthetic_path(trial.synthetic_key))
    return made


def _prepared(trial: Trial, store: Store) -> tuple[Distiller, ImageData]:
    """The method, and the real samples that are left, on the device as the method wants to see them."""
    plain = _data(trial).train
    method = distillers.make(trial.method, **trial.options).resolved(plain, trial.ipc)
    kept = kept_indices(trial, plain, store)
    return method, _train(trial, method.zca).subset(kept)


def stage_keys(trials: Sequence[Trial], where: str) -> list[tuple[str, int] | None]:
    """What stands for the first stage of each trial, and its size; None where its method has none, or its set is
    stored."""
    forget_folders()
    store, keys = Store(where), []
    for trial in trials:
        stage = None
        if distillers.METHODS[trial.method].staged and not store.synthetic_path(trial.synthetic_key).exists():
            method, train = _prepared(trial, store)
            found = method.first_stage(train, trial.network)
            stage = (found.key, found.size) if found else None
        keys.append(stage)
    return keys


def prepare_stage(trial: Trial, where: str) -> None:
    """The first stage of a trial's method as a job: trials that share it run later, and find it."""
    forget_folders()
    store = Store(where)
    method, train = _prepared(trial, store)
    stage = method.first_stage(train, trial.network)
    assert stage is not None
    stage.make(store.stages, engines.report)


def share_synthetic(trial: Trial, where: str) -> None:
    """`make_synthetic` as a job: nothing goes back to the caller, who may not have torch loaded."""
    forget_folders()
    make_synthetic(trial, where)


def run_trial(trial: Trial, where: str) -> dict[str, Any]:
    """Score (or reuse), prune, distil (or reuse), evaluate; the record is stored and returned.

    Its `seconds` are what this trial took; `timing` is what each part took when it was made, by this trial or
    by another that shares it: scores, the first stage (0 where there is none, and in `distil` as well where no job
    made it before), distillation and evaluation. `resolved` holds what the settings left to defaults, `revisions` the
    parts of the library that it rests on, `stamp` stands for the content of a folder of data. There are `curves` where
    the evaluation has `test_every`.
    """
    forget_folders()
    commit()  # of the code that is loaded now: the checkout may have moved on when the record is written
    store = Store(where)
    stored = store.get(trial)
    if stored is not None:  # another process was quicker
        return stored
    start = time.perf_counter()
    made = make_synthetic(trial, where)
    place = device()
    splits = _data(trial)
    test = splits.test.to(place)
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
    scoring = store.score_seconds(trial.score_key) if trial.scored else 0.0
    record = {
        **asdict(trial),
        "key": trial.key,
        "stamp": folder_stamp(trial.data),
        "revisions": numbers(replace(trial, init=made.meta["init"]).rests_on),
        "kept": made.meta["real_samples"],
        "accuracy": accuracies.mean,
        "std": accuracies.std,
        "accuracies": accuracies.values,
        "seconds": round(end - start, 3),
        "timing": {
            "score": round(scoring, 3),
            "stage": made.meta.get("stage_seconds", 0.0),
            "distil": made.meta["seconds"],
            "evaluate": round(end - halfway, 3),
        },
        "resolved": {
            "init": made.meta["init"],
            "evaluate_on": judge,
            "options": made.meta["options"],
            "evaluation": asdict(recipe),
            "score": resolve(trial.criterion, splits.train, trial.score) if trial.scored else {},
            **({"rounds": made.meta["rounds"]} if "rounds" in made.meta else {}),
            **({"dropped": made.meta["adaptive"]["dropped"]} if "adaptive" in made.meta else {}),
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
