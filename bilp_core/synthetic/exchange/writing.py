"""What layouts write: images as pixels or normalised, labels hard or as shares."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from ...errors import InputError
from .layout import Layout, Stats, Written


def natural(written: Written) -> Annotated[Tensor, "float32 [m, C, H, W]"]:
    """Pixels, [0, 1] where they are natural, not clipped."""
    return replace(written.synthetic, images=written.images).natural()


def terms(written: Written, layout: Layout) -> Stats:
    """By what images are normalised in a layout: as its repository does, where that is known, else as the set is."""
    about = written.synthetic
    return layout.stats(str(about.meta.get("named", "")), None) or (about.mean, about.std)


def whitened(written: Written, layout: Layout) -> bool:
    """Whether images stay whitened: where the set is, and the repository has sets of that kind."""
    return bool(written.synthetic.whitening) and layout.zca is not Layout.zca


def normalised(written: Written, layout: Layout) -> Annotated[Tensor, "float32 [m, C, H, W]"]:
    """Images as the repository normalises them, or whitened."""
    about, (mean, std) = written.synthetic, terms(written, layout)
    if whitened(written, layout) or (not about.whitening and (mean, std) == (about.mean, about.std)):
        return written.images  # digit for digit
    return (natural(written) - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def hard(written: Written, layout: str) -> Annotated[Tensor, "int64 [m]"]:
    """Labels that are one class each. Raises InputError for others."""
    if written.labels.ndim == 2:
        raise InputError(f"the set has soft labels, and sets of the layout {layout} have one class an image: --to pt")
    return written.labels


def shares(written: Written) -> Annotated[Tensor, "float32 [m, classes]"]:
    """Labels as shares of the classes. Raises InputError for numbers that are none."""
    labels = written.labels
    if labels.ndim == 1:
        return torch.nn.functional.one_hot(labels, len(written.synthetic.classes)).float()
    if labels.min() < 0:
        raise InputError("the set has labels to regress on, and sets of this layout have shares of classes: --to npz")
    return labels
