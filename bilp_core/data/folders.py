"""A folder of images, `train/<class>/*` and `test/<class>/*`, decoded into arrays."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
LEAST = 2  # samples a class must have for training


def read_folder(
    root: Path, size: int | None, progress: Callable[[int, int, str], None] | None = None
) -> tuple[str, Callable[[], dict[str, Any]]]:
    """A fingerprint of the folder (names, sizes, times of its files) and the function that decodes it.

    Raises InputError for a missing split, an empty class, a class in one split only; the function raises it for
    an unreadable image, and for mixed sizes when `size` is None.
    """
    splits = {split: _listing(root, split) for split in ("train", "test")}
    missing = {
        a: sorted(set(splits[a]) ^ set(splits[b]) & set(splits[a])) for a, b in (("train", "test"), ("test", "train"))
    }
    for split, other in (("train", "test"), ("test", "train")):
        if missing[split]:
            raise InputError(
                f"{root}: class {missing[split][0]!r} is in {split}/ but not in {other}/; add it or remove it"
            )
    for name, files in splits["train"].items():
        if len(files) < LEAST:
            raise InputError(f"{root / 'train' / name} holds one image: a class needs at least {LEAST} to train on")
    stamp = {
        split: {name: [(f, *s) for f, s in files.items()] for name, files in classes.items()}
        for split, classes in splits.items()
    }
    return json.dumps([1, str(root.resolve()), size, stamp]), lambda: _decode(root, splits, size, progress)


def _listing(root: Path, split: str) -> dict[str, dict[str, tuple[int, int]]]:
    """class -> file name -> (bytes, time), sorted."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{root} has no folder {split!r}: put images in {split}/<class>/ (see README, own data)")
    classes = {}
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if not entry.is_dir() or entry.name.startswith("."):
            continue
        files, others = {}, 0
        for item in sorted(os.scandir(entry.path), key=lambda e: e.name):
            if item.name.lower().endswith(EXTENSIONS) and item.is_file() and not item.name.startswith("."):
                about = item.stat()
                files[item.name] = (about.st_size, about.st_mtime_ns)
            else:
                others += 1
        if not files:
            only = f" ({others} files of other kinds)" if others else ""
            raise InputError(f"{entry.path} holds no image{only}; allowed: {', '.join(EXTENSIONS)}")
        classes[entry.name] = files
    if len(classes) < 2:
        raise InputError(f"{folder} holds {len(classes)} class folders: at least 2 are needed")
    return classes


def _decode(root: Path, splits: dict, size: int | None, progress: Callable | None) -> dict[str, Any]:
    from .images import measured

    names = list(splits["train"])
    paths = {s: [root / s / c / f for c in names for f in splits[s][c]] for s in splits}
    everything = paths["train"] + paths["test"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = []
        for done, image in enumerate(pool.map(lambda path: _open(path, size), everything), 1):
            images.append(image)
            if progress and done % 500 == 0:
                progress(done, len(everything), "decoding images")
    sizes = {image.shape[:2]: i for i, image in reversed(list(enumerate(images)))}
    if len(sizes) > 1:
        (a, i), (b, j), *_ = sizes.items()
        raise InputError(
            f"images differ in size: {everything[i]} is {a[1]}x{a[0]}, {everything[j]} is {b[1]}x{b[0]}; "
            "give a size in pixels (--size) to bring all to one"
        )
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, 2) for image in images]
        stack = np.stack(images).transpose(0, 3, 1, 2)
    else:
        stack = np.stack(images)[:, None]
    stack = np.ascontiguousarray(stack)
    labels = {s: np.repeat(np.arange(len(names)), [len(splits[s][c]) for c in names]).astype(np.int64) for s in splits}
    half = len(paths["train"])
    mean, std = measured(stack[:half])
    return {
        "train_images": stack[:half], "train_labels": labels["train"],
        "test_images": stack[half:], "test_labels": labels["test"],
        "classes": names, "mean": mean, "std": std,
    }  # fmt: skip


def _open(path: Path, size: int | None) -> np.ndarray:
    """uint8 [H, W] for a grey image, [H, W, 3] for any other; transparency falls on white."""
    try:
        with Image.open(path) as image:
            grey = image.mode in GREY_MODES
            if image.mode in ("I;16", "I", "F"):
                array = np.asarray(image, dtype=np.float64)
                top = 65535 if array.max() > 255 else 255
                picture: Image.Image = Image.fromarray(np.round(array * (255 / top)).clip(0, 255).astype(np.uint8))
            elif image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
                layered = image.convert("RGBA")
                white = Image.new("RGBA", layered.size, "white")
                picture = Image.alpha_composite(white, layered).convert("L" if grey else "RGB")
            else:
                picture = image.convert("L" if grey else "RGB")
            picture = ImageOps.exif_transpose(picture)
            if size is not None and picture.size != (size, size):
                picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}): repair or remove it") from None
