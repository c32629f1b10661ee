"""Multi-formation: one stored image stands for several, cut out of it and magnified (Kim et al., ICML 2022)."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

DECODERS = ("single", "multi", "bound")
BOUND = 128  # images of a class that the decoder 'bound' makes at most


@dataclass(frozen=True)
class Formation:
    """factor : f; a stored image is cut into f x f parts, each magnified to the whole size. 1: it stands for itself.

    decode : 'single' uses f alone; 'multi' all factors from 1 to f; 'bound' gives as many images as possible the
             factor f, then f - 1, ..., so that a class has at most 128.
    Raises InputError for a factor or a decoder that there is not.
    Source: IDC (Kim et al., ICML 2022), its code for the decoders.

    >>> import torch
    >>> from bilp_core.synthetic import Formation
    >>> stored = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> images, origin = Formation(factor=2).decoded(stored, fill=torch.zeros(1))
    >>> tuple(images.shape), origin.tolist()
    ((12, 1, 8, 8), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    >>> len(Formation(factor=2, decode="multi").decoded(stored, fill=torch.zeros(1))[0])
    15
    """

    factor: int = 1
    decode: str = "single"

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= 8:
            raise InputError(f"factor = {self.factor}: must be from 1 to 8")
        if self.decode not in DECODERS:
            raise InputError(f"decode = {self.decode!r}: must be one of {', '.join(DECODERS)}")

    def decoded(
        self, stored: Annotated[Tensor, "float [n, C, H, W]"], fill: Annotated[Tensor, "[C]"]
    ) -> tuple[Annotated[Tensor, "float [m, C, H, W]"], Annotated[Tensor, "int64 [m]"]]:
        """Images [m, C, H, W] that the stored ones of a class, [n, C, H, W], stand for, and the index in 0..n-1 of
        the one each comes from, int64 [m].

        fill : [C], what is put at the right and below where a side is no multiple of the factor.
        """
        everyone = torch.arange(len(stored), device=stored.device)
        if self.factor == 1:
            return stored, everyone
        plan = self._plan(len(stored))
        images = torch.cat([_parts(stored[rows], factor, fill) for factor, rows in plan])
        return images, torch.cat([everyone[rows].repeat(factor**2) for factor, rows in plan])

    def _plan(self, count: int) -> list[tuple[int, slice]]:
        """(factor, which stored images) of each piece."""
        everyone = slice(0, count)
        if self.decode == "single":
            return [(self.factor, everyone)]
        if self.decode == "multi":
            return [(factor, everyone) for factor in range(1, self.factor + 1)]
        plan, start, room = [], 0, BOUND - count  # room beyond one image for each
        for factor in range(self.factor, 0, -1):
            left = count - start
            # as the reference counts: room / f^2, though an image takes f^2 - 1 of it
            taken = left if factor == 1 else max(0, min(room // factor**2, left))
            if taken:
                plan.append((factor, slice(start, start + taken)))
            start, room = start + taken, room - taken * (factor**2 - 1)
        return plan


def _parts(images: Tensor, factor: int, fill: Tensor) -> Tensor:
    """All images' first part, then all images' second part, ...: [factor^2 n, C, H, W]."""
    size = images.shape[-2:]
    if factor == 1:
        return images
    height, width = (-(-side // factor) for side in size)
    missing = (0, width * factor - size[1], 0, height * factor - size[0])
    if any(missing):
        ground = fill.to(images).view(-1, 1, 1)
        images = F.pad(images - ground, missing) + ground
    cells = [row.split(width, -1) for row in images.split(height, -2)]
    parts = torch.cat([cell for row in cells for cell in row])
    return F.interpolate(parts, size=size, mode="bilinear", align_corners=False)


def mixed(images: Tensor, factor: int, mode: str = "nearest") -> Tensor:
    """The start 'mix': [factor^2 n, C, H, W] shrunk and put together, part by part, to [n, ...].

    mode : of shrinking, "nearest" pixel as in IDC's code or "bilinear" as in IDM's.

    >>> import torch
    >>> from bilp_core.synthetic.formation import mixed
    >>> four = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    >>> mixed(four, factor=2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    sizes = [[side // factor + (i < side % factor) for i in range(factor)] for side in images.shape[-2:]]
    cells = iter(images.chunk(factor**2))
    rows = [torch.cat([F.interpolate(next(cells), size=(h, w), mode=mode) for w in sizes[1]], -1) for h in sizes[0]]
    return torch.cat(rows, -2)
