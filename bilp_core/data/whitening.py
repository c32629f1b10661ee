"""ZCA whitening: pixels made uncorrelated and equally varied, in the rotation that changes images least.

A kind is chosen by name, `WHITENINGS`:

    none       images are normalised channel by channel
    absolute   0.1 is added to the eigenvalues of the covariance (over N - 1) of pixels in [0, 1]: MTT, by kornia
    relative   a tenth of the mean eigenvalue is added to those of the covariance (over N) of normalised pixels; where
               there are fewer samples than pixels, the directions without variance stay as they are: FRePo
    channels   as relative, but about the mean of a channel, not of each pixel, and no direction is left out: RFAD
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError
from .images import CHUNK, ImageData, Map, feed
from .stored import Stored

WHITENINGS = ("none", "absolute", "relative", "channels")
STRENGTH = 0.1  # of all kinds
LARGEST = 3 * 64 * 64  # values of an image; the matrix has as many rows and columns


@dataclass(frozen=True, eq=False)
class Whitening:
    """Whitened images are (pixels - mean) @ matrix, of flattened pixels in [0, 1].

    mean : float32 [D]. matrix : float32 [D, D], D = C x H x W.
    source : stands for the kind and the samples it was fitted on; empty where they are not known.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.data import whitening
    >>> train, test = load("digits")
    >>> zca = whitening.fit(train, "absolute")
    >>> white = zca.apply(test.images)
    >>> white.shape == test.images.shape
    True
    >>> torch.allclose(zca.invert(white), test.images / 255, atol=1e-5)
    True
    """

    mean: Annotated[Tensor, "float32 [D]"]
    matrix: Annotated[Tensor, "float32 [D, D]"]
    source: str = ""

    @property
    def identity(self) -> str:
        """Stands for the map: by its source, since the last digits of a matrix depend on the machine."""
        return self.source or _digest("", self.mean, self.matrix)

    @cached_property
    def inverse(self) -> Tensor:
        """float32 [D, D]."""
        return torch.linalg.inv(self.matrix.double()).float()

    def apply(self, images: Annotated[Tensor, "uint8 [N, C, H, W]"]) -> Annotated[Tensor, "float32 [N, C, H, W]"]:
        """uint8 images [N, C, H, W] as whitened float32 ones."""
        parts = [of_pixels(self, part.float() / 255) for part in images.split(CHUNK)]
        return torch.cat(parts) if parts else images.float()

    def invert(self, images: Annotated[Tensor, "float32 [N, C, H, W]"]) -> Annotated[Tensor, "float32 [N, C, H, W]"]:
        """Whitened images as pixels, [0, 1] if they are natural; differentiable."""
        return (images.flatten(1) @ self.inverse + self.mean).view(images.shape)

    def to(self, device: torch.device | str) -> Whitening:
        return replace(self, mean=self.mean.to(device), matrix=self.matrix.to(device))


def of_pixels(
    whitening: Map, pixels: Annotated[Tensor, "float32 [N, C, H, W]"]
) -> Annotated[Tensor, "float32 [N, C, H, W]"]:
    """Pixels, [0, 1] where they are natural, as whitened images; differentiable.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.data import whitening
    >>> train, _ = load("digits")
    >>> zca = whitening.fit(train, "absolute")
    >>> torch.equal(whitening.of_pixels(zca, train.images / 255), zca.apply(train.images))
    True
    """
    return ((pixels.flatten(1) - whitening.mean) @ whitening.matrix).view(pixels.shape)


def _digest(kind: str, *tensors: Tensor | Stored) -> str:
    digest = hashlib.sha256(kind.encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        feed(digest, tensor)
    return digest.hexdigest()


def check(kind: str, shape: tuple[int, ...]) -> None:
    """Raise InputError for an unknown kind, or images too large to be whitened.

    >>> from bilp_core.data import whitening
    >>> whitening.check("relative", (3, 32, 32))
    >>> whitening.check("pca", (3, 32, 32))
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: zca = 'pca': must be one of none, absolute, relative, channels
    """
    if kind not in WHITENINGS:
        raise InputError(f"zca = {kind!r}: must be one of {', '.join(WHITENINGS)}")
    if kind != "none" and prod(shape) > LARGEST:
        side = prod(shape)
        raise InputError(
            f"zca = {kind!r}: images of {list(shape)} need a matrix of {side} x {side}; whitening goes up to "
            f"{LARGEST} values an image (3x64x64)"
        )


def fit(data: ImageData, kind: str) -> Whitening:
    """The whitening of the samples of `data`, of a kind other than 'none'; decomposed in float64.

    Raises InputError for an unknown kind, images too large, or fewer than two samples.
    Source: the code of MTT ('absolute', by kornia), of FRePo ('relative') and of RFAD ('channels'); how many directions
    stay as they are in FRePo's is counted exactly here.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.data import whitening
    >>> train, _ = load("digits")
    >>> zca = whitening.fit(train, "relative")
    >>> tuple(zca.matrix.shape)  # as many rows and columns as an image has values
    (64, 64)
    >>> variances = torch.linalg.eigvalsh(torch.cov(zca.apply(train.images).flatten(1).T))
    >>> round(float(variances.max()), 2)  # of the direction that varies most
    0.99
    """
    check(kind, data.shape)
    if kind == "none" or len(data) < 2:
        raise InputError(f"zca = {kind!r} of {len(data)} samples: there is nothing to whiten")
    count, size = len(data), prod(data.shape)
    mean = torch.zeros(size, dtype=torch.float64, device=data.device)
    for part in data.images.split(CHUNK):
        mean += part.flatten(1).double().sum(0) / (255 * count)
    level = mean.view(data.shape[0], -1)
    if kind == "channels":
        mean = level.mean(1).repeat_interleave(level.shape[1])
    covariance = torch.zeros(size, size, dtype=torch.float64, device=data.device)
    for part in data.images.split(CHUNK):
        centred = part.flatten(1).double() / 255 - mean
        covariance.addmm_(centred.T, centred)
    covariance /= count - 1 if kind == "absolute" else count
    scale = torch.ones_like(mean)
    if kind != "absolute":  # normalising is part of the matrix, so that the map always starts from pixels
        variance = (covariance.diag().view_as(level) + mean.view_as(level) ** 2).mean(1) - level.mean(1) ** 2
        scale = variance.clamp(min=1e-12).sqrt().repeat_interleave(level.shape[1])
        covariance /= scale[:, None] * scale
    strength = STRENGTH if kind == "absolute" else STRENGTH * covariance.trace() / size
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    roots = (values + strength).rsqrt()
    if kind == "relative":
        # N samples vary in N - 1 directions; the reference counts N, which leaves one of the others to chance
        roots[: max(0, size - count + 1)] = 1
    matrix = (vectors * roots) @ vectors.T / scale[:, None]
    return Whitening(mean.float(), matrix.float(), _digest(kind, data.images))


def whitened(data: ImageData, kind: str) -> ImageData:
    """`data` whitened by its own samples; itself where `kind` is none or it is whitened already.

    >>> from bilp_core import load
    >>> from bilp_core.data import whitened
    >>> train, _ = load("digits")
    >>> white = whitened(train, "absolute")
    >>> white.batch().shape == train.batch().shape, whitened(train, "none") is train
    (True, True)
    """
    check(kind, data.shape)
    return data if kind == "none" or data.whitening else with_whitening(data, fit(data, kind))


def with_whitening(data: ImageData, whitening: Map | None) -> ImageData:
    """`data` whose `batch` gives images whitened so, made once and kept; without any for None. Images that stay on the
    disk are whitened when they are read.

    Raises InputError if the whitening is of images of another size.

    >>> from bilp_core import load
    >>> from bilp_core.data import whitened, with_whitening
    >>> train, test = load("digits")
    >>> white = whitened(train, "relative")
    >>> with_whitening(test, white.whitening).whitening.identity == white.whitening.identity
    True
    >>> with_whitening(white, None).white is None
    True
    """
    if whitening is None:
        return replace(data, whitening=None, white=None)
    if len(whitening.mean) != prod(data.shape):
        raise InputError(
            f"a whitening of images with {len(whitening.mean)} values does not fit those of {data.name}, {data.shape}"
        )
    whitening = whitening.to(data.device)
    white = None if isinstance(data.images, Stored) else whitening.apply(data.images)
    return replace(data, whitening=whitening, white=white)
