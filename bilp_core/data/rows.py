"""Arrays in files, of which some rows are read or written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import InputError


def runs(rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Neighbours among row numbers, int [n]: where each run begins in `rows`, its first row, and how many they are.

    >>> import numpy as np
    >>> from bilp_core.data.rows import runs
    >>> list(runs(np.array([7, 8, 9, 3, 4])))
    [(0, 7, 3), (3, 3, 2)]
    """
    bounds = np.flatnonzero(np.diff(rows, prepend=-2, append=-2) != 1).tolist()
    for start, stop in pairwise(bounds):
        yield start, int(rows[start]), stop - start


def layout(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of the array in an .npy, and the byte where it begins. InputError for a damaged or short file."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is missing, damaged or too short ({error})") from None
    whole = array.offset + array.nbytes
    if path.stat().st_size != whole:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes where its header says {whole:,}")
    return array.shape, array.dtype, array.offset
