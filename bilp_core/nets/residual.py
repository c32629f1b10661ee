"""ResNets of the distillation literature."""

from __future__ import annotations

from torch import Tensor, nn

from .layers import NORMS, Shape


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `pooled` halves by 2x2 averaging where a stride would.

    >>> import torch
    >>> from bilp_core.nets.residual import ResidualBlock
    >>> block = ResidualBlock(channels=4, width=8, stride=2, norm="instance", pooled=True)
    >>> tuple(block(torch.zeros(1, 4, 8, 8)).shape)
    (1, 8, 4, 4)
    """

    def __init__(self, channels: int, width: int, stride: int, norm: str, pooled: bool) -> None:
        super().__init__()
        halving = [nn.AvgPool2d(2)] if pooled and stride == 2 else []
        stride = 1 if pooled else stride
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            *NORMS[norm]((width, 0, 0)),
            nn.ReLU(),
            *halving,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            *NORMS[norm]((width, 0, 0)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False),
                *halving,
                *NORMS[norm]((width, 0, 0)),
            )

    def forward(self, x: Tensor) -> Tensor:
        return (self.residual(x) + self.shortcut(x)).relu()


def _residual_stages(width: int, blocks: int, norm: str, pooled: bool) -> list[nn.Module]:
    """Four stages of residual blocks; each but the first doubles the width and halves the map."""
    layers: list[nn.Module] = []
    channels = width
    for stage in range(4):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(ResidualBlock(channels, width << stage, stride, norm, pooled))
            channels = width << stage
    return layers


def resnet18(shape: Shape, norm: str, pooled: bool = False, width: int = 64) -> nn.Sequential:
    """Eight residual blocks after a 3x3 stem. E = 8 widths, 512, or the whole last map when `pooled`.

    shape : (C, H, W) of an image. norm : see `layers.NORMS`. width : of the first stage.
    Source: the reference of DC, DSA and DM.

    >>> from bilp_core.nets import network
    >>> net = network("resnet18", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (11173962, 512)
    """
    stem = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), *NORMS[norm]((width, 0, 0)), nn.ReLU()]
    stages = _residual_stages(width, 2, norm, pooled)
    return nn.Sequential(*stem, *stages, *([] if pooled else [nn.AdaptiveAvgPool2d(1)]))


def resnet10(shape: Shape, norm: str, pooled: bool = False) -> nn.Sequential:
    """Four residual blocks after a stem that shrinks maps over 64 pixels by 2 and over 128 by 4, by averages
    alone when `pooled`. E = 256 up to 32 pixels, 512 beyond.

    Source: IDC's code, ResNet and ResNetAP of depth 10.

    >>> from bilp_core.nets import network
    >>> net = network("resnet10", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (1228970, 256)
    """
    side = min(shape[1:])
    large = side > 128
    width, kernel = 32 if side <= 32 else 64, 7 if large else 3
    stride = 2 if large and not pooled else 1
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, kernel, stride=stride, padding=kernel // 2, bias=False)]
    layers += [*NORMS[norm]((width, 0, 0)), nn.ReLU()]
    if side > 64:
        layers.append(nn.AvgPool2d(4 if large else 2) if pooled else nn.MaxPool2d(3, 2, padding=1))
    return nn.Sequential(*layers, *_residual_stages(width, 1, norm, pooled), nn.AdaptiveAvgPool2d(1))
