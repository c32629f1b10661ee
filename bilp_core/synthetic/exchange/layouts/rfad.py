"""RFAD: `best.npz` or `NUMBER.npz` with `images` [M, C, H, W] and `labels`; CIFAR is whitened."""

from __future__ import annotations

from pathlib import Path

from ....data.images import ImageData
from ....errors import InputError
from ..files import array_file, only
from ..layout import Layout, Raw, Told, own


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:
    path = only(paths, LAYOUT.files)
    if data.named == "svhn" and told.zca is None:
        raise InputError(
            f"{path}: RFAD brings each image of SVHN to length 1 before it whitens, which no map of all images does; "
            "such a set cannot be evaluated here"
        )
    found = array_file(path, "images", "labels")
    return Raw(found["images"], found["labels"], {"method": "rfad"})


LAYOUT = Layout(
    files="best.npz with images and labels",
    source="yolky/RFAD",
    read=read,
    labels="targets",
    stats=own,
    zca=lambda data: "none" if data.shape[0] == 1 else "channels",
)
