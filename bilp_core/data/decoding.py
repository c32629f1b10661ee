"""From a file to an array: turned as the camera says, one depth for the whole data set, transparency on white."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from ..errors import InputError
from ..utils.progress import Report

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
DEPTHS = (8, 10, 12, 16)
LARGE = 4  # times the wanted size from which a JPEG is decoded at a reduced one
MAX_SAMPLE = 281  # TIFF tag: the largest value that samples are meant to have


@dataclass(frozen=True)
class Picture:
    """pixels : uint8 [H, W] or [H, W, 3]; of deep images float32 [H, W], in their own values.

    top : largest value of a deep image, before any resizing; 0 of an ordinary one.
    declared : what the file says of its depth, in bits; 0 if nothing.
    size : as it was stored, (width, height) after turning.
    remark : what was wrong with the file though its pixels are sound.
    """

    pixels: np.ndarray
    top: float = 0.0
    declared: int = 0
    size: tuple[int, int] = (0, 0)
    frames: int = 1
    remark: str = ""


def opened(path: Path, size: int | None, content: bytes | None = None) -> Picture | str:
    """The image in a file, or why it cannot be read. content : of the file, where it is no file of its own."""
    try:
        if not (path.stat().st_size if content is None else len(content)):
            return "the file is empty"
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            return _picture(path, image, size)
    except Image.DecompressionBombError:
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels"
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        return " ".join(str(error).replace(str(path), "it").split()) or type(error).__name__


def _picture(path: Path, image: Image.Image, size: int | None) -> Picture:
    remark = ""
    if size is not None and min(image.size) >= LARGE * size:
        image.draft(None, (2 * size, 2 * size))  # JPEGs only; at least twice the size, so that resizing stays smooth
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # the pixels may still be sound
        turned, remark = image, "its metadata cannot be read, so it was not turned"
    turned = turned if turned is not None else image
    frames = int(getattr(image, "n_frames", 1))
    about = {"size": turned.size, "frames": frames, "remark": remark}
    if turned.mode.startswith(("I", "F")):
        values = np.asarray(turned, dtype=np.float32)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError("its values are not finite")
        declared = _declared(path, image)
        top = float(values.max(initial=0))
        if size is not None and turned.size != (size, size):
            values = np.asarray(ImageOps.fit(Image.fromarray(values), (size, size), Image.Resampling.BICUBIC))
        return Picture(values, max(top, np.finfo(np.float32).tiny), declared, **about)  # type: ignore[arg-type]
    grey = turned.mode in GREY_MODES
    if turned.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in turned.info:
        layered = turned.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        plain = Image.alpha_composite(white, layered).convert("L" if grey else "RGB")
    else:
        plain = turned.convert("L" if grey else "RGB")
    if size is not None and plain.size != (size, size):
        plain = ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)
    return Picture(np.asarray(plain), **about)  # type: ignore[arg-type]


def _declared(path: Path, image: Image.Image) -> int:
    """Bits of a sample as the format declares them: PNG's sBIT, TIFF's largest sample value; 0 if it says nothing."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        top = image.tag_v2.get(MAX_SAMPLE)
        top = top[0] if isinstance(top, tuple) else top
        return int(top).bit_length() if top else 0
    if image.format != "PNG":
        return 0
    with path.open("rb") as file:  # Pillow drops the chunk
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            if head[4:] == b"sBIT":
                return file.read(1)[0]
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return 0


def decoded(paths: Sequence[Path], size: int | None, progress: Report | None = None) -> tuple[list[Picture | str], int]:
    """All images in order, each a picture or why it cannot be read, and the number of CPU threads that read them."""
    threads = os.cpu_count() or 1
    found: list[Picture | str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow's name no file; what matters comes back as reason or remark
        for done, one in enumerate(pool.map(partial(opened, size=size), paths), 1):
            found.append(one)
            if progress and (done % 500 == 0 or done == len(paths)):
                progress(done, len(paths), "decoding images")
    return found, threads


def depth_of(pictures: Sequence[Picture], wanted: int | None) -> int:
    """Bits that all deep images are scaled by: one for the data set. 0 where there is no deep image.

    wanted : what the user says, one of DEPTHS; None takes what the files declare, else the smallest that holds the
    largest value of all.
    Raises InputError for a depth that is too small for a value.
    """
    if wanted is not None and wanted not in DEPTHS:
        raise InputError(f"depth = {wanted}: must be one of {', '.join(map(str, DEPTHS))} bits")
    deep = [picture for picture in pictures if picture.top]
    if not deep:
        return 0
    top = max(picture.top for picture in deep)
    if wanted is not None:
        if top > 2**wanted - 1:
            raise InputError(f"depth = {wanted}: images hold values up to {top:g}, which need more bits")
        return wanted
    if top <= 1:
        return 1  # shares of full brightness, as TIFFs of real numbers have them
    declared = max(picture.declared for picture in deep)
    if declared and top <= 2**declared - 1:
        return declared
    fitting = [bits for bits in DEPTHS if top <= 2**bits - 1]
    if not fitting:
        raise InputError(f"images hold values up to {top:g}: at most 16 bits a sample can be read")
    return fitting[0]


def scaled(picture: Picture, depth: int) -> np.ndarray:
    """uint8 pixels of a picture, deep ones scaled from `depth` bits."""
    if not picture.top:
        return picture.pixels
    return np.round(picture.pixels.clip(0, None) * (255 / (2**depth - 1))).clip(0, 255).astype(np.uint8)
