"""KIP: `.npz` with `images` [M, H, W, C] and `labels`; its name says whether they are whitened."""

from __future__ import annotations

from pathlib import Path

from ....data.images import ImageData
from ....errors import InputError
from ..files import array_file, only
from ..layout import Layout, Raw, Told, own
from .frepo import channels_first


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    path = only(paths, LAYOUT.files)
    if "_zca_" in path.name and told.zca is None:
        raise InputError(
            f"{path}: KIP brings each image to length 1 before it whitens, which no map of all images does; such a set "
            "cannot be evaluated here. Those of the name _nozca_ can"
        )
    found = array_file(path, "images", "labels")
    says = {"method": "kip"} | ({"zca": "none"} if "_nozca_" in path.name else {})
    return Raw(channels_first(found["images"], path), found["labels"], says)


LAYOUT = Layout(
    files="*_nozca_*.npz with images and labels",
    source="google-research/google-research, kip",
    read=read,
    labels="targets",
    stats=own,
    zca=lambda _: None,
)
