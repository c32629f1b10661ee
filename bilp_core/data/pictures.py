"""Images in files by class and half, of a folder or a .zip, as parts of a large data set."""

from __future__ import annotations

import contextlib
import csv
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ..errors import InputError
from .decoding import opened
from .large import BLOCK, Half, Source
from .listing import ANNOTATIONS

SIDE = 64
JOB = 8 * BLOCK  # files of one job
IMAGE = re.compile(r"(?:^|/)(train|val)/(.+)\.jpe?g$", re.IGNORECASE)


@dataclass(frozen=True)
class Pictures:
    """A `Part`. home : a folder, or a .zip. names : of files in it. resize : bring images to 64x64 as `Reading` does;
    else those of another size are refused."""

    home: str
    names: np.ndarray
    rows: np.ndarray
    resize: bool

    def read(self, blocks: Sequence[int]) -> Iterator[tuple[int, np.ndarray, dict[str, str]]]:
        with _contents(Path(self.home)) as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's name no file; what matters comes back as the reason
            for block in blocks:
                names = self.names[block * BLOCK : (block + 1) * BLOCK].tolist()
                pixels = np.zeros((len(names), 3, SIDE, SIDE), np.uint8)
                bad = {
                    name: why
                    for name, place in zip(names, pixels, strict=True)
                    if (why := self._one(content, name, place))
                }
                yield block, pixels, bad

    def _one(self, content: Callable[[str], bytes], name: str, place: np.ndarray) -> str:
        """Decode a file into `place`, uint8 [3, 64, 64]; why that cannot be done, or nothing."""
        try:
            found = opened(Path(name), SIDE if self.resize else None, content(name))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            return str(error)
        if isinstance(found, str):
            return found
        height, width = found.pixels.shape[:2]
        if found.top or (height, width) != (SIDE, SIDE):
            return "more than 8 bits a sample" if found.top else f"{width}x{height} pixels, not {SIDE}x{SIDE}"
        place[:] = found.pixels if found.pixels.ndim == 2 else found.pixels.transpose(2, 0, 1)
        return ""


@contextlib.contextmanager
def _contents(home: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from the name of a file to its bytes."""
    if home.is_dir():
        yield lambda name: (home / name).read_bytes()
    else:
        with unzipped(home) as archive:
            yield archive.read


def unzipped(path: Path) -> zipfile.ZipFile:
    """An archive to read from. Raises InputError where that cannot be done."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}): it is damaged or incomplete, get it again") from None


def pictures(
    home: Path, files: Sequence[str], texts: Mapping[str, str], *, resize: bool, about: Mapping[str, Any]
) -> Source:
    """train/<class>/[images/]* and val/<class>/[images/]*; or val/* or val/images/*, whose classes a list has.

    files : names of all files of `home`. texts : the lists that there are, by name; see `_listed`.
    Classes are in the order of their names. Raises InputError for a class that is in one half only, and for images of
    validation that are in no list, or only there.
    """
    halves: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    flat: dict[str, str] = {}
    for name in sorted(files):
        if match := IMAGE.search(name):
            *folders, stem = [part for part in match[2].split("/") if part != "images"]
            if folders:
                halves[match[1]].setdefault(folders[0], []).append(name)
            elif match[1] == "val":
                flat[stem] = name
    listed = _listed(home, texts) if flat else {}
    for stem in sorted(flat.keys() ^ listed.keys()):
        why = "is in no list of labels" if stem in flat else "is in the list of labels, and no such file is there"
        raise InputError(f"{home}: the validation image {stem!r} {why}")
    for stem, name in flat.items():
        halves["val"].setdefault(listed[stem], []).append(name)
    for here, there in (("train", "val"), ("val", "train")):
        if absent := sorted(halves[here].keys() - halves[there].keys()):
            raise InputError(
                f"{home}: class {absent[0]!r} has images in {here}, but none in {there} ({len(absent)} such)"
            )
    classes = tuple(sorted(halves["train"]))

    def half(found: dict[str, list[str]]) -> Half:
        names = np.array([name for c in classes for name in found[c]], np.str_)
        cut = np.split(np.arange(len(names)), range(JOB, len(names), JOB))
        parts = [Pictures(str(home), names[rows], rows, resize) for rows in cut]
        return Half(np.repeat(np.arange(len(classes)), [len(found[c]) for c in classes]), names, parts)

    made = {**about, "resized": "short side to 64, centre cut out" if resize else "", "pillow": PIL.__version__}
    return Source(classes, (3, SIDE, SIDE), half(halves["train"]), half(halves["val"]), made)


def _listed(home: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """The class of each validation image, by its name without suffix: from Tiny ImageNet's list (file, class, box;
    between tabs), or Kaggle's (image,'class box ...' with a header)."""
    for name, text in texts.items():
        if name.endswith(ANNOTATIONS):
            rows = [line.split("\t") for line in text.splitlines() if line.strip()]
        else:
            rows = [
                [image, *answer[:1]]
                for image, *rest in list(csv.reader(text.splitlines()))[1:]
                for answer in [" ".join(rest).split()]
            ]
        for number, row in enumerate(rows, 1):
            if len(row) < 2:
                raise InputError(f"{home}: row {number} of {Path(name).name} has no image and class")
        return {Path(row[0]).stem: row[1] for row in rows}
    raise InputError(
        f"{home}: validation images lie in one folder, and no list says their classes: put back {ANNOTATIONS} or "
        "LOC_val_solution.csv, or sort them into val/<class>/"
    )
