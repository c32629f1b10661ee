"""Data sets as tensors: the embedded digits, those of torchvision, and any folder of images."""

import difflib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import atomic
from .paths import in_project
from .zca import Whitening

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images that live on one device.

    images : uint8 [N, C, H, W]. labels : int64 [N], from 0 to len(classes) - 1.
    mean, std : per channel, of pixels / 255; `batch` normalises with them.
    flip : whether a mirrored image keeps its label (not so for digits).
    whitening, white : where images are ZCA-whitened instead of normalised: the map, and float32 [N, C, H, W] of all
           images; see `zca.whitened`.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    flip: bool = True
    whitening: Whitening | None = None
    white: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(f"images are {self.images.dtype} {list(self.images.shape)}: must be uint8 [N, C, H, W]")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(f"labels are {self.labels.dtype} {list(self.labels.shape)}: must be int64 [N]")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.images.shape[1], self.images.shape[2], self.images.shape[3]

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> "ImageData":
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            whitening=self.whitening and self.whitening.to(device),
            white=None if self.white is None else self.white.to(device),
        )

    def subset(self, indices: Tensor) -> "ImageData":
        """The samples at `indices`, in that order; all classes stay named."""
        indices = indices.to(self.device)
        white = None if self.white is None else self.white[indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], white=white)

    def of_class(self, label: int) -> Tensor:
        """Indices of the samples of one class, int64, ascending."""
        return (self.labels == label).nonzero().flatten()

    def counts(self) -> Tensor:
        """Samples of each class, int64 [classes]."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def batch(self, indices: Tensor | None = None) -> Tensor:
        """Normalised or whitened float32 images [n, C, H, W]; all of them for None."""
        if self.white is not None:
            return self.white if indices is None else self.white[indices]
        images = self.images if indices is None else self.images[indices]
        mean, std = (torch.tensor(v, device=self.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)


class Splits(NamedTuple):
    """What is distilled from, and what accuracies are measured on."""

    train: ImageData
    test: ImageData


@dataclass(frozen=True)
class DataSet:
    """A data set known by name. mean and std are those of the DC, DSA and DM reference."""

    title: str
    classes: int
    shape: tuple[int, int, int]
    licence: str
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    torchvision: str | None = None  # its class there


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
}  # fmt: skip


def load(
    name: str,
    root: str | Path | None = None,
    size: int | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Splits:
    """The training and test data of a named data set, or of a folder `train/<class>/*`, `test/<class>/*`.

    root : where named data sets lie, by default $BILP_DATA, or data/ in the project, or here.
    size : pixels; folders only: short side resized to it, centre cropped.
    Decoded once into a cache beside the data ($BILP_CACHE or ~/.cache/bilp for folders).
    Raises InputError that names the file or the class, and the remedy.
    """
    if size is not None and not 4 <= size <= 1024:
        raise InputError(f"size = {size}: must be from 4 to 1024 pixels")
    if name in DATASETS:
        if size is not None:
            raise InputError(f"size = {size}: {name} has a fixed size of {DATASETS[name].shape[1]} pixels")
        if name == "digits":
            return _digits()
        return _torchvision(name, Path(root or os.environ.get("BILP_DATA") or in_project("data")), download)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name!r} is neither a folder nor a known data set.{hint} Known: {', '.join(DATASETS)}")
    from .folders import read_folder

    arrays = cached(cache_home(), *read_folder(folder, size, progress))
    return _splits(arrays, folder.resolve().name, flip=True)


def cache_home() -> Path:
    return Path(os.environ.get("BILP_CACHE", "~/.cache/bilp")).expanduser()


def measured(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels / 255, from exact histograms."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        mean = float(share @ values)
        means.append(mean)
        stds.append(max(float(share @ (values - mean) ** 2) ** 0.5, 1e-6))
    return tuple(means), tuple(stds)


# ---- cache --------------------------------------------------------------------------------------------------

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cached(home: Path, fingerprint: str, decode: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `decode` gives, from `home` if it was decoded before: the four ARRAYS, classes, mean and std.

    The cache is one folder a fingerprint, written whole; a damaged one is decoded again.
    """
    folder = home / hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
    try:
        about = json.loads((folder / "about.json").read_text())
        arrays = {key: np.load(folder / f"{key}.npy", allow_pickle=False) for key in ARRAYS}
        if all(list(arrays[key].shape) == about["shapes"][key] for key in ARRAYS):
            return {**arrays, **{key: about[key] for key in ("classes", "mean", "std")}}
    except (OSError, ValueError, KeyError, EOFError):
        pass
    made = decode()
    about = {key: made[key] for key in ("classes", "mean", "std")}
    about["shapes"] = {key: list(made[key].shape) for key in ARRAYS}
    (folder / "about.json").unlink(missing_ok=True)  # no manifest, no cache: it comes last
    for key in ARRAYS:
        with atomic(folder / f"{key}.npy") as path:
            np.save(path, made[key], allow_pickle=False)
    with atomic(folder / "about.json") as path:
        path.write_text(json.dumps(about))
    return made


def _splits(arrays: dict[str, Any], name: str, flip: bool) -> Splits:
    def data(split: str) -> ImageData:
        return ImageData(
            torch.from_numpy(arrays[f"{split}_images"]),
            torch.from_numpy(arrays[f"{split}_labels"]),
            tuple(arrays["classes"]),
            tuple(arrays["mean"]),
            tuple(arrays["std"]),
            name,
            flip,
        )

    return Splits(data("train"), data("test"))


# ---- named data sets ----------------------------------------------------------------------------------------


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

    return _splits(cached(root / ".bilp-cache", f"1 {name}", decode), name, about.flip)


def fingerprint(data: ImageData) -> str:
    """Stands for the images, their labels, and their normalisation or whitening."""
    seen = data.whitening.identity if data.whitening else ""
    digest = hashlib.sha256(f"{list(data.images.shape)} {data.mean} {data.std} {seen}".encode())
    for tensor in (data.images, data.labels):
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


# ---- check --------------------------------------------------------------------------------------------------


def check(splits: Splits) -> dict[str, Any]:
    """What a user should know of a data set before using it; JSON values only.

    Counts per class, shape, mean and std, images without contrast, exact duplicates inside the training split
    and between the splits (a leak).
    """

    def prints(data: ImageData) -> list[bytes]:
        return [hashlib.sha256(image.numpy().tobytes()).digest() for image in data.images.cpu()]

    train, test = splits
    seen = set(own := prints(train))
    report: dict[str, Any] = {
        "name": train.name,
        "shape": list(train.shape),
        "mean": [round(v, 4) for v in train.mean],
        "std": [round(v, 4) for v in train.std],
        "classes": {
            name: {"train": a, "test": b}
            for name, a, b in zip(train.classes, train.counts().tolist(), test.counts().tolist(), strict=True)
        },
        "duplicates_in_train": len(own) - len(seen),
        "test_images_also_in_train": sum(p in seen for p in prints(test)),
    }
    flat = train.images.flatten(2)
    report["constant_images_in_train"] = int((flat.amax(2) == flat.amin(2)).all(1).sum())
    return report
