"""Which samples a file speaks of, so that scores and indices are never used with others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .images import ImageData, sample_print

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


def read_about(array: np.ndarray) -> dict[str, Any] | None:
    """What a file says of its samples and itself; None where the array holds no such thing."""
    try:
        about = json.loads(str(array[()]))
        return about if {"format", *BELONGING} <= about.keys() else None
    except (ValueError, AttributeError):
        return None


def check_belongs(
    what: str, about: Mapping[str, Any], names: np.ndarray, data: ImageData, of: np.ndarray | None = None,
    *, trust: bool = False,
) -> None:  # fmt: skip
    """Raise InputError where `data` are not the samples that a file is about.

    what : the file and what it holds, for the message. names : of the samples at the indices `of`, of all if None.
    trust : other pixels are let pass if classes, number and names are the same, as at another size.
    """
    mine = belonging(data)
    same = {key: about[key] == mine[key] for key in BELONGING}
    if same["fingerprint"] and same["classes"]:
        return
    here = dict(enumerate(sample_names(data).tolist()))
    there = zip(range(len(names)) if of is None else of.tolist(), names.tolist(), strict=False)
    other = next(((name, here.get(index, "none")) for index, name in there if here.get(index) != name), None)
    alike = same["samples"] and same["classes"] and other is None
    if alike and trust:
        return
    if other:
        why = f"the first sample that differs is {other[0]} there and {other[1]} here"
    elif not same["shape"]:
        why = f"its images are {_by(about['shape'])}, these {_by(mine['shape'])}"
    else:
        why = "the samples are called the same, their images or labels are others" if alike else "these are more"
    remedy = f"; if only size or depth differ, {TRUST}" if alike else ""
    raise InputError(f"{what} other data: {_words(about)}, not {_words(mine)}; {why}{remedy}")


def _by(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _words(about: Mapping[str, Any]) -> str:
    classes = about["classes"]
    listed = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    return f"{about['data']!r} with {about['samples']} samples of {len(classes)} classes ({listed})"
