"""The downsampled release of ImageNet: arrays in .npz files, as parts of a large data set."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError
from .large import BLOCK, Half, Source

SHAPE = (3, 64, 64)
VALUES = 3 * 64 * 64
TRAIN = tuple(f"train_data_batch_{number}.npz" for number in range(1, 11))
VAL = "val_data.npz"
WNIDS = "map_clsloc.txt"  # lines of wnid, label and name
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Batch:
    """A `Part`: the images of one file, `data` uint8 [n, 12288], the planes of red, green and blue."""

    path: str
    rows: np.ndarray

    def read(self, blocks: Sequence[int]) -> Iterator[tuple[int, np.ndarray, dict[str, str]]]:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open("data.npy") as file:
                _check(file, len(self.rows))
                for block in range(max(blocks) + 1):
                    count = min(BLOCK, len(self.rows) - block * BLOCK)
                    content = file.read(count * VALUES)  # a block at a time: all of them are 1.6 GB
                    if block in blocks:
                        yield block, np.frombuffer(content, np.uint8).reshape(count, *SHAPE), {}
                while file.read(1 << 20):  # the archive's checksum is compared at the end
                    pass
        except DAMAGED as error:
            raise InputError(f"{self.path} is damaged or incomplete ({error}): get it again") from None


def _check(file: IO[bytes], count: int) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if (shape, fortran, kind) != ((count, VALUES), False, np.uint8):
        raise ValueError(f"data is {kind} {list(shape)}, not uint8 [{count}, {VALUES}]")


def batches(home: Path, where: str) -> Source:
    """The ten batches of training and the one of validation, anywhere in `home`, sorted by class.

    where : how a user gets what is missing, for the message. Labels there begin at 1, in an order of their own: classes
    are in that order, and have the names that map_clsloc.txt gives them, else their numbers.
    Raises InputError for a file that is missing or damaged, and for a class that is in one half only.
    """
    paths = {path.name: path for path in sorted(home.rglob("*.npz"))}
    for name in (*TRAIN, VAL):
        if name not in paths:
            pickled = "" if paths else "; the release without 'npz' in its name is pickles, which are not read"
            raise InputError(f"{home} has no {name}{pickled}: {where}")
    labels = {name: _labels(paths[name]) for name in (*TRAIN, VAL)}
    known = np.unique(np.concatenate([labels[name] for name in TRAIN]))
    if absent := np.setxor1d(known, labels[VAL]).tolist():
        here, there = ("train", "val") if absent[0] in known else ("val", "train")
        raise InputError(f"{home}: class {absent[0]} has images in {here}, but none in {there} ({len(absent)} such)")

    def half(files: Sequence[str]) -> Half:
        every = np.searchsorted(known, np.concatenate([labels[file] for file in files]))
        order = np.argsort(every, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        cuts = np.cumsum([len(labels[file]) for file in files])[:-1]
        parts = [Batch(str(paths[file]), rows) for file, rows in zip(files, np.split(place, cuts), strict=True)]
        origin = [f"{Path(file).stem}/{number}" for file in files for number in range(len(labels[file]))]
        return Half(every[order], np.array(origin, np.str_)[order], parts)

    about = {"from": "npz", "bytes": {name: paths[name].stat().st_size for name in labels}}
    return Source(_classes(home, known.tolist()), SHAPE, half(TRAIN), half([VAL]), about)


def _labels(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return np.asarray(file["labels"], np.int64)
    except DAMAGED as error:
        raise InputError(f"{path} is damaged, or no batch of the downsampled release ({error}): get it again") from None


def _classes(home: Path, labels: Sequence[int]) -> tuple[str, ...]:
    path = next(iter(sorted(home.rglob(WNIDS))), None)
    if path is None:
        return tuple(map(str, labels))
    rows = [line.split() for line in path.read_text("utf-8").splitlines()]
    names = {row[1]: row[0] for row in rows if len(row) > 1}
    for label in labels:
        if str(label) not in names:
            raise InputError(f"{path} has no line for class {label}: lines are wnid, label and name")
    return tuple(names[str(label)] for label in labels)
