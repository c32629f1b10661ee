"""Kinetics-400, as its public copies have it: videos, or the frames of clips, in folders of classes or with lists."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .clips import clips, is_image, shape_of
from .large import Half, Source
from .listing import VIDEOS
from .video import reader

FRAMES, SIDE = 8, 64
HALVES = {"train": ("train",), "val": ("val", "validate", "validation")}  # names of their folders and lists
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
FEW = 64  # videos for which no processes are started
WHERE = (
    "take the videos of training and validation (github.com/cvdfoundation/kinetics-dataset says where, some 450 GB) "
    "and put them into train/ and val/ of a folder kinetics-400 there, with its lists train.csv and val.csv, or in "
    "folders of classes; clips of 8 JPEG frames will do. Decoded, 215,617 clips take 21.2 GB"
)


@dataclass
class _Half:
    """classes : class -> names of its videos or folders of frames. missing : rows of the list without a file.
    unlisted : files without a row."""

    classes: dict[str, list[str]]
    missing: int = 0
    unlisted: list[str] = field(default_factory=list)


def source(root: Path, classes: int) -> Source:
    """What there is of the data set in the folder `root`.

    Files that cannot be read are to be skipped. classes : how many there must be.
    Raises InputError that says where to get it, or what is wrong with it.

    >>> from pathlib import Path
    >>> from bilp_core.data.kinetics import source
    >>> source(Path("data"), 400)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: kinetics-400 is not in 'data': take the videos of training and validation (github...
    """
    home = root / "kinetics-400"
    if not home.is_dir():
        raise InputError(f"kinetics-400 is not in {str(root)!r}: {WHERE}. Another place: --root or $BILP_DATA")
    train, val = (_half(home, half) for half in HALVES)
    for here, there, a, b in (("train", "val", train, val), ("val", "train", val, train)):
        if absent := sorted(a.classes.keys() - b.classes.keys()):
            raise InputError(f"{home}: class {absent[0]!r} is in {here}, and not in {there} ({len(absent)} such)")
    if len(train.classes) != classes:
        raise InputError(f"{home} has {len(train.classes)} classes: there must be {classes}; is it complete?")
    order = sorted(train.classes)
    if any(_suffix(name) in VIDEOS for half in (train, val) for names in half.classes.values() for name in names):
        reader()  # asked for before long work
    about: dict[str, Any] = {"from": "videos", "frames": FRAMES, "resized": "squeezed"}
    about |= {"missing": {"train": train.missing, "test": val.missing}}
    about |= {"unlisted": {"train": train.unlisted, "test": val.unlisted}}
    halves = _parts(home, train, order), _parts(home, val, order)
    return Source(tuple(order), shape_of(FRAMES, SIDE), *halves, about, skips=True, few=FEW)


def _parts(home: Path, half: _Half, order: Sequence[str]) -> Half:
    names = np.array([name for c in order for name in half.classes[c]], np.str_)
    labels = np.repeat(np.arange(len(order)), [len(half.classes[c]) for c in order])
    return Half(labels, names, clips(home, names, FRAMES, SIDE, squeezed=True))


def _half(home: Path, half: str) -> _Half:
    folder = next((home / name for name in HALVES[half] if (home / name).is_dir()), None)
    if folder is None:
        raise InputError(f"{home} has no folder {half}: {WHERE}")
    found = [path.relative_to(home).as_posix() for path in sorted(_media(folder))]
    if not found:
        raise InputError(f"{folder} holds neither videos ({', '.join(VIDEOS)}) nor folders of frames: {WHERE}")
    lists = [place / f"{name}.csv" for place in (home, home / "annotations") for name in HALVES[half]]
    if path := next((path for path in lists if path.is_file()), None):
        replaced = [path.relative_to(home).as_posix() for path in sorted(_media(home / "replacement"))]
        return _listed(path, found, replaced)
    classes: dict[str, list[str]] = {}
    for name in found:
        _, *between, _ = name.split("/")
        if not between:
            raise InputError(
                f"{home / name} is in no folder of a class, and no list has labels: put {lists[0].name} into {home}"
            )
        classes.setdefault(between[0], []).append(name)
    return _Half(classes)


def _media(folder: Path) -> Iterator[Path]:
    """Videos, and folders that hold images, at any depth."""
    if not folder.is_dir():
        return
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        videos = [name for name in files if _suffix(name) in VIDEOS and not name.startswith(".")]
        yield from (Path(place, name) for name in videos)
        if not videos and any(map(is_image, files)):
            yield Path(place)


def _listed(path: Path, found: Sequence[str], replaced: Sequence[str]) -> _Half:
    """By a list: a row a video, whose file is named by its video, start and end; those of `replaced` go before."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reading = csv.DictReader(file)
            columns, rows = reading.fieldnames or (), list(reading)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no list in UTF-8 ({error})") from None
    if absent := [name for name in COLUMNS if name not in columns]:
        raise InputError(f"{path} has no column {absent[0]!r}: must be {', '.join(COLUMNS)}, as the public lists have")
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name = _name(path, number, row)
        if labels.setdefault(name, row["label"]) != row["label"]:
            raise InputError(f"{path}: line {number} says that {name} is {row['label']!r}, and before {labels[name]!r}")
    files = {_stem(name): name for name in found}
    classes: dict[str, list[str]] = {}
    for name, own in ({**files, **{_stem(name): name for name in replaced}}).items():
        if name in labels:
            classes.setdefault(labels[name], []).append(own)
    if not classes:
        raise InputError(f"{path} names none of the {len(found)} files, such as {found[0]}: is it the list of these?")
    unlisted = [own for name, own in files.items() if name not in labels]
    return _Half(
        {c: sorted(names) for c, names in classes.items()}, len(labels) - sum(map(len, classes.values())), unlisted
    )


def _name(path: Path, number: int, row: Mapping[str, str]) -> str:
    try:
        if not row["label"]:
            raise ValueError
        return f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: line {number} has no label and youtube_id, or no time_start and time_end in whole seconds"
        ) from None


def _stem(name: str) -> str:
    last = name.rpartition("/")[2]
    return last[: -len(_suffix(last))] if _suffix(last) in VIDEOS else last


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
