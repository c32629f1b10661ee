"""Halves of a data set that was decoded into files, as images that stay on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import complete
from .images import ImageData
from .stored import Stored


def half(folder: Path, split: str, about: Mapping[str, Any], *, held: int = 0, **facts: Any) -> ImageData:
    """One half, 'train' or 'test', of the data set in `folder`.

    about : what its about.json says, see `complete.opened`. held : bytes up to which images are read into memory.
    facts : fields of `ImageData` beside images, labels, classes and files.
    """
    labels = torch.from_numpy(np.load(folder / f"{split}_labels.npy", allow_pickle=False))
    names = np.load(folder / f"{split}_names.npy", mmap_mode="r", allow_pickle=False)
    found = complete.kept(folder, split)
    rows = None if found is None else torch.from_numpy(found)
    images = Stored(folder / f"{split}_images.npy", rows)
    if rows is not None:
        labels, names = labels[rows], names[found]
    classes = tuple(about["classes"])
    return ImageData(images[:] if images.nbytes <= held else images, labels, classes, files=names, **facts)
