"""IDC: `data.pt`, a list of images, pixels in [0, 1] or a little beyond, and labels; an image may stand for several."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ....data.images import ImageData
from ....errors import InputError
from ..files import only, torch_file
from ..layout import Layout, Raw, Told, Written, cifar100_as_cifar10
from ..writing import hard, natural


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    path = only(paths, LAYOUT.files)
    found = torch_file(path)
    if not isinstance(found, list | tuple) or len(found) != 2 or not all(isinstance(one, Tensor) for one in found):
        raise InputError(f"{path}: must be a list of two tensors, images and labels")
    return Raw(found[0], found[1], {"method": "idc"})


def write(written: Written, folder: Path) -> list[Path]:
    path = folder / "data.pt"
    torch.save([natural(written), hard(written, "idc")], path)
    return [path]


LAYOUT = Layout(
    files="data.pt: [images, labels]",
    source="snu-mllab/Efficient-Dataset-Condensation",
    read=read,
    write=write,
    values="pixels",
    stats=cifar100_as_cifar10,
    asks=("factor",),
)
