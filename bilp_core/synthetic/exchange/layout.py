"""What a layout is: which files a repository saves a synthetic set in, and what their numbers mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from torch import Tensor

from ...data.datasets import DATASETS
from ...data.images import ImageData, Map, measured

if TYPE_CHECKING:
    from ..set import SyntheticSet

Stats = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel, of pixels in [0, 1]


@dataclass(frozen=True)
class Told:
    """What files cannot tell, and a user therefore has to; None: not told.

    values     : 'pixels' in [0, 1], or 'normalised'. mean, std : by which; as mean also 'data', those
                 of the data's images, or the name of a known data set, as the repository normalises it.
    zca        : 'none' or the kind of whitening, see `bilp_core.data.whitening`.
    labels     : 'hard'; 'shares' of the classes; 'logits'; or 'targets', numbers to regress on.
    lr         : the learning rate that was distilled with the set.
    factor, decode : the formation, see `Formation`.
    experiment : which of several sets in a file, from 1.
    method, network : by which protocol, and on which network, it is to be evaluated.
    classes    : in the order of the file's labels, where that is not the data's.

    >>> from bilp_core.synthetic import Told
    >>> Told(zca="none", lr=0.02).lr
    0.02
    """

    values: str | None = None
    mean: tuple[float, ...] | str | None = None
    std: tuple[float, ...] | None = None
    zca: str | None = None
    labels: str | None = None
    lr: float | None = None
    factor: int | None = None
    decode: str | None = None
    experiment: int | None = None
    method: str | None = None
    network: str | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Raw:
    """What files hold, before it is said what that means.

    images : [M, C, H, W], any numbers. labels : [M] or [M, classes].
    says   : what the files say themselves, by the names of `Told`. stats, whitening, meta : what our own exports say.
    """

    images: Tensor
    labels: Tensor
    says: Mapping[str, Any] = field(default_factory=dict)
    stats: Stats | None = None
    whitening: Map | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What is to be written: images and labels of a set, decoded or as they are stored."""

    synthetic: SyntheticSet
    images: Annotated[Tensor, "float32 [m, C, H, W]"]
    labels: Annotated[Tensor, "int64 [m] or float32 [m, classes]"]
    stored: bool


@dataclass(frozen=True)
class Layout:
    """One repository's way to save a synthetic set; a new one is a file in `layouts/` with its `LAYOUT`.

    files  : which files those are, in words. source : the repository.
    read   : function(paths, data, told) -> Raw. write : function(Written, folder) -> files; None: it is only read.
    values, labels : what its numbers are, where nobody says otherwise; see `Told`.
    stats  : function(name of the data set, data or None) -> by what images are normalised there; None if that depends.
    zca    : function(data) -> how they are whitened there, None where that depends.
    asks   : what no file of it tells, by the names of `Told`.

    >>> from bilp_core.synthetic import LAYOUTS
    >>> LAYOUTS["idc"].source, LAYOUTS["idc"].values, LAYOUTS["idc"].asks
    ('snu-mllab/Efficient-Dataset-Condensation', 'pixels', ('factor',))
    """

    files: str
    source: str
    read: Callable[[list[Path], ImageData, Told], Raw]
    write: Callable[[Written, Path], list[Path]] | None = None
    values: str = "normalised"
    labels: str = "hard"
    stats: Callable[[str, ImageData | None], Stats | None] = lambda named, data: reference(named, data)
    zca: Callable[[ImageData], str | None] = lambda _: "none"
    asks: tuple[str, ...] = ()


def reference(named: str, data: ImageData | None) -> Stats | None:
    """What most repositories normalise a known data set by; None of anybody's folder."""
    if named not in DATASETS:
        return None
    known = DATASETS[named]
    return (known.mean, known.std) if known.mean else seen("", data)


def cifar100_as_cifar10(named: str, data: ImageData | None) -> Stats | None:
    """The same where CIFAR-100 is normalised by CIFAR-10's numbers."""
    return reference("cifar10" if named == "cifar100" else named, data)


def seen(named: str, data: ImageData | None) -> Stats | None:  # noqa: ARG001
    """What the data are normalised by here."""
    return (data.mean, data.std) if data else None


def own(named: str, data: ImageData | None) -> Stats | None:
    """Mean and deviation of the training images themselves; those of a folder are that already."""
    if data is None or named not in DATASETS:
        return seen(named, data)
    return measured(data.images[:].cpu().numpy())


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
