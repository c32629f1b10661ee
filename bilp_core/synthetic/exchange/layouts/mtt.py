"""MTT: `images_best.pt` and `labels_best.pt`, a tensor each; the learning rate that was learned is in no file."""

from __future__ import annotations

from pathlib import Path

import torch

from ....data.images import ImageData
from ....errors import InputError
from ..files import named, tensor_file
from ..layout import Layout, Raw, Told, Written, cifar100_as_cifar10, without_none
from ..writing import hard, normalised


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    """Images of the name `images_zca_*` were turned back into pixels by the repository."""
    found = named(paths, "images", "labels", "lr")
    for name in ("images", "labels"):
        if name not in found:
            raise InputError(f"there is no {name}_*.pt among {', '.join(map(str, paths))}")
    lr = float(tensor_file(found["lr"])) if "lr" in found else None
    values = "pixels" if found["images"].name.startswith("images_zca_") else None
    images, labels = tensor_file(found["images"]), tensor_file(found["labels"])
    return Raw(images, labels, without_none({"lr": lr, "values": values, "method": "mtt"}))


def write(written: Written, folder: Path) -> list[Path]:
    return save(folder, images=normalised(written, LAYOUT), labels=hard(written, "mtt"), lr=rate(written))


def rate(written: Written) -> torch.Tensor | None:
    lr = written.synthetic.meta.get("lr")
    return None if lr is None else torch.tensor(float(lr))


def save(folder: Path, **tensors: torch.Tensor | None) -> list[Path]:
    """NAME_best.pt of each that there is."""
    paths = []
    for name, tensor in tensors.items():
        if tensor is not None:
            paths.append(folder / f"{name}_best.pt")
            torch.save(tensor.clone(), paths[-1])
    return paths


LAYOUT = Layout(
    files="images_best.pt and labels_best.pt, or images_NUMBER.pt and so on, or their folder",
    source="GeorgeCazenavette/mtt-distillation",
    read=read,
    write=write,
    stats=cifar100_as_cifar10,
    zca=lambda _: None,
    asks=("lr",),
)
