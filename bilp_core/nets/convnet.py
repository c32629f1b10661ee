"""ConvNets: that of DC, DSA, DM and nearly all later work, FRePo's, and that of kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import ACTIVATIONS, NORMS, POOLS, Shape, first_padding


def convnet(
    shape: Shape,
    depth: int | None = None,
    width: int = 128,
    norm: str = "instance",
    act: str = "relu",
    pool: str = "avg",
) -> nn.Sequential:
    """Blocks of 3x3 convolution, norm, activation and 2x2 pooling: all before the last linear layer.

    shape : (C, H, W) of an image. The options are those of the spec, see `bilp_core.nets.networks`.
    Source: the reference of DC, DSA and DM; supplement Sec. 6.2.

    >>> from bilp_core.nets import network
    >>> net = network("convnet", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (320010, 2048)
    >>> network("convnet:depth=1,width=4", (1, 8, 8), 10).classifier.in_features
    64
    """
    channels, height, side = shape
    depth = depth or (4 if min(height, side) >= 64 else 3)
    layers: list[nn.Module] = []
    for block in range(depth):
        widening = first_padding(shape) if block == 0 else 0
        layers.append(nn.Conv2d(channels, width, 3, padding=1 + widening))
        channels, height, side = width, height + 2 * widening, side + 2 * widening
        layers += [*NORMS[norm]((channels, height, side)), ACTIVATIONS[act](), *POOLS[pool]()]
        if pool != "none":
            height, side = height // 2, side // 2
    return nn.Sequential(*layers)


def kernel_convnet(
    shape: Shape, depth: int | None = None, width: int = 256, norm: str = "none", pool: str = "avg", stem: str = "none"
) -> nn.Sequential:
    """A ConvNet as kernels are taken of: no wider padding of any images, no norm, and with stem = 'conv' a convolution
    and activation before the blocks.

    shape : (C, H, W) of an image.
    Source: the code of RFAD, and with the stem that of KIP.

    >>> from bilp_core.nets import network
    >>> net = network("kernel-convnet", (1, 28, 28), 10)
    >>> sum(p.numel() for p in net.features.parameters()), net.classifier.in_features
    (1182720, 2304)
    """
    channels, height, side = shape
    depth = depth or (4 if min(height, side) >= 64 else 3)
    layers: list[nn.Module] = []
    for block in range(depth + (stem == "conv")):
        pooled = pool if block or stem == "none" else "none"
        layers += [nn.Conv2d(channels, width, 3, padding=1), *NORMS[norm]((width, height, side)), nn.ReLU()]
        layers += POOLS[pooled]()
        channels = width
        if pooled != "none":
            height, side = height // 2, side // 2
    return nn.Sequential(*layers)


class FlaxBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose running statistics keep a tenth of their past, with the biased variance, as in FRePo's code.

    >>> import torch
    >>> from bilp_core.nets.convnet import FlaxBatchNorm
    >>> norm = FlaxBatchNorm(1).train()
    >>> _ = norm(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1))  # mean 1, variance 1; before: 0 and 1
    >>> [round(float(value), 3) for value in (norm.running_mean, norm.running_var)]
    [0.9, 1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            for running, now in ((self.running_mean, mean), (self.running_var, variance)):
                assert running is not None
                running.mul_(0.1).add_(now, alpha=0.9)
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def frepo_convnet(shape: Shape, depth: int | None = None, width: int = 128, norm: str = "none") -> nn.Sequential:
    """Blocks of 3x3 convolution, ReLU and 2x2 averages; each doubles the width, and from the second on it starts with
    the norm.

    shape : (C, H, W) of an image.
    Source: FRePo's code.

    >>> from bilp_core.nets import network
    >>> net = network("frepo-convnet:norm=batch", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (1561610, 8192)
    """
    channels, height, side = shape
    least = min(height, side)
    depth = depth or (5 if least >= 128 else 4 if least >= 64 else 3)
    layers: list[nn.Module] = []
    for block in range(depth):
        widening = first_padding(shape) if block == 0 else 0
        if block:
            layers += [FlaxBatchNorm(channels)] if norm == "batch" else NORMS[norm]((channels, height, side))
        layers.append(nn.Conv2d(channels, width << block, 3, padding=1 + widening))
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
        channels, height, side = width << block, height // 2 + widening, side // 2 + widening
    return nn.Sequential(*layers)
