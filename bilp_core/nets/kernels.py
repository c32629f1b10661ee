"""Kernels of networks of endless width: the covariance of their outputs (NNGP), and the neural tangent kernel (NTK).

Of two images x and y, K[p, q] is the covariance of a layer at position p of x and q of y, T[p, q] the tangent kernel.
Weights have variance GAIN / (fan in), biases BIAS^2, all in the parameterisation of kernels:

    convolution    K <- BIAS^2 + GAIN mean_d K[p + d, q + d], 0 outside;  T <- K + GAIN mean_d T[p + d, q + d]
    ReLU           K <- (r + (pi - angle) K) / 2 pi;  T <- T (pi - angle) / 2 pi
                   with v, w the variances of x at p and of y at q, r = (v w - K^2)^(1/2), angle = atan2(r, K)
    averages       over the 2x2 positions of p, and those of q
    flat, linear   K <- BIAS^2 + GAIN mean_p K[p, p];  T <- K + GAIN mean_p T[p, p]; with a global head, over p and q

With a flat head only pairs of near positions matter: those with q - p up to R, where R runs backwards from 0 as
2 R + 1 at each average. So K is kept as [pairs, H, W, 2 R + 1, 2 R + 1], by p and q - p, which is exact. A convolution
is then a box filter over p.

Source: Cho & Saul, Kernel Methods for Deep Learning, NeurIPS 2009; Arora et al., On Exact Computation with an
Infinitely Wide Neural Net, NeurIPS 2019; the banded form and its code are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .layers import BIAS, GAIN

KINDS, HEADS, TYPES = ("fc", "conv", "convnet"), ("flat", "global"), ("ntk", "nngp")
FLAT = 1e-7  # of r / (v w)^(1/2), under which two inputs count as one
HELD = 100  # bytes a number of a pair that a pass back holds: a dozen float64 values


class _Arc(torch.autograd.Function):
    """What ReLU makes of a covariance, and of its tangent kernel a factor; K, v, w of one shape.

    For one input twice r is 0 and the plain derivatives are NaN; those of the factor are unbounded there, and count as
    0.
    """

    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        r = (v * w - k * k).clamp(min=0).sqrt()
        factor = (math.pi - torch.atan2(r, k)) / (2 * math.pi)
        ctx.save_for_backward(k, v, w, r, factor)
        return r / (2 * math.pi) + k * factor, factor

    @staticmethod
    def backward(ctx: Any, by_k: Tensor, by_factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, v, w, r, factor = ctx.saved_tensors
        one = r <= FLAT * (v * w).sqrt()
        inverse = torch.where(one, 0.0, by_factor / (2 * math.pi * torch.where(one, 1.0, r)))
        half = by_k * r / (4 * math.pi) - inverse * k / 2
        safe = torch.finfo(k.dtype).tiny
        return by_k * factor + inverse, half / v.clamp(min=safe), half / w.clamp(min=safe)


@dataclass(frozen=True)
class Kernel:
    """The kernel of a network of endless width with ReLU.

    kind : 'fc', `depth` hidden layers on flat pixels; 'conv', `depth` 3x3 convolutions without pooling; 'convnet',
           `depth` blocks of a 3x3 convolution and averages over 2x2, with `stem` after one convolution more.
    head : of convolutions: 'flat', a linear layer on all positions, or 'global', on their average.
    of   : 'ntk' or 'nngp'.
    Called with images [N, C, H, W] and [M, C, H, W] it gives float64 [N, M], differentiable in both, also where one
    image is the other's equal.
    Raises InputError for a value that is not allowed.

    >>> import torch
    >>> from bilp_core.nets.kernels import Kernel
    >>> a, b = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    >>> [round(float(Kernel("fc", 1)(a, other)), 6) for other in (a, b)]
    [2.03, 0.34154]
    """

    kind: str
    depth: int
    head: str = "flat"
    of: str = "ntk"
    stem: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("head", HEADS), ("of", TYPES)):
            if getattr(self, name) not in allowed:
                raise InputError(f"kernel: {name} = {getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if self.depth < 1:
            raise InputError(f"kernel: depth = {self.depth}: must be at least 1")

    def sizes(self, shape: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
        """H, W and the reach of q - p in both, of each convolution; the last is what the head sees.

        Raises InputError where averages leave nothing of images [C, H, W] = `shape`.
        """
        pools = [self.kind == "convnet"] * self.depth
        pools = [False, *pools] if self.stem else pools
        sides = [(shape[1], shape[2])]
        for pool in pools:
            sides.append((sides[-1][0] // 2, sides[-1][1] // 2) if pool else sides[-1])
        if not all(sides[-1]):
            raise InputError(
                f"kernel: depth = {self.depth}: averages over 2x2 leave nothing of {shape[1]}x{shape[2]} images; at "
                f"most {int(math.log2(min(shape[1:])))}"
            )
        reach = [(sides[-1][0] - 1, sides[-1][1] - 1) if self.head == "global" else (0, 0)]
        for pool, (height, width) in zip(reversed(pools), reversed(sides[:-1]), strict=True):
            y, x = reach[-1]
            reach.append((min(2 * y + 1, height - 1), min(2 * x + 1, width - 1)) if pool else (y, x))
        return [(*side, *r) for side, r in zip(sides, reversed(reach), strict=True)]

    def numbers(self, shape: tuple[int, ...]) -> int:
        """Values that all layers have for a pair of images [C, H, W] = `shape`.

        >>> from bilp_core.nets.kernels import Kernel
        >>> Kernel("convnet", 3).numbers((3, 32, 32)), Kernel("conv", 3).numbers((3, 8, 8))
        (243520, 192)
        """
        if self.kind == "fc":
            return self.depth
        return sum(h * w * (2 * y + 1) * (2 * x + 1) for h, w, y, x in self.sizes(shape)[:-1])

    def __call__(
        self, one: Annotated[Tensor, "float [N, C, H, W]"], other: Annotated[Tensor, "float [M, C, H, W]"]
    ) -> Annotated[Tensor, "float64 [N, M]"]:
        one, other = one.double(), other.double()
        if self.kind == "fc":
            return self._flat(one.flatten(1), other.flatten(1))
        own, others = self.variances(one), self.variances(other)
        rows, columns = (
            i.flatten() for i in torch.meshgrid(
                torch.arange(len(one), device=one.device), torch.arange(len(other), device=one.device), indexing="ij"
            )
        )  # fmt: skip
        found = self._pairs(
            one[rows], other[columns], [v[rows] for v in own], [v[columns] for v in others], tuple(one.shape[1:])
        )
        return found.view(len(one), len(other))

    def _flat(self, x: Tensor, y: Tensor) -> Tensor:
        k = BIAS**2 + GAIN / x.shape[1] * (x @ y.T)
        v, w = ((BIAS**2 + GAIN / x.shape[1] * z.square().sum(1)) for z in (x, y))
        t = k
        for _ in range(self.depth):
            k, factor = _Arc.apply(k, *torch.broadcast_tensors(v[:, None], w[None]))
            k = BIAS**2 + GAIN * k
            t = k + GAIN * factor * t
            v, w = BIAS**2 + v, BIAS**2 + w
        return t if self.of == "ntk" else k

    def variances(self, x: Annotated[Tensor, "float64 [N, C, H, W]"]) -> list[Tensor]:
        """K[p, p] of each image with itself, before each ReLU: [N, H, W] each."""
        found: list[Tensor] = []
        self._pairs(x, x, found, found, tuple(x.shape[1:]), fill=True)
        return found

    def _pairs(
        self, x: Tensor, y: Tensor, own: list[Tensor], others: list[Tensor], shape: tuple[int, ...], fill: bool = False
    ) -> Tensor:
        """The kernel of pairs, [B]. own, others : variances of each; with `fill`, those of x = y, found on the way."""
        sizes = self.sizes(shape)
        k = (x[..., None, None] * shifted(y, *sizes[0][2:])).mean(1)
        t = torch.zeros_like(k)
        inside = _inside(sizes[0], k)
        for layer, ((height, width, up, right), after) in enumerate(pairwise(sizes)):
            k = (BIAS**2 + GAIN * _box(k)) * inside
            t = k + GAIN * _box(t)
            if fill:
                own.append(k[..., up, right])
            v = own[layer][..., None, None].expand_as(k)
            k, factor = _Arc.apply(k, v, shifted(others[layer][:, None], up, right)[:, 0])
            k, t = k * inside, t * factor * inside
            if after[:2] != (height, width):
                inside = _inside(after, k)  # the odd last row and column, which averages drop, do not come in as q
                k, t = (_pooled(_pooled(z, 1, after[2]), 2, after[3]) * inside for z in (k, t))
        if self.head == "flat":
            k, t = (z[..., z.shape[3] // 2, z.shape[4] // 2].mean((1, 2)) for z in (k, t))
        else:
            k, t = (z.sum((1, 2, 3, 4)) / (z.shape[1] * z.shape[2]) ** 2 for z in (k, t))
        k = BIAS**2 + GAIN * k
        return k + GAIN * t if self.of == "ntk" else k


def shifted(maps: Tensor, up: int, right: int) -> Tensor:
    """[B, C, H, W] -> [B, C, H, W, 2 up + 1, 2 right + 1]: what stands so far from each position, 0 outside."""
    padded = F.pad(maps, (right, right, up, up))
    return padded.unfold(2, 2 * up + 1, 1).unfold(3, 2 * right + 1, 1)


def _inside(size: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """1 where q lies in the image and 0 elsewhere: [1, H, W, 2 up + 1, 2 right + 1]."""
    height, width, up, right = size
    return shifted(torch.ones(1, 1, height, width, dtype=like.dtype, device=like.device), up, right)[0]


def _box(k: Tensor) -> Tensor:
    """Means over the 3x3 positions around p, 0 outside, for each offset."""
    b, h, w, y, x = k.shape
    flat = k.permute(0, 3, 4, 1, 2).reshape(b, y * x, h, w)
    return F.avg_pool2d(flat, 3, 1, 1).view(b, y, x, h, w).permute(0, 3, 4, 1, 2)


def _pooled(k: Tensor, axis: int, reach: int) -> Tensor:
    """Averages along an axis of p and the same of q: of p = 2 P + a and q - p = 2 (Q - P) + b - a, for a and b 0 or 1.

    axis : 1 or 2. reach : of Q - P. An odd last row is dropped.
    """
    half, centre = k.shape[axis] // 2, (k.shape[axis + 2] - 1) // 2
    total: Tensor | None = None
    for a in (0, 1):
        rows = k.narrow(axis, 0, 2 * half).unflatten(axis, (half, 2)).select(axis + 1, a)
        for b in (0, 1):
            picks = torch.arange(-reach, reach + 1, device=k.device) * 2 + b - a + centre
            part = rows.index_select(axis + 2, picks)
            total = part if total is None else total + part
    assert total is not None
    return total / 4
