"""SRe2L: a folder of JPEGs a class, `new000/class000_id000.jpg`; the number is that of the class."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ....data.images import ImageData
from ....errors import InputError
from ..files import only, pictures
from ..layout import Layout, Raw, Told, seen

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:
    """Folders may have the names of the classes, too."""
    files, labels = of_classes(only(paths, LAYOUT.files), told.classes or data.classes)
    return Raw(pictures(files, data.shape[0]), torch.tensor(labels), {"method": "sre2l"})


def of_classes(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """The images of all sub-folders, class by class, and the number of each one's class."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; must be a folder with one of images for each class")
    files, labels = [], []
    for sub in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")):
        number = re.fullmatch(r"new(\d+)", sub.name)
        if sub.name not in classes and not number:
            raise InputError(f"{sub}: its name is no class of the data, nor new and the number of one")
        label = classes.index(sub.name) if sub.name in classes else int(number[1])  # type: ignore[index]
        found = sorted(one for one in sub.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith("."))
        files += found
        labels += [label] * len(found)
    if not files:
        raise InputError(f"{folder} has no images in sub-folders")
    order = sorted(range(len(files)), key=lambda i: (labels[i], files[i].name))
    return [files[i] for i in order], [labels[i] for i in order]


LAYOUT = Layout(
    files="a folder of class folders: new000/class000_id000.jpg",
    source="VILA-Lab/SRe2L",
    read=read,
    values="pixels",
    stats=seen,
)
