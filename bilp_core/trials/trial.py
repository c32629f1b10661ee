"""A trial: the settings of one experiment with one seed, and the keys that stand for them."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..utils import files, revisions

ADAPTIVE = ("adaptive", "lazy", "tails", "effect", "law")  # the fields of adaptive pruning
LEAST = {"ipc": 1, "repeats": 1, "seed": 0, "splits": 1, "stop": 0, "plateau": 0}
YOUNGER = ("law", "splits", "stop", "plateau")  # fields that older records lack: in a key where not at the default
# DM's `effects`, at one and at several images a class, said here, too, since keys do without torch
OF_DM = ("fine", "fine:top=4")


@dataclass(frozen=True)
class Trial:
    """One experiment with one seed.

    data, size   : a data set's name or a folder; pixels to resize a folder's images to.
    method, ipc, init, network, options : the distillation; options are the method's hyper-parameters.
    criterion, ratio, drop, score : the pruning: indicator, share removed, which end, the indicator's options.
    stratum      : keep this tenth of each class by score (0 = smallest) instead of pruning by `ratio`.
    adaptive, lazy, tails, effect, law : the share of each real batch that adaptive pruning drops by ITE (0: none), the
                   steps of a class a decision serves, which end goes, how the ITE is found, and whose law says where
                   the ends are: see `Adaptive`.
    splits       : parts of the classes that are distilled apart, each as a job of its own, and joined; see `Part`.
    stop, plateau : rounds after which the distillation ends early (0: never), see `EarlyStop`.
    evaluate_on, repeats, evaluation : the network (None: the distillation network, BatchNorm replaced), how many
                   of it, and changes to the protocol.
    seed         : of the distillation, of the evaluation, and of random pruning. Indicators use seed 0 always, so
                   that trials share one ranking, as in the paper.
    Raises InputError for a setting of another type or out of range; what depends on the data, `run` checks first.

    >>> from bilp_core.trials import Trial
    >>> trial = Trial("digits", method="dm", criterion="loss", ratio=0.5)
    >>> trial.key == Trial("digits", method="dm", criterion="loss", ratio=0.50, drop="largest").key
    True
    >>> trial.score_key == Trial("digits", criterion="loss", ratio=0.9, seed=7).score_key  # one ranking for both
    True
    >>> Trial("digits", ratio=1)
    Traceback (most recent call last):
    bilp_core.errors.InputError: ratio = 1.0: the share removed must be in [0, 1)
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
    effect: str = "auto"
    law: str = "running"
    splits: int = 1
    stop: int = 0
    plateau: int = 0
    score: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _typed(f.name, getattr(self, f.name), str(f.type)))
        if not 0 <= self.ratio < 1:
            raise InputError(f"ratio = {self.ratio}: the share removed must be in [0, 1)")
        for name, least in LEAST.items():
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name} = {value}: must be at least {least}")
        if self.drop not in ("largest", "smallest"):
            raise InputError(f"drop = {self.drop!r}: must be 'largest' or 'smallest'")
        if self.stratum is not None and not 0 <= self.stratum < 10:
            raise InputError(f"stratum = {self.stratum}: must be from 0 to 9")
        if self.stratum is not None and self.ratio:
            raise InputError(f"stratum = {self.stratum} with ratio = {self.ratio}: choose one of the two")
        if not 0 <= self.adaptive < 1:
            raise InputError(f"adaptive = {self.adaptive}: the share dropped from a batch must be in [0, 1)")
        if self.effect == "auto":
            object.__setattr__(self, "effect", self._named_effect)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the settings."""
        return _hash(self._canonical(), (*self._set_parts, "protocol"))

    @property
    def score_key(self) -> str:
        """Stands for what decides the scores; random ones differ by seed."""
        parts = {name: getattr(self, name) for name in ("data", "size", "criterion", "score")}
        seed = self.seed if self.criterion == "random" else 0
        return _hash({**parts, **surroundings(self.data), "seed": seed}, self._score_parts)

    @property
    def synthetic_key(self) -> str:
        """Stands for what decides the synthetic set, whatever evaluates it."""
        settings = self._canonical()
        for name in ("evaluate_on", "repeats", "evaluation"):
            del settings[name]
        return _hash(settings, self._set_parts)

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The parts of the library that decide its numbers, see `utils.revisions`."""
        return (*replace(self, init=self.start)._set_parts, "protocol")

    def outdated(self, made: Mapping[str, int]) -> bool:
        """Whether a part was revised since a record of it was made.

        made : the record's `revisions`. A part that it does not name is younger, and was at revision 1.

        >>> from bilp_core.trials import Trial
        >>> Trial("digits").outdated({"core": 1}), Trial("digits").outdated({"method:of tomorrow": 1})
        (True, False)
        """
        return bool(revisions.differing(dict.fromkeys(self._own_parts, 1) | {**made}))

    @property
    def _set_parts(self) -> tuple[str, ...]:
        return (*(self._score_parts if self.prunes else self._data_parts), *self._own_parts)

    @property
    def _own_parts(self) -> tuple[str, ...]:
        """Of the parts, those that its settings name: neither data nor indicator, and not what all rest on."""
        init = self.start if revisions.any_of("init:") else self.init or ""
        pruning = ["adaptive", *(["effects"] if self.effect == "auto" else [])] if self.adaptive else []
        return (f"method:{self.method}", f"init:{init}", *pruning)

    @property
    def _score_parts(self) -> tuple[str, ...]:
        return (*self._data_parts, f"indicator:{self.criterion}")

    @property
    def _data_parts(self) -> tuple[str, ...]:
        return ("core", f"data:{'folder' if folder_stamp(self.data) else self.data}")

    @property
    def start(self) -> str:
        """Where the images start: `init`, or what the method has by default."""
        if self.init:
            return self.init
        from ..distillers import METHODS  # with torch, which keys do without as long as no start was revised

        return METHODS[self.method].default_init if self.method in METHODS else ""

    @property
    def prunes(self) -> bool:
        return self.ratio > 0 or self.stratum is not None

    @property
    def scored(self) -> bool:
        """Whether it needs scores that other trials may share."""
        return self.prunes and self.criterion != "random"

    @property
    def _named_effect(self) -> str:
        """What auto stands for where that is settled; named, as in records from before there was auto."""
        if self.adaptive and self.method == "dm":
            return OF_DM[self.ipc > 1]
        return "auto" if self.adaptive and self.ipc > 1 else "sketch"

    def _canonical(self) -> dict[str, Any]:
        return {**self.settings, **surroundings(self.data)}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, but the default wherever a setting makes no difference: the same work, the same key."""
        settings = asdict(self)
        if not self.prunes:
            settings |= {"criterion": "random", "score": {}}
        if self.ratio == 0 or self.criterion == "random":
            settings["drop"] = "largest"
        # what makes no difference leaves no trace: records from before there were these fields stay valid
        for name in ADAPTIVE if not self.adaptive else ():
            del settings[name]
        for name in YOUNGER:
            if settings.get(name) == getattr(Trial, name):
                del settings[name]
        return settings

    @property
    def parts(self) -> list[PartTrial]:
        """The jobs that make its synthetic set where the classes are split; none where they are not."""
        own = {f.name: getattr(self, f.name) for f in fields(Trial)}
        return [PartTrial(**own, part=number + 1) for number in range(self.splits)] if self.splits > 1 else []


@dataclass(frozen=True)
class PartTrial(Trial):
    """The share of a trial with `splits` that makes the set of one part of the classes; it has no record."""

    part: int = 1

    __hash__ = Trial.__hash__

    @property
    def parts(self) -> list[PartTrial]:
        return []


def surroundings(data: str) -> dict[str, Any]:
    """What decides the numbers beside the settings: what is in the folder, and $BILP_SPEED (none for the default)."""
    speed = os.environ.get("BILP_SPEED") or "auto"
    return {"folder": folder_stamp(data)} | ({} if speed == "auto" else {"speed": speed})


@lru_cache(maxsize=8)
def folder_stamp(data: str) -> str | None:
    """Stands for the content of a folder, so that a changed folder makes new trials; None for a named data set.

    Taken once and kept until `forget_folders`, which whoever begins a run calls: then all of its keys agree.
    """
    folder = Path(data).expanduser()
    if not data or not folder.is_dir():
        return None
    from ..data import DATASETS, folders  # with torch, which trials of a named data set can do without here

    if data in DATASETS:
        return None
    try:
        return folders.folder_identity(folder, folders.Reading())[:16]
    except InputError:
        return None  # said by `check`, before anything runs


def forget_folders() -> None:
    """Look at folders of images again: what is in them may have changed."""
    folder_stamp.cache_clear()


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
    wanted = {"int": "a whole number", "float": "a number", "str": "a name"}.get(kind, "a mapping of options")
    raise InputError(f"{name} = {value!r}: must be {wanted}")


def _plain(name: str, value: Any) -> Any:
    if getattr(value, "shape", None) == ():
        value = value.item()  # a NumPy scalar
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.12g}")  # 0.1 + 0.2 is 0.3
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InputError(f"{name} = {value!r}: must be a finite number, a text, true or false")


def _hash(settings: Mapping[str, Any], parts: Sequence[str]) -> str:
    return files.key({"revision": revisions.revision("core"), **settings, **revisions.changed(parts)})


def grid(**axes: Any) -> list[Trial]:
    """All combinations: a list, tuple or range is an axis, anything else is fixed. Last axis varies fastest.

    Raises InputError for an unknown field, naming those there are.

    >>> from bilp_core.trials import grid
    >>> [(trial.method, trial.ratio, trial.seed) for trial in grid(data="digits", method=["dc", "dm"], ratio=(0, 0.5))]
    [('dc', 0.0, 0), ('dc', 0.5, 0), ('dm', 0.0, 0), ('dm', 0.5, 0)]
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


def describe(trial: Trial, among: Sequence[Trial] = ()) -> str:
    """On one line, the settings that tell a trial from those `among`; by default, all that are not standard.

    >>> from bilp_core.trials import Trial, describe, grid
    >>> describe(Trial("digits", ipc=10))
    'data=digits ipc=10'
    >>> trials = grid(data="digits", ipc=10, seed=range(2))
    >>> [describe(trial, trials) for trial in trials]
    ['seed=0', 'seed=1']
    """
    others = among if len(among) > 1 else [Trial("any")]
    parts = [
        f"{f.name}={getattr(trial, f.name)}"
        for f in fields(trial)
        if any(getattr(trial, f.name) != getattr(other, f.name, None) for other in others)
    ]
    return " ".join(parts)
