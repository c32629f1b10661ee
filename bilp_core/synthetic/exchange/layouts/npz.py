"""Ours, for NumPy: set.npz with `images` [M, C, H, W] and `labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....data.images import ImageData
from .. import plain
from ..files import array_file, only
from ..layout import Layout, Raw, Told, Written

NAME = "set.npz"


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    folder = only(paths, LAYOUT.files)
    about = plain.read_about(folder)
    found = array_file(folder / NAME, "images", "labels")
    zca = (found["zca_mean"], found["zca_matrix"]) if {"zca_mean", "zca_matrix"} <= set(found) else None
    return plain.raw(about, found["images"], found["labels"], zca)


def write(written: Written, folder: Path) -> list[Path]:
    about = written.synthetic
    arrays: dict[str, Any] = {"images": written.images.numpy(), "labels": written.labels.numpy()}
    if "lr" in about.meta:
        arrays["lr"] = np.float64(about.meta["lr"])
    if about.whitening:
        arrays |= {"zca_mean": about.whitening.mean.numpy(), "zca_matrix": about.whitening.matrix.numpy()}
    np.savez(folder / NAME, **arrays)
    return [folder / NAME, plain.write_about(written, "normalised", folder)]


LAYOUT = Layout(files="the folder of an own export: set.npz, about.json", source="", read=read, write=write)
