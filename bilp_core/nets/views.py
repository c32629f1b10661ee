"""Views of images: random resized crops, mirrored and mixed; each is kept as a few numbers and can be shown again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..errors import InputError
from .ensemble import Samples

TRIES = 10  # boxes that are drawn, of which the first that fits is taken; else the whole image
RATIO = math.log(4 / 3)  # of width to height, at most, and of height to width


@dataclass(frozen=True, eq=False)
class Views:
    """A view of each of N images, or several epochs of them, [E, N, ...].

    boxes    : int16 [N, 4], the top, left, height and width that are magnified to the whole size.
    mirrored : bool [N]. partner : int32 [N], the image whose view comes into the box `mixed`.
    mixed    : int16 [N, 4], the same four; empty where nothing is mixed.

    >>> import torch
    >>> from bilp_core.nets.views import Views
    >>> images = torch.arange(64.0).view(1, 1, 8, 8).expand(3, 1, 8, 8)
    >>> views = Views.draw(3, (8, 8), torch.Generator().manual_seed(0), least=0.5)
    >>> shown = views.shown(lambda picks: images[picks], torch.tensor([2, 0]))
    >>> shown.shape, torch.equal(shown[1], views.shown(lambda picks: images[picks], torch.tensor([0]))[0])
    (torch.Size([2, 1, 8, 8]), True)
    >>> views.shares(torch.tensor([0, 1, 0]), classes=2).sum(1).tolist()
    [1.0, 1.0, 1.0]
    """

    boxes: Annotated[Tensor, "int16 [..., 4]"]
    mirrored: Annotated[Tensor, "bool [...]"]
    partner: Annotated[Tensor, "int32 [...]"]
    mixed: Annotated[Tensor, "int16 [..., 4]"]

    @classmethod
    def draw(
        cls, count: int, size: tuple[int, int], rng: Generator, *, least: float, flip: bool = True, mix: bool = True
    ) -> Views:
        """size : (height, width). least : share of the area that a box has at least; it is uniform up to 1, and the
        logarithm of the ratio of its sides from log 3/4 to log 4/3. mix : CutMix, the share uniform. rng : on the CPU.

        Source: torchvision's RandomResizedCrop; Yun et al., CutMix, ICCV 2019.
        """
        height, width = size
        area, ratio = torch.rand(2, count, TRIES, generator=rng)
        area, ratio = (least + (1 - least) * area) * height * width, ((2 * ratio - 1) * RATIO).exp()
        sides = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()], 2)
        fits = ((sides > 0) & (sides <= torch.tensor(size))).all(2)
        chosen = sides[torch.arange(count), fits.int().argmax(1)]
        chosen = torch.where(fits.any(1, keepdim=True), chosen, torch.tensor(size, dtype=torch.float32))
        corner = (torch.rand(count, 2, generator=rng) * (torch.tensor(size) - chosen + 1)).floor()
        mirrored = torch.rand(count, generator=rng) < (0.5 if flip else 0.0)
        partner, box = torch.arange(count), torch.zeros(count, 4)
        if mix:
            partner = torch.randperm(count, generator=rng)
            reach = (1 - torch.rand(count, 1, generator=rng)).sqrt()
            centre = (torch.rand(count, 2, generator=rng) * torch.tensor(size)).floor()
            half = ((reach * torch.tensor(size)).floor() / 2).floor()
            low, high = (centre - half).clamp(min=0), torch.minimum(centre + half, torch.tensor(size))
            box = torch.cat([low, high - low], 1)
        return cls(torch.cat([corner, chosen], 1).short(), mirrored, partner.int(), box.short())

    @classmethod
    def stack(cls, epochs: list[Views]) -> Views:
        return cls(*(torch.stack([getattr(views, f.name) for views in epochs]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.mirrored)

    def __getitem__(self, rows: int | Tensor) -> Views:
        return Views(*(value[rows] for value in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to(self, device: torch.device | str) -> Views:
        there = torch.device(device).type != "cpu"  # which need not be waited for, as a copy that comes back must
        return Views(*(value.to(device, non_blocking=there) for value in self.tensors().values()))

    def expand(self, count: int) -> Views:
        """One view for `count` images, each mixed with none."""
        return Views(*(value.expand(count, *value.shape[1:]) for value in self.tensors().values()))

    def crops(self, images: Annotated[Tensor, "float [N, C, H, W]"]) -> Annotated[Tensor, "float [N, C, H, W]"]:
        """Each image's box, magnified (bilinear) and mirrored, but not mixed; differentiable."""
        top, left, height, width = self.boxes.long().unbind(1)
        rows = _magnified(top, height, images.shape[-2])
        columns = _magnified(left, width, images.shape[-1])
        columns = torch.where(self.mirrored[:, None, None], columns.flip(1), columns)
        return rows.to(images)[:, None] @ images @ columns.to(images).mT[:, None]

    def shown(self, images: Callable[[Tensor], Tensor], picks: Annotated[Tensor, "int64 [n]"]) -> Tensor:
        """The views of some images, [n, C, H, W], mixed. images : gives those of any indices."""
        views = self[picks]
        shown = views.crops(images(picks))
        if not views.mixed.any():
            return shown
        partner = views.partner.long()
        other = self[partner].crops(images(partner))
        top, left, height, width = views.mixed.long().unbind(1)
        inside = _between(top, height, shown.shape[-2])[:, :, None] & _between(left, width, shown.shape[-1])[:, None]
        return torch.where(inside[:, None], other, shown)

    def shares(self, labels: Annotated[Tensor, "int64 [N] or float [N, classes]"], classes: int, size: int = 64):
        """Labels of the views, float32 [N, classes], mixed as the images of so many pixels are."""
        soft = labels if labels.ndim == 2 else F.one_hot(labels, classes).float()
        other = (self.mixed[:, 2].float() * self.mixed[:, 3].float() / size)[:, None]
        return (1 - other) * soft + other * soft[self.partner.long()]


def _magnified(start: Tensor, length: Tensor, side: int) -> Tensor:
    """[N, side, side]: row i has the weights with which the pixels along a side make the i-th of a box."""
    last = (length - 1)[:, None]
    place = ((torch.arange(side, device=start.device) + 0.5) * (length[:, None] / side) - 0.5).clamp(min=0)
    low = torch.minimum(place.floor().long(), last)
    high, share = torch.minimum(low + 1, last), (place - low)[:, :, None]
    weights = torch.zeros(len(start), side, side, device=start.device)
    weights.scatter_add_(2, (start[:, None] + low)[:, :, None], 1 - share)
    return weights.scatter_add_(2, (start[:, None] + high)[:, :, None], share)


def _between(start: Tensor, length: Tensor, side: int) -> Tensor:
    place = torch.arange(side, device=start.device)
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def views_of(strategy: str) -> tuple[float, bool] | None:
    """What a strategy such as 'views:0.08_cutmix' or 'views:0.5' draws: `least` and `mix`; None for another kind.

    Raises InputError for one that is misspelt.

    >>> from bilp_core.nets.views import views_of
    >>> views_of("views:0.08_cutmix"), views_of("views:0.5"), views_of("color_crop")
    ((0.08, True), (0.5, False), None)
    """
    kind, _, rest = strategy.partition(":")
    if kind != "views":
        return None
    area, _, word = rest.partition("_")
    try:
        least = float(area)
    except ValueError:
        least = -1.0
    if not 0 < least <= 1 or word not in ("", "cutmix"):
        raise InputError(
            f"augmentation {strategy!r}: must be 'views:' and the least share of the area, above 0 and up to 1, then "
            "perhaps '_cutmix'"
        )
    return least, word == "cutmix"


@dataclass(frozen=True, eq=False)
class Shown:
    """Samples of one epoch: images in their views, labels as shares float32 [N, classes]."""

    images: Callable[[Tensor], Tensor]
    views: Views
    labels: Annotated[Tensor, "float32 [N, classes]"]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Annotated[Tensor, "[n]"] | None = None) -> Annotated[Tensor, "float [n, C, H, W]"]:
        picks = torch.arange(len(self), device=self.labels.device) if indices is None else indices
        return self.views.shown(self.images, picks)


@dataclass(frozen=True, eq=False)
class Viewed:
    """Samples in views that are drawn anew for every epoch, their labels mixed as the images are.

    strategy : see `views_of`. classes, size : of the labels; (height, width) of the images.
    """

    samples: Samples
    strategy: str
    classes: int
    size: tuple[int, int]
    flip: bool
    seed: int

    @property
    def labels(self) -> Tensor:
        return self.samples.labels

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Tensor | None = None) -> Tensor:
        return self.samples.batch(indices)

    def at(self, epoch: int) -> Shown:
        chosen = views_of(self.strategy)
        assert chosen is not None
        rng = Generator().manual_seed(self.seed + epoch)
        views = Views.draw(len(self), self.size, rng, least=chosen[0], flip=self.flip, mix=chosen[1])
        views = views.to(self.labels.device)
        return Shown(self.samples.batch, views, views.shares(self.labels, self.classes, math.prod(self.size)))
