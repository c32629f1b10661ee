"""A folder of somebody's own videos: its clips are decoded once, as large data are, and stay on the disk where they are
many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..utils.progress import Report
from . import complete, large
from .cache import cache_home, place
from .clips import clips, shape_of
from .folders import Reading, changed, identity_of
from .halves import half
from .images import Splits, measured
from .listing import Listing
from .stored import Stored

FEW = 64  # videos for which no processes are started
HELD = 1 << 28  # bytes up to which the clips of a half are held in memory


def films(found: Listing, reading: Reading, progress: Report | None = None) -> tuple[Splits, dict[str, str]]:
    """The clips of a folder of videos, and the videos that cannot be read, which are left out, with the reasons.

    Decoded into the cache where they are not there yet, by the files' content: see `large.decode`, which also says what
    is raised. Whether unreadable ones may be left out (`skip_bad`) makes no other data of them.
    """
    seen = replace(reading, skip_bad=False)
    identity = identity_of(found, seen, progress)
    folder = place(cache_home(), f"clips {identity}")
    about = complete.opened(folder) or large.decode(folder, lambda: _source(found, seen, identity), progress)
    with contextlib.suppress(OSError):  # of somebody else
        os.utime(folder / "about.json")  # `bilp cache` goes by the time of the last use
    facts = {"name": found.root.resolve().name, "mean": tuple(about["mean"]), "std": tuple(about["std"])}
    halves = (half(folder, split, about, held=HELD, frames=about["frames"], **facts) for split in complete.HALVES)
    return Splits(*halves), {file: why for files in about["skipped"].values() for file, why in files.items()}


def _source(found: Listing, reading: Reading, identity: str) -> large.Source:
    frames, side = reading.length(found), reading.side

    def part(classes: Mapping[str, list[str]]) -> large.Half:
        names = np.array([file for files in classes.values() for file in files], np.str_)
        labels = np.repeat(np.arange(len(found.classes)), [len(classes.get(name, ())) for name in found.classes])
        return large.Half(labels, names, clips(found.root, names, frames, side, squeezed=False))

    def finish(folder: Path) -> dict[str, Any]:
        if identity_of(found, reading) != identity:  # else it would be kept as what it no longer is
            (folder / "plan").unlink()
            raise InputError(changed(found.root))
        split = "train" if found.train else "test"
        rows = complete.kept(folder, split)
        images = Stored(folder / f"{split}_images.npy", None if rows is None else torch.from_numpy(rows))
        mean, std = measured(images, frames)
        return {"mean": mean, "std": std, "frames": frames}

    about = {"identity": identity, "from": "videos", "frames": frames}
    return large.Source(
        found.classes, shape_of(frames, side), part(found.train), part(found.test), about, skips=True, few=FEW,
        elsewhere="$BILP_CACHE", finish=finish,
    )  # fmt: skip
