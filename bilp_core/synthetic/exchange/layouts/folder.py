"""Ours, to look at and for any loader of images: train/CLASS/NUMBER.png, the number that of the image in the set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ....data.images import ImageData
from ....errors import InputError
from .. import plain
from ..files import array_file, only, pictures
from ..layout import Layout, Raw, Told, Written
from ..writing import natural

BESIDE = "set.npz"  # soft labels, whitening


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    folder = only(paths, LAYOUT.files)
    about = plain.read_about(folder)
    files = list((folder / "train").glob("*/*.png"))
    if bad := [file for file in files if not file.stem.isdecimal() or file.parent.name not in about["classes"]]:
        raise InputError(f"{bad[0]}: must be a number in the folder of a class")
    files.sort(key=lambda file: int(file.stem))
    if [int(file.stem) for file in files] != list(range(len(files))) or not files:
        raise InputError(f"{folder / 'train'}: the images must be numbered from 0, each number once")
    labels = torch.tensor([about["classes"].index(file.parent.name) for file in files])
    beside = array_file(folder / BESIDE) if (folder / BESIDE).exists() else {}
    zca = (beside["zca_mean"], beside["zca_matrix"]) if "zca_mean" in beside else None
    return plain.raw(about, pictures(files, len(about["mean"])), beside.get("labels", labels), zca)


def write(written: Written, folder: Path) -> list[Path]:
    about = written.synthetic
    if odd := [name for name in about.classes if name in ("", ".", "..") or "/" in name or "\\" in name]:
        raise InputError(f"class {odd[0]!r}: cannot be the name of a folder; --to pt or npz keeps it")
    pixels = (natural(written).clamp(0, 1) * 255).round().to(torch.uint8)
    if about.frames > 1:
        raise InputError(f"clips of {about.frames} frames: a PNG holds one image; --to pt or npz keeps them")
    if pixels.shape[1] not in (1, 3):
        raise InputError(f"images of {pixels.shape[1]} channels: a PNG has 1 or 3; --to pt or npz keeps them")
    hard = written.labels if written.labels.ndim == 1 else written.labels.argmax(1)
    digits = len(str(len(pixels) - 1))
    for number, (image, label) in enumerate(zip(pixels.permute(0, 2, 3, 1).numpy(), hard.tolist(), strict=True)):
        place = folder / "train" / about.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).save(place / f"{number:0{digits}d}.png")
    arrays: dict[str, Any] = {} if written.labels.ndim == 1 else {"labels": written.labels.numpy()}
    if about.whitening:
        arrays |= {"zca_mean": about.whitening.mean.numpy(), "zca_matrix": about.whitening.matrix.numpy()}
    if arrays:
        np.savez(folder / BESIDE, **arrays)
    return [folder / "train", *([folder / BESIDE] if arrays else []), plain.write_about(written, "pixels", folder)]


LAYOUT = Layout(
    files="the folder of an own export: train/CLASS/NUMBER.png, about.json", source="", read=read, write=write,
    values="pixels",
)  # fmt: skip
