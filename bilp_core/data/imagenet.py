"""Tiny ImageNet and ImageNet at 64x64, as their publishers give them: where they come from, and what is to be decoded.

Nothing is fetched: all of it is large, and most of it needs a registration. A user puts the files into the folder of
data sets; what is missing is said, with its size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import InputError
from .downsampled import batches
from .large import Source
from .listing import ANNOTATIONS
from .pictures import pictures, unzipped

SOLUTION = "LOC_val_solution.csv"  # of Kaggle's copy: image, then class and box, once or more
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"  # of the zip, 248,100,043 bytes
WHERE = {
    "tiny-imagenet": (
        "put tiny-imagenet-200.zip there (248 MB, cs231n.stanford.edu has it), or the folder that it holds"
    ),
    "imagenet-64": (
        "register at image-net.org and accept its terms, take Imagenet64_train_part1_npz.zip, "
        "Imagenet64_train_part2_npz.zip and Imagenet64_val_npz.zip (some 13 GB) from its page of downsampled data, "
        "and unpack them into a folder imagenet-64 there, with map_clsloc.txt if classes are to have names"
    ),
    "imagenet-64-resized": (
        "register at image-net.org and accept its terms, take the training and validation images of ILSVRC 2012 (some "
        "145 GB), and put train/<wnid>/* and val/<wnid>/* into a folder imagenet there; a flat val/ needs "
        f"{SOLUTION} beside it, as Kaggle's copy has it"
    ),
}


def source(name: str, root: Path, classes: int, samples: tuple[int, int]) -> Source:
    """What there is of a data set in the folder `root`.

    classes, samples : how many there must be; the samples in training and in validation.
    Raises InputError that says where to get it, what is missing, or what is wrong.

    >>> from pathlib import Path
    >>> from bilp_core.data.imagenet import source
    >>> source("tiny-imagenet", Path("data"), 200, (100_000, 10_000))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: tiny-imagenet is not in 'data': put tiny-imagenet-200.zip there (248 MB, ...
    """
    found = {"tiny-imagenet": _tiny, "imagenet-64": _downsampled, "imagenet-64-resized": _tree}[name](root)
    if found is None:
        raise InputError(f"{name} is not in {str(root)!r}: {WHERE[name]}. Another place: --root or $BILP_DATA")
    have = len(found.classes), len(found.train.labels), len(found.test.labels)
    if have != (classes, *samples):
        raise InputError(
            f"{name} in {str(root)!r} has {have[0]} classes, {have[1]:,} training and {have[2]:,} validation images: "
            f"there must be {classes:,}, {samples[0]:,} and {samples[1]:,}; is it complete?"
        )
    return found


def _tiny(root: Path) -> Source | None:
    home, archive = root / "tiny-imagenet-200", root / "tiny-imagenet-200.zip"
    if home.is_dir():
        files, size = _walked(home)
        texts = _texts(home / "val" / ANNOTATIONS)
        return pictures(home, files, texts, resize=False, about={"from": "folder", "bytes": size})
    if not archive.is_file():
        return None
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != TINY_MD5:
        raise InputError(f"{archive} is damaged or incomplete: its MD5 is {digest}, not {TINY_MD5}; get it again")
    with unzipped(archive) as content:
        files = content.namelist()
        texts = {name: content.read(name).decode() for name in files if name.endswith(ANNOTATIONS)}
    return pictures(archive, files, texts, resize=False, about={"from": "zip", "md5": digest})


def _tree(root: Path) -> Source | None:
    top = root / "imagenet"
    home = next((home for home in (top, top / "ILSVRC/Data/CLS-LOC") if (home / "train").is_dir()), None)
    if home is None:
        return None
    files, size = _walked(home)
    texts = _texts(top / SOLUTION, home / SOLUTION)
    return pictures(home, files, texts, resize=True, about={"from": "folder", "bytes": size})


def _downsampled(root: Path) -> Source | None:
    home = root / "imagenet-64"
    return batches(home, WHERE["imagenet-64"]) if home.is_dir() else None


def _walked(home: Path) -> tuple[list[str], int]:
    """Names of all files under train/ and val/, and the bytes in them."""
    files = [path for half in ("train", "val") for path in (home / half).rglob("*") if path.is_file()]
    return [path.relative_to(home).as_posix() for path in files], sum(path.stat().st_size for path in files)


def _texts(*paths: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in paths if path.is_file()}
