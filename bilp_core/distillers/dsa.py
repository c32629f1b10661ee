"""Differentiable Siamese augmentation (Zhao & Bilen, ICML 2021)."""

from dataclasses import dataclass
from typing import ClassVar

from ..data.images import ImageData
from ..errors import InputError
from .dc import DC


@dataclass(frozen=True)
class DSA(DC):
    """DC with one augmentation, drawn anew for each class, on its real and synthetic images alike.

    The authors start from real images; BiLP starts from noise (Sec. 6.3), and so do we by default.
    Raises InputError for a value out of range.
    Source: Zhao & Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("dsa", iterations=2)
    >>> method.strategy(train)  # a mirrored digit is another one
    'color_crop_cutout_scale_rotate'
    >>> distill(method, train, ipc=1, network="convnet:depth=1,width=4").images.shape
    torch.Size([10, 1, 8, 8])
    """

    name: ClassVar[str] = "dsa"
    summary: ClassVar[str] = "gradient matching under Siamese augmentation"

    augment: bool = True

    def strategy(self, data: ImageData) -> str:
        if data.frames > 1:
            raise InputError(f"dsa: {data.name} has clips, of which no augmentation is defined: take dc")
        return super().strategy(data)
