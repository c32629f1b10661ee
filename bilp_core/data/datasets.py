"""Data sets by name: the embedded digits, those of torchvision, large ones, and any folder of images."""

import difflib
import os
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..utils.paths import in_project
from ..utils.progress import Report
from . import complete, imagenet, kinetics, large
from .cache import cache_home, cached, place
from .films import films
from .folders import Reading, check_counts, examined, read_images, unreadable
from .halves import half
from .images import ImageData, Splits, measured
from .listing import Listing


@dataclass(frozen=True)
class DataSet:
    """A data set known by name. mean and std are those of the DC, DSA and DM reference.

    shape : (C, H, W) in pixels, of clips (T*C, H, W). flip : whether a mirrored image keeps its label.

    >>> from bilp_core.data import DATASETS
    >>> DATASETS["cifar100"].classes, DATASETS["cifar100"].shape
    (100, (3, 32, 32))
    >>> DATASETS["cifar100"].flip, DATASETS["svhn"].flip
    (True, False)
    """

    title: str
    classes: int
    shape: tuple[int, int, int]
    licence: str
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    torchvision: str | None = None  # its class there
    samples: tuple[int, int] | None = None  # in training and validation, of those that stay on the disk
    frames: int = 1  # of clips, which stay there too; of how many there are public copies differ

    @property
    def stays(self) -> bool:
        """Whether the user brings the files, which are decoded once and stay on the disk."""
        return self.samples is not None or self.frames > 1


CACHE = ".bilp-cache"  # beside named data sets
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std
NEEDS = {"both": ("train", "test"), "train": ("train",), "test": ("test",)}
DATASETS: dict[str, DataSet] = {
    "digits": DataSet(
        "Optical recognition of handwritten digits, from scikit-learn", 10, (1, 8, 8), "CC BY 4.0 (UCI)", False, (), ()
    ),
    "mnist": DataSet("MNIST", 10, (1, 28, 28), "MIT (as the paper lists it)", False, (0.1307,), (0.3081,), "MNIST"),
    "fashion_mnist": DataSet("Fashion-MNIST", 10, (1, 28, 28), "MIT", True, (0.2861,), (0.3530,), "FashionMNIST"),
    "cifar10": DataSet(
        "CIFAR-10", 10, (3, 32, 32), "unknown", True, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "CIFAR10"
    ),
    "cifar100": DataSet(
        "CIFAR-100", 100, (3, 32, 32), "unknown", True, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), "CIFAR100"
    ),
    "svhn": DataSet(
        "SVHN, cropped digits", 10, (3, 32, 32), "unknown", False, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970),
        "SVHN",
    ),
    "tiny-imagenet": DataSet(
        "Tiny ImageNet", 200, (3, 64, 64), "unknown", True, *IMAGENET, samples=(100_000, 10_000)
    ),
    "imagenet-64": DataSet(
        "ImageNet (ILSVRC 2012), downsampled release", 1000, (3, 64, 64), "research only", True, *IMAGENET,
        samples=(1_281_167, 50_000),
    ),
    "imagenet-64-resized": DataSet(
        "ImageNet (ILSVRC 2012), images resized here", 1000, (3, 64, 64), "research only", True, *IMAGENET,
        samples=(1_281_167, 50_000),
    ),
    "kinetics-400": DataSet(
        "Kinetics-400, clips of 8 frames", 400, (24, 64, 64), "CC BY 4.0", True, IMAGENET[0] * 8, IMAGENET[1] * 8,
        frames=8,
    ),
}  # fmt: skip


def load(
    name: str,
    root: str | Path | None = None,
    size: int | None = None,
    download: bool = True,
    progress: Report | None = None,
    *,
    need: str = "both",
    depth: int | None = None,
    recursive: bool = False,
    skip_bad: bool = False,
    test_share: float = 0.0,
    seed: int = 0,
    flip: bool | None = None,
    frames: int | None = None,
) -> Splits:
    """The training and test data of a named data set, or of a folder `train/<class>/*`, `test/<class>/*`.

    root : where named data sets lie, by default $BILP_DATA, or data/ in the project, or here.
    need : 'train', 'test' or 'both': the halves that a folder must have; another one that it lacks is empty.
    flip : whether a mirrored image keeps its label; None: as is known of the data set, yes for a folder.
    Folders only, see `Reading`:
    size : pixels; short side resized to it, centre cropped. depth : bits of 16-bit images. recursive : take images in
    sub-folders of a class. skip_bad : leave out images that cannot be read. test_share, seed : make a test half.
    frames : of the clip that is taken of each video, where a folder holds videos (8, with a size).
    Decoded once into a cache beside the data ($BILP_CACHE or ~/.cache/bilp for folders), found again by content. Images
    of Tiny ImageNet and ImageNet, and clips of Kinetics-400, stay there, see `Stored`; none of these is ever fetched: a
    message says how to get them. Clips of a folder of videos stay there too where they are many, see `films.HELD`.
    Raises InputError that names the file or the class, and the remedy.

    >>> import bilp_core
    >>> train, test = bilp_core.load("digits")
    >>> len(train), len(test), train.shape, train.num_classes
    (1352, 445, (1, 8, 8), 10)

    A folder of one's own, here with two images a class:

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> for name in ("dark/1", "dark/2", "light/1", "light/2"):
    ...     for split in ("train", "test"):
    ...         file = Path("own", split, f"{name}.png")
    ...         file.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("L", (12, 10), 50 if "dark" in name else 200).save(file)
    >>> train, test = bilp_core.load("own", size=8)
    >>> train.name, train.classes, train.shape, train.counts().tolist()
    ('own', ('dark', 'light'), (1, 8, 8), [2, 2])
    """
    if size is not None and not 4 <= size <= 1024:
        raise InputError(f"size = {size}: must be from 4 to 1024 pixels")
    if need not in NEEDS:
        raise InputError(f"need = {need!r}: must be one of {', '.join(NEEDS)}")
    reading = Reading(size, depth, recursive, skip_bad, test_share, seed, frames)
    if name in DATASETS:
        if size is not None:
            raise InputError(f"size = {size}: {name} has a fixed size of {DATASETS[name].shape[1]} pixels")
        if reading != Reading(seed=seed):
            given = next(f.name for f in fields(Reading) if getattr(reading, f.name) != f.default and f.name != "seed")
            raise InputError(
                f"{given} = {getattr(reading, given)}: {name} has fixed images and halves; this is for folders "
                f"(a folder of that name is written ./{name})"
            )
        if DATASETS[name].stays:
            found = _stored(name, data_root(root), progress)
        else:
            found = _digits() if name == "digits" else _torchvision(name, data_root(root), download)
    else:
        found = _own(examined(own_folder(name), reading, NEEDS[need]), reading, progress)
    return found if flip is None else Splits(*(replace(half, flip=flip) for half in found))


def data_root(root: str | Path | None = None) -> Path:
    """Where named data sets lie: `root`, else $BILP_DATA, else data/ in the project, or here."""
    return Path(root or os.environ.get("BILP_DATA") or in_project("data")).expanduser()


def own_folder(name: str) -> Path:
    """The folder that a name stands for (`~` is the home folder). InputError, with a guess, where there is none."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name!r} is neither a folder nor a known data set.{hint} Known: {', '.join(DATASETS)}")
    return folder


def _own(listed: Listing, reading: Reading, progress: Report | None) -> Splits:
    """A folder that is nobody else's."""
    if listed.videos:
        found, unread = films(listed, reading, progress)
        if unread and not reading.skip_bad:
            raise InputError(unreadable(listed.root, unread))
        check_counts(listed.without(unread))
        bad = len(unread)
    else:
        arrays = cached(cache_home(), *read_images(listed, reading, progress))
        found, bad = _splits(arrays, listed.root.resolve().name, flip=True), arrays["skipped_bad"]
    if bad:
        kind = "videos" if listed.videos else "images"
        warnings.warn(f"{bad} {kind} in {listed.root} cannot be read and are left out", stacklevel=3)
    return found


def _splits(arrays: dict[str, Any], name: str, flip: bool) -> Splits:
    def data(split: str) -> ImageData:
        files = arrays.get(f"{split}_names")
        return ImageData(
            torch.from_numpy(arrays[f"{split}_images"]),
            torch.from_numpy(arrays[f"{split}_labels"]),
            tuple(arrays["classes"]),
            tuple(arrays["mean"]),
            tuple(arrays["std"]),
            name,
            flip,
            named=name if files is None else "",
            files=None if files is None else np.array(files, dtype=object),
        )

    return Splits(data("train"), data("test"))


def _digits() -> Splits:
    """scikit-learn's digits: of each class every fourth sample, in the stock order, is for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    turn = np.empty(len(labels), np.int64)
    for c in range(10):
        turn[labels == c] = np.arange((labels == c).sum())
    test = turn % 4 == 3
    mean, std = measured(images[~test])
    arrays = {
        "train_images": images[~test], "train_labels": labels[~test],
        "test_images": images[test], "test_labels": labels[test],
        "classes": [str(c) for c in range(10)], "mean": mean, "std": std,
    }  # fmt: skip
    return _splits(arrays, "digits", flip=False)


def _stored(name: str, root: Path, progress: Report | None) -> Splits:
    """Decoded once, whoever asks first; then opened, and the files it came from may go."""
    about = DATASETS[name]
    folder = place(root / CACHE, name)

    def source() -> large.Source:
        if about.samples is None:
            return kinetics.source(root, about.classes)
        return imagenet.source(name, root, about.classes, about.samples)

    known = complete.opened(folder)
    if known is None:
        known = large.decode(folder, source, progress)
        for line in complete.left_out(known):
            warnings.warn(f"{name}: {line} (`bilp data check {name}` lists them)", stacklevel=3)

    facts: dict[str, Any] = {"mean": about.mean, "std": about.std, "name": name, "flip": about.flip, "named": name}
    return Splits(*(half(folder, split, known, frames=about.frames, **facts) for split in complete.HALVES))


def _torchvision(name: str, root: Path, download: bool) -> Splits:
    """Through torchvision, which downloads and verifies checksums before it reads; then from our cache."""
    about = DATASETS[name]

    def decode() -> dict[str, Any]:
        from torchvision import datasets

        kind = getattr(datasets, about.torchvision or "")
        made: dict[str, Any] = {"classes": [str(c) for c in range(about.classes)]}
        for split in ("train", "test"):
            choice = {"split": split} if name == "svhn" else {"train": split == "train"}
            try:
                source = kind(str(root), download=download, **choice)
            except (RuntimeError, OSError, EOFError) as error:
                reason = " ".join(str(error).split())
                raise InputError(
                    f"{about.title}: the {split} half is not in {str(root)!r} and could not be fetched ({reason}). "
                    f"On a machine with a network run `bilp data check {name} --root DIR`, copy DIR here, "
                    "and name it with --root or $BILP_DATA"
                ) from None
            pixels = np.asarray(source.data, dtype=np.uint8)
            if name in ("mnist", "fashion_mnist"):
                pixels = pixels[:, None]
            elif name != "svhn":
                pixels = pixels.transpose(0, 3, 1, 2)
            made[f"{split}_images"] = np.ascontiguousarray(pixels)
            made[f"{split}_labels"] = np.asarray(source.labels if name == "svhn" else source.targets, dtype=np.int64)
            made["classes"] = list(getattr(source, "classes", made["classes"]))
        return {**made, "mean": about.mean, "std": about.std}

    return _splits(cached(root / CACHE, f"1 {name}", decode), name, about.flip)
