"""A set for other people's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import InputError
from ..set import SyntheticSet
from .layout import Written
from .layouts import LAYOUTS
from .readme import readme
from .writing import natural


@dataclass(frozen=True)
class Exported:
    """files : what was written. images : how many. left : what the layout cannot hold.
    clipped, rounding : of pictures, the share of values under 0 or above 1, which bytes cannot hold, and the mean
    distance of the others to the nearest byte, in grey levels.

    >>> from bilp_core.synthetic import Exported
    >>> Exported((), images=10, clipped=0.25).clipped
    0.25
    """

    files: tuple[Path, ...]
    images: int
    clipped: float = 0.0
    rounding: float = 0.0
    left: tuple[str, ...] = ()


def exported(synthetic: SyntheticSet, folder: str | Path, to: str, *, stored: bool = False) -> Exported:
    """Write a set for other code: its images as networks see them, decoded, or with `stored` as they are kept.

    folder : a new or empty one; a README in it says what the numbers are and how to train on them.
    to     : a layout of `LAYOUTS` that is written: our plain ones, `pt`, `npz` and `folder` (PNG), or a repository's.
    `imported` reads all of them; `pt` and `npz` give the same set again, digit for digit.
    Raises InputError for an unknown layout, a folder that is not empty, and what a layout cannot hold.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.synthetic import exported, imported, initial
    >>> train, _ = load("digits")
    >>> made = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> exported(made, "plain", "npz").images
    20
    >>> torch.equal(imported(["plain"], "npz", train).images, made.images)
    True
    """
    writable = [name for name, layout in LAYOUTS.items() if layout.write]
    if to not in writable:
        only_read = " (it is only read)" if to in LAYOUTS else ""
        raise InputError(f"layout {to!r}{only_read}: must be one of {', '.join(writable)}")
    folder = check_folder(folder)
    synthetic.check()
    images, labels = (synthetic.images, synthetic.labels) if stored else synthetic.materialise()
    written = Written(
        synthetic, images.detach().cpu(), labels.detach().cpu(), stored or synthetic.formation.factor == 1
    )
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    if synthetic.relabelled:
        left.append("labels of views, which a teacher gave, stay behind: only one label an image is written")
    if stored and synthetic.formation.factor > 1 and to not in ("idc", "pt", "npz", "folder"):
        left.append(
            f"each image stands for several (factor {synthetic.formation.factor}): the layout {to} cannot say so"
        )
    clipped, rounding = loss_of_bytes(natural(written)) if to == "folder" else (0.0, 0.0)
    files = LAYOUTS[to].write(written, folder)  # type: ignore[misc]
    (folder / "README.md").write_text(readme(written, to, LAYOUTS[to], files), "utf-8")
    return Exported((*files, folder / "README.md"), len(images), clipped, rounding, tuple(left))


def loss_of_bytes(pixels: torch.Tensor) -> tuple[float, float]:
    """Share of values outside of [0, 1], and the mean error of rounding the others, in grey levels."""
    outside = (pixels < 0) | (pixels > 1)
    inside = pixels[~outside].double() * 255
    rounding = float((inside - inside.round()).abs().mean()) if len(inside) else 0.0
    return float(outside.double().mean()), rounding


def check_folder(folder: str | Path) -> Path:
    """The folder, if it is new or empty; asked before long work."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there and not an empty folder: name a new one")
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: there is no folder {folder.parent}")
    return folder


def layouts() -> Sequence[str]:
    """A line for each layout: its name, its files, whether it is written, whose it is.

    >>> from bilp_core.synthetic import layouts
    >>> layouts()[0]
    'datm      read, written  images_best.pt, labels_best.pt and lr_best.pt, or their folder; NUS-HPC-AI-Lab/DATM'
    """
    return [
        f"{name:9} read{', written' if layout.write else '         '}  {layout.files}; {layout.source or 'ours'}"
        for name, layout in LAYOUTS.items()
    ]
