"""Ours, for PyTorch: images.pt, labels.pt and, where one was learned, lr.pt, as DD-Ranking and others take them."""

from __future__ import annotations

from pathlib import Path

import torch

from ....data.images import ImageData
from ....errors import InputError
from .. import plain
from ..files import only, tensor_file, torch_file
from ..layout import Layout, Raw, Told, Written


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    folder = only(paths, LAYOUT.files)
    about = plain.read_about(folder)
    zca = None
    if (folder / "zca.pt").exists():
        found = torch_file(folder / "zca.pt")
        if not isinstance(found, dict) or set(found) != {"mean", "matrix"}:
            raise InputError(f"{folder / 'zca.pt'}: must be a dictionary of mean and matrix")
        zca = (found["mean"], found["matrix"])
    return plain.raw(about, tensor_file(folder / "images.pt"), tensor_file(folder / "labels.pt"), zca)


def write(written: Written, folder: Path) -> list[Path]:
    about = written.synthetic
    holds = {"images.pt": written.images.clone(), "labels.pt": written.labels.clone()}
    if "lr" in about.meta:
        holds["lr.pt"] = torch.tensor(float(about.meta["lr"]))
    if about.whitening:
        holds["zca.pt"] = {"mean": about.whitening.mean, "matrix": about.whitening.matrix}  # type: ignore[assignment]
    for name, value in holds.items():
        torch.save(value, folder / name)
    return [*(folder / name for name in holds), plain.write_about(written, "normalised", folder)]


LAYOUT = Layout(
    files="the folder of an own export: images.pt, labels.pt, about.json", source="", read=read, write=write
)
