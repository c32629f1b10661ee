"""DenseNet and EfficientNet: torchvision's, changed where they could not be differentiated twice."""

from __future__ import annotations

from torch import Tensor, nn

from .layers import Shape


def _out_of_place(features: nn.Sequential) -> nn.Sequential:
    for module in features.modules():
        if isinstance(module, nn.ReLU | nn.SiLU):
            module.inplace = False
    return features


def densenet(shape: Shape) -> nn.Sequential:
    """DenseNet-BC of growth 12 in four blocks, after a 3x3 stem; E = 384. Source: IDC's code, for CIFAR.

    >>> from bilp_core.nets import network
    >>> net = network("densenet-bn", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (1000618, 384)
    """
    from torchvision.models import DenseNet

    deep = DenseNet(growth_rate=12, block_config=(6, 12, 24, 16), num_init_features=24).features
    stem = nn.Conv2d(shape[0], 24, 3, padding=1, bias=False)
    # the first four modules are the stem and the pooling of ImageNet
    return _out_of_place(nn.Sequential(stem, *deep[4:], nn.ReLU(), nn.AdaptiveAvgPool2d(1)))


class Residual(nn.Module):
    """x + layers(x).

    >>> import torch
    >>> from bilp_core.nets.borrowed import Residual
    >>> Residual(torch.nn.Identity())(torch.tensor([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def efficientnet(shape: Shape) -> nn.Sequential:
    """EfficientNet-B0 without its random parts; E = 1280. It halves maps five times, so images of up to 32x32
    end as single pixels: its norms then need at least two images to train on.

    Source: torchvision's, as IDC names it.

    >>> from bilp_core.nets import network
    >>> net = network("efficientnet-bn", (3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (4020358, 1280)
    """
    from torchvision.models import efficientnet_b0

    stem, *stages, head = efficientnet_b0().features
    stem[0] = nn.Conv2d(shape[0], 32, 3, stride=2, padding=1, bias=False)
    # torchvision's blocks add in place and drop at random: only their layers are taken
    blocks = [Residual(block.block) if block.use_res_connect else block.block for stage in stages for block in stage]
    return _out_of_place(nn.Sequential(stem, *blocks, head, nn.AdaptiveAvgPool2d(1)))
