"""What a teacher says of a synthetic set: logits for each of many views of every image, in half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError
from ..nets.views import Shown, Views

CHUNK = 256  # images that a teacher sees at a time


@dataclass(frozen=True, eq=False)
class Relabelled:
    """views : of each image, one an epoch, [E, M]. logits : float16 [E, M, classes], the teacher's on them.

    >>> import torch
    >>> from bilp_core.nets.views import Views
    >>> from bilp_core.synthetic import Relabelled
    >>> images, rng = torch.rand(4, 1, 8, 8), torch.Generator().manual_seed(0)
    >>> views = Views.stack([Views.draw(4, (8, 8), rng, least=0.5) for _ in range(3)])
    >>> found = Relabelled.by(lambda seen: seen.flatten(1)[:, :2], images, views)
    >>> found.logits.shape, found.logits.dtype, found.samples(images, temperature=2.0).at(4).labels.shape
    (torch.Size([3, 4, 2]), torch.float16, torch.Size([4, 2]))
    """

    views: Views
    logits: Annotated[Tensor, "float16 [E, M, classes]"]

    @classmethod
    @torch.no_grad()
    def by(cls, teacher: Callable[[Tensor], Tensor], images: Tensor, views: Views) -> Relabelled:
        """teacher : images -> logits, of a network in evaluation mode. Images and views are on its device."""
        said = []
        for epoch in range(len(views.mirrored)):
            parts = torch.arange(len(images), device=images.device).split(CHUNK)
            now = views[epoch]
            said.append(torch.cat([teacher(now.shown(images.__getitem__, picks)).half() for picks in parts]))
        return cls(views, torch.stack(said))

    def samples(self, images: Tensor, temperature: float) -> Labelled:
        """To train on: in each epoch the views of one, with the teacher's shares at a temperature."""
        return Labelled(images, self.views.to(images.device), self.logits, temperature)

    def tensors(self) -> dict[str, Tensor]:
        return {**self.views.tensors(), "logits": self.logits}

    @classmethod
    def made(cls, tensors: dict[str, Tensor], images: Tensor, classes: int) -> Relabelled:
        """Of what `tensors` gave. Raises InputError where that does not fit the images."""
        logits = tensors.pop("logits")
        views = Views(**tensors)
        shape = tuple(logits.shape[:2])
        fits = logits.shape[1:] == (len(images), classes) and views.boxes.shape == views.mixed.shape == (*shape, 4)
        if not fits or not tuple(views.mirrored.shape) == tuple(views.partner.shape) == shape:
            raise InputError(f"labels of views, logits {list(logits.shape)}, do not fit {len(images)} images")
        if not torch.isfinite(logits).all():
            raise InputError("labels of views are not finite")
        return cls(views, logits)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images in labelled views; after the last epoch there is, the first comes again."""

    images: Tensor
    views: Views
    logits: Tensor
    temperature: float

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        return self.at(0).labels

    def batch(self, indices: Tensor | None = None) -> Tensor:
        return self.images if indices is None else self.images[indices]

    def at(self, epoch: int) -> Shown:
        k = epoch % len(self.logits)
        shares = (self.logits[k].to(self.images.device).float() / self.temperature).softmax(1)
        return Shown(self.images.__getitem__, self.views[k], shares)


def label_bytes(epochs: int, images: int, classes: int) -> int:
    """What the labels of so many views take: logits in half precision, and 21 bytes for the view.

    >>> from bilp_core.synthetic.relabelled import label_bytes
    >>> label_bytes(300, images=50_000, classes=1000) / 1e9  # GB, of ImageNet at IPC 50
    30.315
    """
    return epochs * images * (2 * classes + 21)
