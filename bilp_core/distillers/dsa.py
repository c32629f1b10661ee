"""Differentiable Siamese augmentation (Zhao & Bilen, ICML 2021)."""

from dataclasses import dataclass
from typing import ClassVar

from .dc import DC


@dataclass(frozen=True)
class DSA(DC):
    """DC with one augmentation, drawn anew for each class, on its real and synthetic images alike.

    The authors start from real images; BiLP starts from noise (Sec. 6.3), and so do we by default.
    """

    name: ClassVar[str] = "dsa"
    summary: ClassVar[str] = "gradient matching under Siamese augmentation"

    augment: bool = True
