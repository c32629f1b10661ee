"""Which samples a file speaks of, so that scores and indices are never used with others."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .images import ImageData, pieces, sample_print

SHOWN = 5  # class names that a message lists
BELONGING = ("data", "samples", "shape", "classes", "fingerprint")
TRUST = "--trust-indices (in Python: trust=True) takes it as it is"


def sample_names(data: ImageData) -> np.ndarray:
    """[N] texts: the path of each sample in its folder, its index where it has none.

    >>> from bilp_core import load
    >>> from bilp_core.data.samples import sample_names
    >>> sample_names(load("digits").train)[:3].tolist()
    ['0', '1', '2']
    """
    return np.array([str(name) for name in (range(len(data)) if data.files is None else data.files)], dtype=np.str_)


def sample_prints(data: ImageData) -> np.ndarray:
    """uint32 [N]: a checksum of each sample's pixels, which tells the ones that changed."""
    parts = (part.cpu().numpy() for part in pieces(data.images))
    return np.array([zlib.crc32(image.tobytes()) for part in parts for image in part], dtype=np.uint32)


def belonging(data: ImageData) -> dict[str, Any]:
    """What a file that is about these samples says of them, JSON values.

    They are known by their pixels and labels. How networks see them (normalised, whitened, mirrored) is no part of
    that: an index means the same sample.

    >>> from bilp_core import load
    >>> from bilp_core.data.samples import belonging
    >>> about = belonging(load("digits").train)
    >>> about["data"], about["samples"], about["shape"], about["classes"][:2]
    ('digits', 1352, [1, 8, 8], ['0', '1'])
    """
    return {
        "data": data.name,
        "samples": len(data),
        "shape": list(data.shape),
        "classes": list(data.classes),
        "fingerprint": sample_print(data),
    }


def read_about(array: np.ndarray, path: str | Path, format: str) -> dict[str, Any]:
    """What a file says of its samples and itself. Raises InputError for another format."""
    try:
        about = json.loads(str(array[()]))
        found = about["format"] if {*BELONGING} <= about.keys() else None
    except (ValueError, AttributeError, KeyError):
        found = None
    if found != format:
        raise InputError(f"{path} is of format {found!r}, this version reads {format!r}")
    return about


def check_belongs(
    what: str, about: Mapping[str, Any], names: np.ndarray, prints: np.ndarray, data: ImageData,
    of: np.ndarray | None = None, *, trust: bool = False,
) -> None:  # fmt: skip
    """Raise InputError where `data` are not the samples that a file is about.

    what : the file and what it holds, for the message. names, prints : of the samples at the indices `of`, of all if
    None. trust : images of another size are let pass if classes and names are the same.
    """
    mine = belonging(data)
    same = {key: about[key] == mine[key] for key in BELONGING}
    if same["fingerprint"] and same["classes"]:
        return
    here = dict(enumerate(sample_names(data).tolist()))
    there = dict(zip(range(len(names)) if of is None else of.tolist(), names.tolist(), strict=False))
    other = next((index for index, name in there.items() if here.get(index) != name), None)
    resized = same["samples"] and same["classes"] and not same["shape"] and other is None
    if resized and trust:
        return
    own = dict(enumerate(sample_prints(data).tolist()))
    changed = next((i for i, mark in zip(there, prints.tolist(), strict=False) if own.get(i) != mark), None)
    if other is not None:
        why = f"the first sample that differs is {there[other]} there and {here.get(other, 'none')} here"
    elif not same["shape"]:
        why = f"its images are {_by(about['shape'])}, these {_by(mine['shape'])}{f'; {TRUST}' if resized else ''}"
    elif changed is not None:
        why = f"the first sample that differs is {there[changed]}: it has the same name and other pixels"
    else:
        why = "these are the same and others are not"
    raise InputError(f"{what} other data: {_words(about)}, not {_words(mine)}; {why}")


def _by(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _words(about: Mapping[str, Any]) -> str:
    classes = about["classes"]
    listed = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    return f"{about['data']!r} with {about['samples']} samples of {len(classes)} classes ({listed})"
