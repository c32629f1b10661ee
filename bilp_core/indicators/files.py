"""Scores in a file, with what they are scores of."""

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
from .scoring import Scored

FORMAT = "bilp-scores-1"


def save_scores(
    path: str | Path,
    scores: Tensor | Scored,
    data: ImageData,
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write an .npz, whole or not at all: scores and labels, names and checksums of the samples, each [N], and
    `about`, JSON. Of a `Scored` with trials also `spread` and `count`, each [N].

    scores : float [N], or what `scored` returns. data : the whole training half that was scored.
    made   : how, JSON values: indicator, options, seed.

    >>> from bilp_core import load, score
    >>> from bilp_core.indicators import load_scores, save_scores
    >>> train, test = load("digits")
    >>> save_scores("scores.npz", score(train, "random", seed=1), train, {"indicator": "random", "seed": 1})
    >>> scores, about = load_scores("scores.npz", train)
    >>> scores.shape, about["data"], about["seed"]
    (torch.Size([1352]), 'digits', 1)
    """
    about = {"format": FORMAT, **belonging(data), "flip": data.flip, **(made or {})}
    values, of_trials = (scores.values, scores.of_trials()) if isinstance(scores, Scored) else (scores, {})
    more: dict[str, Any] = {name: numbers.numpy() for name, numbers in of_trials.items()}
    with atomic(path) as temporary:
        np.savez_compressed(  # names of equal width are mostly air
            temporary,
            scores=values.cpu().numpy(),
            **more,
            labels=data.labels.cpu().numpy(),
            names=sample_names(data),
            prints=sample_prints(data),
            about=np.array(json.dumps(about)),
        )


def load_scores(
    path: str | Path, data: ImageData, trust: bool = False
) -> tuple[Annotated[Tensor, "float [N]"], dict[str, Any]]:
    """The scores of a file, and what it says of them (nothing, if it is no file of `save_scores`).

    data : the whole training half that they must be of. trust : take plain scores, of which it is not known what they
    are of, too: an .npz with `scores` and `labels`, or one row in an .npy.
    Raises InputError that names the data which the scores are of, or what is wrong with the file.

    >>> import numpy as np
    >>> from bilp_core import load
    >>> from bilp_core.indicators import load_scores
    >>> train, _ = load("digits")
    >>> np.save("foreign.npy", np.zeros(1352))
    >>> load_scores("foreign.npy", train)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: foreign.npy holds a single array, which does not say what it is of: ...
    >>> load_scores("foreign.npy", train, trust=True)[0].shape
    torch.Size([1352])
    """
    found = read_arrays(path)
    if isinstance(found, list):
        if not trust or len(found) > 1:
            raise InputError(f"{path} holds a single array, which does not say what it is of: {_expected(len(found))}")
        found = {"scores": found[0], "labels": data.labels.cpu().numpy()}
    for name in ("scores", "labels"):
        if name not in found:
            raise InputError(f"{path} holds no array {name!r}: it is not what `bilp score` writes")
    scores, labels = found["scores"], found["labels"]
    if scores.ndim != 1 or not _real(scores.dtype):
        raise InputError(f"{path} holds scores {scores.dtype} {list(scores.shape)}: must be one row of real numbers")
    about = read_about(found["about"], path, FORMAT) if {"about", "names", "prints"} <= found.keys() else None
    if about:
        check_belongs(f"{path} holds scores of", about, found["names"], found["prints"], data, trust=trust)
    if scores.shape != labels.shape or not np.array_equal(labels, data.labels.cpu().numpy()):
        raise InputError(f"{path} holds scores of {len(scores)} samples of other data: its labels do not match DATA")
    if not about and not trust:
        raise InputError(f"{path} does not say which images its scores are of: {_expected(1)}")
    return torch.from_numpy(scores if scores.dtype.kind == "f" else scores.astype(np.float64)), about or {}


def _real(kind: np.dtype) -> bool:
    return np.issubdtype(kind, np.floating) or np.issubdtype(kind, np.integer)


def _expected(arrays: int) -> str:
    made = "it must be what `bilp score` writes"
    return f"{made}, or {TRUST}" if arrays == 1 else made
