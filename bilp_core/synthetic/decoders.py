"""Parameterisations: synthetic images that are made from fewer numbers. A file keeps those numbers, not the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Decoder:
    """Numbers, in the fields that are tensors, and how images come of them.

    A new one is a dataclass with `decoded`, and an entry in `DECODERS`; sets then keep it in their files.

    >>> import torch
    >>> from bilp_core.synthetic import Bases, Decoder
    >>> made = Bases(torch.ones(2, 1, 4, 4), torch.ones(5, 2), size=(8, 8))
    >>> again = Bases.made(made.about(), made.tensors())  # as a file keeps it
    >>> isinstance(again, Decoder), again.numbers, again.decoded().shape
    (True, 42, torch.Size([5, 1, 8, 8]))
    """

    def decoded(self) -> Annotated[Tensor, "float32 [m, C, H, W]"]:
        """All images, differentiable."""
        raise NotImplementedError

    @property
    def numbers(self) -> int:
        """How many are kept."""
        return sum(t.numel() for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value.detach() for name, value in values.items() if isinstance(value, Tensor)}

    def about(self) -> dict[str, Any]:
        """The rest, JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        kind = next(name for name, cls in DECODERS.items() if cls is type(self))
        return {"kind": kind, **{name: list(v) for name, v in values.items() if not isinstance(v, Tensor)}}

    def detached(self) -> Self:
        return self.made(self.about(), self.tensors())

    @classmethod
    def made(cls, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls(**tensors, **{name: tuple(v) for name, v in about.items() if name != "kind"})


@dataclass(frozen=True, eq=False)
class Bases(Decoder):
    """Each image is a sum of the same few small images, magnified: LinBa's.

    bases : float32 [K, C, h, w]. coefficients : float32 [m, K], a row an image. size : (H, W) of the images.
    Source: Deng & Russakovsky, Remember the Past, NeurIPS 2022.

    >>> import torch
    >>> from bilp_core.synthetic import Bases
    >>> bases = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    >>> made = Bases(bases, torch.tensor([[5.0, 2.0], [1.0, 0.5]]), size=(4, 4))
    >>> made.decoded().shape, made.decoded()[0].unique().tolist(), made.numbers
    (torch.Size([2, 1, 4, 4]), [2.0], 12)
    """

    bases: Annotated[Tensor, "float32 [K, C, h, w]"]
    coefficients: Annotated[Tensor, "float32 [m, K]"]
    size: tuple[int, int]

    def decoded(self) -> Annotated[Tensor, "float32 [m, C, H, W]"]:
        return self.rows(slice(None))

    def rows(self, picks: Tensor | slice) -> Annotated[Tensor, "float32 [B, C, H, W]"]:
        """Some of the images, int64 [B]."""
        small = (self.coefficients[picks] @ self.bases.flatten(1)).unflatten(1, self.bases.shape[1:])
        return F.interpolate(small, size=self.size, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Hallucinators(Decoder):
    """Several small networks, each of which turns every base into an image: HaBa's.

    Network j turns the base b into D_j(scale_j * E_j(b) + shift_j), E a 3x3 convolution without padding and D its
    transpose. Images come in the order of the networks, for each in that of the bases.
    bases : float32 [M, c, H, W], c = C or 1. encoder : [n, C, c, 3, 3]. encoder_bias, decoder_bias : [n, C].
    scale, shift : [n, C, H - 2, W - 2]. decoder : [n, C, C, 3, 3].
    Source: Liu et al., Dataset Distillation via Factorization, NeurIPS 2022.

    >>> import torch
    >>> from bilp_core.synthetic import Hallucinators
    >>> made = Hallucinators.random(torch.zeros(10, 3, 32, 32), 5, 3, torch.Generator().manual_seed(0))
    >>> made.decoded().shape, (made.numbers - 10 * 3 * 32 * 32) // 5
    (torch.Size([50, 3, 32, 32]), 5568)
    """

    bases: Annotated[Tensor, "float32 [M, c, H, W]"]
    encoder: Annotated[Tensor, "float32 [n, C, c, 3, 3]"]
    encoder_bias: Annotated[Tensor, "float32 [n, C]"]
    scale: Annotated[Tensor, "float32 [n, C, h, w]"]
    shift: Annotated[Tensor, "float32 [n, C, h, w]"]
    decoder: Annotated[Tensor, "float32 [n, C, C, 3, 3]"]
    decoder_bias: Annotated[Tensor, "float32 [n, C]"]

    @classmethod
    def random(cls, bases: Tensor, count: int, channels: int, rng: torch.Generator) -> Hallucinators:
        """`count` networks as PyTorch begins its convolutions, scale 1 and shift 0. rng : on the device of bases.

        Raises InputError for images under 3x3 pixels.
        """
        _, c, height, width = bases.shape
        if min(height, width) < 3:
            raise InputError(f"images of {height}x{width}: hallucinators need 3x3 pixels")

        def uniform(*shape: int, fan: int) -> Tensor:
            return (torch.rand(shape, generator=rng, device=bases.device) * 2 - 1) / fan**0.5

        inner = torch.ones(count, channels, height - 2, width - 2, device=bases.device)
        return cls(
            bases,
            uniform(count, channels, c, 3, 3, fan=9 * c),
            uniform(count, channels, fan=9 * c),
            inner,
            torch.zeros_like(inner),
            uniform(count, channels, channels, 3, 3, fan=9 * channels),
            uniform(count, channels, fan=9 * channels),
        )

    def decoded(self) -> Annotated[Tensor, "float32 [m, C, H, W]"]:
        return torch.cat([self.rendered(self.bases, j) for j in range(len(self.encoder))])

    def rendered(self, bases: Tensor, j: int) -> Tensor:
        """[B, C, H, W]: bases as network j shows them."""
        hidden = F.conv2d(bases, self.encoder[j], self.encoder_bias[j]) * self.scale[j] + self.shift[j]
        return F.conv_transpose2d(hidden, self.decoder[j], self.decoder_bias[j])


DECODERS: dict[str, type[Decoder]] = {"bases": Bases, "hallucinators": Hallucinators}


def budget(numbers: int, classes: int, shape: tuple[int, ...]) -> float:
    """What so many numbers are in images [C, H, W] = `shape` a class.

    >>> from bilp_core.synthetic.decoders import budget
    >>> round(budget(30_720 + 5 * 5568, classes=10, shape=(3, 32, 32)), 3)  # HaBa's at "IPC 1"
    1.906
    """
    return numbers / (classes * prod(shape))
