"""MLP, LeNet, AlexNet and VGG as the distillation literature has them."""

from __future__ import annotations

import math

from torch import nn

from .layers import NORMS, POOLS, Shape, first_padding


def mlp(shape: Shape) -> nn.Sequential:
    """Two hidden layers of 128.

    shape : (C, H, W) of an image.
    Source: the reference of DC, DSA and DM.

    >>> from bilp_core.nets import network
    >>> net = network("mlp", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (411146, 128)
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())


def lenet(shape: Shape) -> nn.Sequential:
    """Two 5x5 convolutions and two hidden linear layers; E is the last hidden layer's 84.

    shape : (C, H, W) of an image.
    Source: the reference of DC, DSA and DM.

    >>> from bilp_core.nets import network
    >>> net = network("lenet", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (62006, 84)
    """
    channels, *sides = shape
    padding = first_padding(shape)
    for layer_padding in (padding, 0):
        sides = [max(side + 2 * layer_padding - 4, 2) // 2 for side in sides]
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * sides[0] * sides[1], 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
    )


def alexnet(shape: Shape, norm: str, width: int = 128) -> nn.Sequential:
    """Five convolutions, 2x2 max pooling after the first, the second and the last.

    shape : (C, H, W) of an image. norm : see `layers.NORMS`. width : of the first; the others are up to twice as wide.
    Source: the reference of DC, DSA and DM.

    >>> from bilp_core.nets import network
    >>> net = network("alexnet", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (1872202, 3072)
    """
    middle = 3 * width // 2
    plan = [(width, 5, True), (middle, 5, True), (2 * width, 3, False), (middle, 3, False), (middle, 3, True)]
    layers: list[nn.Module] = []
    channels, widening = shape[0], first_padding(shape)
    for maps, kernel, pooled in plan:
        layers.append(nn.Conv2d(channels, maps, kernel, padding=kernel // 2 + widening))
        layers += [*NORMS[norm]((maps, 0, 0)), nn.ReLU(), *POOLS["max" if pooled else "none"]()]
        channels, widening = maps, 0
    return nn.Sequential(*layers)


def vgg11(shape: Shape, norm: str, width: int = 64) -> nn.Sequential:
    """Eight 3x3 convolutions in five stages, each ended by 2x2 max pooling; E = 8 widths, 512.

    shape : (C, H, W) of an image. norm : see `layers.NORMS`. width : of the first stage.
    Source: the reference of DC, DSA and DM.

    >>> from bilp_core.nets import network
    >>> net = network("vgg11", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (9231114, 512)
    """
    layers: list[nn.Module] = []
    channels, widening = shape[0], first_padding(shape)
    for times, convolutions in [(1, 1), (2, 1), (4, 2), (8, 2), (8, 2)]:
        for _ in range(convolutions):
            maps = times * width
            layers.append(nn.Conv2d(channels, maps, 3, padding=1 + widening))
            layers += [*NORMS[norm]((maps, 0, 0)), nn.ReLU()]
            channels, widening = maps, 0
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
