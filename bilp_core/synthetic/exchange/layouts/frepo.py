"""FRePo: `step*.npz` with `image` [M, H, W, C] and learned `label`; colour images are whitened."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ....data.images import ImageData
from ....errors import InputError
from ..files import array_file, only
from ..layout import Layout, Raw, Told


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    path = only(paths, LAYOUT.files)
    if path.is_dir() or path.name.startswith("checkpoint"):
        raise InputError(
            f"{path}: a checkpoint of flax is not read; the run writes its last images to np/step*.npz beside it"
        )
    found = array_file(path, "image", "label")
    return Raw(channels_first(found["image"], path), found["label"], {"method": "frepo"})


def channels_first(images: Tensor, path: Path) -> Tensor:
    if images.ndim != 4:
        raise InputError(f"{path}: images {list(images.shape)} must be [M, H, W, C]")
    return images.permute(0, 3, 1, 2).contiguous()


LAYOUT = Layout(
    files="np/step*.npz with image and label",
    source="yongchaoz/FRePo",
    read=read,
    labels="targets",
    zca=lambda data: "none" if data.shape[0] == 1 else "relative",
)
