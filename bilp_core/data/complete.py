"""Large data sets that were decoded: opened, compared with their checksums, and what they lack of their source.

Their files are those of `bilp_core.data.large`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..utils.progress import Report
from .rows import layout

FORMAT = 1
HALVES = ("train", "test")


def opened(folder: Path) -> dict[str, Any] | None:
    """What about.json says of a data set that is complete; None where there is none.

    Raises InputError for one of another version, and where a file is missing or has another size.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        shapes = {half: tuple(about["shapes"][f"{half}_images"]) for half in HALVES}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder / 'about.json'} is damaged; {remedy(folder)}") from None
    if about.get("format") != FORMAT:
        raise InputError(
            f"{folder} is of format {about.get('format')!r}, this version reads {FORMAT}; {remedy(folder)}"
        )
    for half, shape in shapes.items():
        files = {"images": shape, "labels": shape[:1], "names": shape[:1], "prints": shape[:1]}
        if skipped := about.get("skipped", {}).get(half):
            files["rows"] = (shape[0] - len(skipped),)
        for name, wanted in files.items():
            try:
                found = layout(folder / f"{half}_{name}.npy")[0]
            except InputError as error:
                raise InputError(f"{error}; {remedy(folder)}") from None
            if found != wanted:
                raise InputError(f"{half}_{name}.npy is {list(found)}, not {list(wanted)}; {remedy(folder)}")
    return about


def left_out(about: Mapping[str, Any]) -> list[str]:
    """What a complete data set lacks of its source, a sentence each. about : see `opened`."""
    said = []
    for half, count in about["shapes"].items():
        name = half.partition("_")[0]
        skipped, source = about.get("skipped", {}).get(name, {}), about["source"]
        if skipped:
            said.append(
                f"{len(skipped):,} of the {count[0]:,} files of the {name} half cannot be read and are left out"
            )
        if missing := source.get("missing", {}).get(name, 0):
            said.append(f"{missing:,} rows of the {name} half's list have no file")
        if unlisted := source.get("unlisted", {}).get(name, []):
            said.append(f"{len(unlisted):,} files of the {name} half are in no list, the first {unlisted[0]}")
    return said


def remedy(folder: Path) -> str:
    return f"remove the folder {folder}, and the next run decodes the data again"


def kept(folder: Path, half: str) -> np.ndarray | None:
    """int64 : the rows of a half that are images, None for all of them."""
    path = folder / f"{half}_rows.npy"
    return np.load(path, allow_pickle=False) if path.is_file() else None


def damaged(folder: Path, half: str, progress: Report | None = None) -> np.ndarray:
    """int64 : the images of a half that are not what was written; all of them are read."""
    images, prints = (np.load(folder / f"{half}_{name}.npy", mmap_mode="r") for name in ("images", "prints"))
    size, bad = images[:1].nbytes, []
    with (folder / f"{half}_images.npy").open("rb") as file:
        file.seek(images.offset)
        for index, wanted in enumerate(prints.tolist()):
            if zlib.crc32(file.read(size)) != wanted:
                bad.append(index)
            if progress and index % 20000 == 0:
                progress(index, len(prints), f"checking the {half} half")
    return np.array(bad, np.int64)
