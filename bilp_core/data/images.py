"""Labelled images on one device: what every part of the library works on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .stored import Stored

CHUNK, AT_ONCE = 1000, 1 << 26  # images, and their bytes, at a time where all are looked at
SHOWN = 4  # frames of a clip that a picture has


class Map(Protocol):
    """A linear map from pixels to what networks see: what is known here of a whitening."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def matrix(self) -> Tensor: ...
    @property
    def identity(self) -> str: ...
    def apply(self, images: Tensor) -> Tensor: ...
    def invert(self, images: Tensor) -> Tensor: ...
    def to(self, device: torch.device | str) -> Self: ...


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images that live on one device.

    images : uint8 [N, C, H, W], or as many that stay on the disk (`Stored`) until `batch` asks for some. Clips of T
             frames are images [N, T*C, H, W], frame by frame.
    labels : int64 [N], from 0 to len(classes) - 1.
    mean, std : per channel, of pixels / 255; `batch` normalises with them.
    name : what messages call it. named : the data set of ours that it is, empty for anybody's folder: settings that
           belong to a data set go by it, never by a folder's name.
    flip : whether a mirrored image keeps its label (not so for digits).
    files : where each sample came from, [N] paths relative to the folder; None for data sets that have no files.
    frames : T of clips; of images 1.
    whitening, white : where images are ZCA-whitened instead of normalised: the map, and float32 [N, C, H, W] of all
           images, None for those on the disk; see `whitening.whitened`.
    Raises InputError where a type or a shape is another.

    >>> import torch
    >>> from bilp_core import ImageData
    >>> images = torch.tensor([0, 255, 0]).to(torch.uint8).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    >>> data = ImageData(images, torch.tensor([0, 1, 0]), ("dark", "light"), (0.5,), (0.25,), "grey")
    >>> len(data), data.shape, data.num_classes, data.counts().tolist()
    (3, (1, 4, 4), 2, [2, 1])
    >>> data.of_class(0).tolist()
    [0, 2]
    >>> data.batch()[:, 0, 0, 0].tolist()  # (pixel / 255 - mean) / std
    [-2.0, 2.0, -2.0]
    >>> data.subset(torch.tensor([1])).labels.tolist()
    [1]
    """

    images: Annotated[Tensor | Stored, "uint8 [N, C, H, W]"]
    labels: Annotated[Tensor, "int64 [N]"]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    flip: bool = True
    whitening: Map | None = None
    white: Annotated[Tensor, "float32 [N, C, H, W]"] | None = None
    named: str = ""
    files: np.ndarray | None = None
    frames: int = 1

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(f"images are {self.images.dtype} {list(self.images.shape)}: must be uint8 [N, C, H, W]")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(f"labels are {self.labels.dtype} {list(self.labels.shape)}: must be int64 [N]")
        if self.frames < 1 or self.images.shape[1] % self.frames:
            raise InputError(f"frames = {self.frames}: must divide the {self.images.shape[1]} channels of the images")

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
    def positions(self) -> int:
        """Pixels of a sample, in all its frames: what the work of a network goes by."""
        return self.frames * self.shape[1] * self.shape[2]

    @property
    def device(self) -> torch.device:
        return self.images.device

    @cached_property
    def levels(self) -> tuple[Tensor, Tensor]:
        """`mean` and `std` on the device, float32 [C, 1, 1] each; made once, since copying them makes a GPU wait."""
        mean, std = (torch.tensor(v, device=self.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return mean, std

    def to(self, device: torch.device | str) -> "ImageData":
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            whitening=self.whitening and self.whitening.to(device),
            white=None if self.white is None else self.white.to(device),
        )

    def subset(self, indices: Annotated[Tensor, "[n]"]) -> "ImageData":
        """The samples at `indices`, in that order; all classes stay named."""
        indices = indices.to(self.device)
        white = None if self.white is None else self.white[indices]
        files = None if self.files is None else self.files[indices.cpu().numpy()]
        images = self.images.take(indices) if isinstance(self.images, Stored) else self.images[indices]
        return replace(self, images=images, labels=self.labels[indices], white=white, files=files)

    def clips(self, indices: Annotated[Tensor, "[n]"]) -> Annotated[Tensor, "uint8 [n, T, c, H, W]"]:
        """Samples as clips, frame by frame.

        >>> import torch
        >>> from bilp_core import ImageData
        >>> images = torch.arange(6, dtype=torch.uint8).view(1, 6, 1, 1).expand(1, 6, 4, 4)
        >>> data = ImageData(images, torch.tensor([0]), ("run",), (0.5,) * 6, (0.25,) * 6, "two frames", frames=2)
        >>> data.clips(torch.tensor([0]))[0, :, :, 0, 0].tolist()  # of three colours each
        [[0, 1, 2], [3, 4, 5]]
        """
        return self.images[indices].unflatten(1, (self.frames, -1))

    def of_class(self, label: int) -> Annotated[Tensor, "int64 [n]"]:
        """Indices of the samples of one class, int64, ascending."""
        return (self.labels == label).nonzero().flatten()

    def counts(self) -> Annotated[Tensor, "int64 [classes]"]:
        """Samples of each class, int64 [classes]."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def batch(self, indices: Annotated[Tensor, "[n]"] | None = None) -> Annotated[Tensor, "float32 [n, C, H, W]"]:
        """Normalised or whitened float32 images [n, C, H, W]; all of them for None."""
        if self.white is not None:
            return self.white if indices is None else self.white[indices]
        images = self.images[:] if indices is None else self.images[indices]
        if self.whitening is not None:
            return self.whitening.apply(images)
        mean, std = self.levels
        return images.float().div_(255).sub_(mean).div_(std)


def strips(images: Annotated[Tensor, "[n, TC, H, W]"], frames: int) -> Annotated[Tensor, "[n, C, H, kW]"]:
    """Clips to look at: `SHOWN` of their frames, evenly spaced, first and last among them, side by side; images as they
    are.

    >>> import torch
    >>> from bilp_core.data import strips
    >>> clips = torch.arange(8.0).view(1, 8, 1, 1)  # of one pixel
    >>> strips(clips, frames=8).flatten().tolist(), strips(clips, frames=1).shape
    ([0.0, 2.0, 5.0, 7.0], torch.Size([1, 8, 1, 1]))
    """
    picks = [round(k * (frames - 1) / (SHOWN - 1)) for k in range(SHOWN)] if frames > SHOWN else range(frames)
    each = images.unflatten(1, (frames, -1))
    return torch.cat([each[:, pick] for pick in picks], 3)


class Splits(NamedTuple):
    """What is distilled from, and what accuracies are measured on.

    >>> from bilp_core import load
    >>> splits = load("digits")
    >>> len(splits.train), len(splits.test)
    (1352, 445)
    """

    train: ImageData
    test: ImageData


def pieces(values: Tensor | Stored) -> Iterator[Tensor]:
    """All rows in their order, as many at a time as need not be feared."""
    return iter(values.split(max(1, min(CHUNK, AT_ONCE // max(1, values.shape[1:].numel())))))


def measured(images: np.ndarray | Stored, frames: int = 1) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels / 255, from exact histograms.

    images : uint8 [N, C, H, W]. frames : of clips, whose frames then have the same ones. The deviation is that of the
    population; 1 where a channel has one value only, so that it becomes 0 everywhere and is no infinity elsewhere.

    >>> import numpy as np
    >>> from bilp_core.data import measured
    >>> measured(np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1))
    ((0.5,), (0.5,))
    >>> measured(np.array([0, 255], dtype=np.uint8).reshape(1, 2, 1, 1), frames=2)
    ((0.5, 0.5), (0.5, 0.5))
    """
    counts = np.zeros((images.shape[1], 256), np.int64)
    for part in pieces(torch.from_numpy(images) if isinstance(images, np.ndarray) else images):
        for channel, own in enumerate(counts):
            own += np.bincount(part[:, channel].cpu().numpy().ravel(), minlength=256)
    shares = counts.reshape(frames, -1, 256).sum(0)
    shares = shares / shares.sum(1, keepdims=True)
    values, means, stds = np.arange(256) / 255, [], []
    for share in shares:
        mean = float(share @ values)
        means.append(mean)
        deviation = float(share @ (values - mean) ** 2) ** 0.5
        stds.append(deviation if deviation > 1e-6 else 1.0)
    return tuple(means) * frames, tuple(stds) * frames


def fingerprint(data: ImageData) -> str:
    """Stands for the images, their labels, their normalisation or whitening, and whether a mirrored image keeps its
    label: 64 hexadecimal digits.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.data import fingerprint
    >>> train, _ = load("digits")
    >>> every = torch.arange(len(train))
    >>> fingerprint(train.subset(every)) == fingerprint(train) != fingerprint(train.subset(every[1:]))
    True
    """
    seen = data.whitening.identity if data.whitening else ""
    seen += f" {data.frames} frames" * (data.frames > 1)
    return _digest(data, f"{data.mean} {data.std} {data.flip} {seen}")


def sample_print(data: ImageData) -> str:
    """Stands for the images and their labels alone, however they are seen: 64 hexadecimal digits."""
    return _digest(data, "")


def _digest(data: ImageData, beside: str) -> str:
    digest = hashlib.sha256(f"{list(data.images.shape)} {beside}".encode())
    for values in (data.images, data.labels):
        feed(digest, values)
    return digest.hexdigest()


def feed(digest: "hashlib._Hash", values: Tensor | Stored) -> None:
    """Update a hash with all values, a part at a time."""
    for part in pieces(values):
        digest.update(part.cpu().contiguous().numpy().data)
