"""Kept indices in a file, with what they are indices of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ..data.images import ImageData
from ..data.samples import TRUST, belonging, check_belongs, read_about, sample_names, sample_prints
from ..errors import InputError
from ..utils.arrays import read_arrays
from ..utils.files import atomic

FORMAT = "bilp-kept-1"


def save_kept(
    path: str | Path, kept: Annotated[Tensor, "int64 [n]"], data: ImageData, made: Mapping[str, Any] | None = None
) -> None:
    """Write an .npy, whole or not at all: the indices, which `numpy.load` gives, and behind them, in the same file,
    JSON that says of which data, and the names and checksums of the samples kept.

    data : the whole training half that was pruned. made : how, JSON values: ratio, drop, scores.

    >>> import numpy as np
    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.pruning import load_kept, save_kept
    >>> train, test = load("digits")
    >>> save_kept("kept.npy", torch.arange(0, 1352, 2), train)
    >>> np.load("kept.npy").tolist() == load_kept("kept.npy", train).tolist() == list(range(0, 1352, 2))
    True
    """
    about = {"format": FORMAT, **belonging(data), "flip": data.flip, **(made or {})}
    indices = kept.cpu().numpy()
    with atomic(path) as temporary, temporary.open("wb") as file:
        for array in (indices, np.array(json.dumps(about)), sample_names(data)[indices], sample_prints(data)[indices]):
            np.save(file, array, allow_pickle=False)


def load_kept(path: str | Path, data: ImageData, trust: bool = False) -> Annotated[Tensor, "int64 [n]"]:
    """The kept indices of a file.

    data : the whole training half that they must be of. trust : take a plain array too, of which it is not known what
    it is of: indices, or true and false for each sample.
    Raises InputError that names the data which the indices are of, or what is wrong with the file.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.pruning import load_kept, save_kept
    >>> train, test = load("digits")
    >>> save_kept("kept.npy", torch.arange(10), train)
    >>> load_kept("kept.npy", train.subset(torch.arange(100)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: kept.npy holds indices of other data: 'digits' with 1352 samples ...
    """
    found = read_arrays(path)
    if not isinstance(found, list):
        raise InputError(f"{path} holds named arrays: it is not what `bilp prune` writes")
    if len(found) not in (1, 4):
        raise InputError(f"{path} holds {len(found)} arrays: it is not what `bilp prune` writes")
    kept, about = found[0], read_about(found[1], path, FORMAT) if len(found) == 4 else None
    if about:
        check_belongs(f"{path} holds indices of", about, found[2], found[3], data, kept, trust=trust)
    if kept.dtype == bool and kept.shape == (len(data),):
        kept = kept.nonzero()[0]
    if kept.ndim != 1 or not np.issubdtype(kept.dtype, np.integer) or not len(kept):
        raise InputError(
            f"{path} holds {kept.dtype} {list(kept.shape)}: must be one row of whole numbers, as `bilp prune` writes "
            f"it, or true and false for each of {len(data)} samples"
        )
    if kept.min() < 0 or kept.max() >= len(data):
        wrong = kept.max() if kept.max() >= len(data) else kept.min()
        raise InputError(f"{path}: index {wrong} is not in 0..{len(data) - 1}")
    if len(np.unique(kept)) < len(kept):
        raise InputError(f"{path}: some indices are there twice")
    if not about and not trust:
        raise InputError(
            f"{path} does not say which images its indices are of: it must be what `bilp prune` writes, or {TRUST}"
        )
    return torch.from_numpy(kept.astype(np.int64))
