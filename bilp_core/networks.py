"""The networks of the distillation literature, by name.

A network is asked for with a spec, `name` or `name:option=value,...`; only two take options:

    convnet        depth  1 to 8; default 3, and 4 from 64x64 pixels on
                   width  1 to 1024; default 128
                   norm   none, batch, layer, instance (default) or group (four groups)
                   act    relu (default), sigmoid, leakyrelu or swish
                   pool   none, max or avg (default)
    frepo-convnet  depth  1 to 6; default 3, 4 from 64x64 pixels and 5 from 128x128 on
                   width  of the first block, 1 to 512; default 128
                   norm   none (default), batch, layer, instance or group
    mlp  lenet  alexnet  alexnet-bn  vgg11  vgg11-bn  resnet18  resnet18-bn  resnet18-bn-ap
    resnet10  resnet10-bn  resnetap10  resnetap10-bn  densenet-bn  efficientnet-bn

Example: `convnet:depth=4,norm=batch`. Without -bn, vgg11 and the resnets have instance norm, alexnet no norm.

Architectures and parameter counts of convnet and of the first line of names are those of the reference
implementation of DC, DSA and DM (VICO-UoE/DatasetCondensation). They differ from it only where it cannot run:
vgg11 and resnet18 end in global average pooling, so inputs may exceed 32x32; and the wide first padding, which
turns a grey 28x28 image into 32x32, is left out at other sizes.

The second line of names has the networks of IDC (Kim et al. 2022, snu-mllab/Efficient-Dataset-Condensation),
each ended by global average pooling. resnet10 and resnetap10 are as wide as IDC has them on CIFAR up to 32x32
pixels, and as wide as on its other data beyond. IDC's EfficientNet-B0 is another package's; this one is
torchvision's, with the same parameters, symmetric padding, PyTorch's default norm settings, and neither dropout
nor stochastic depth.

frepo-convnet is the network of FRePo (Zhou et al. 2022, yongchaoz/FRePo).

Nothing works in place: every network can be differentiated twice and used under `torch.func`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.random import fork_rng

from bilp_core.errors import InputError

Shape = tuple[int, int, int]

CUT_NORMAL = 0.8796256610342398  # standard deviation of the standard normal distribution between -2 and 2


class Network(nn.Module):
    """Features, then one linear layer: what every method here relies on.

    embed(x)   : [N, C, H, W] -> [N, E], the flattened features before the last linear layer.
    forward(x) : [N, C, H, W] -> [N, num_classes] logits.
    start      : how `initialise` draws the weights: 'uniform', 'he' or 'lecun'.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Linear, start: str = "uniform") -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.start = start

    def embed(self, x: Tensor) -> Tensor:
        return self.features(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(x))


# Each takes the shape of the map to be normalised. Instance norm is group norm with one channel a group:
# affine, and the same in training and evaluation.
NORMS: dict[str, Callable[[Shape], list[nn.Module]]] = {
    "none": lambda shape: [],  # noqa: ARG005
    "batch": lambda shape: [nn.BatchNorm2d(shape[0])],
    "layer": lambda shape: [nn.LayerNorm(shape)],
    "instance": lambda shape: [nn.GroupNorm(shape[0], shape[0])],
    "group": lambda shape: [nn.GroupNorm(4, shape[0])],
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "leakyrelu": nn.LeakyReLU,
    "swish": nn.SiLU,
}
POOLS: dict[str, Callable[[], list[nn.Module]]] = {
    "none": list,
    "max": lambda: [nn.MaxPool2d(2)],
    "avg": lambda: [nn.AvgPool2d(2)],
}


def _widening(shape: Shape) -> int:
    """Extra padding of the first convolution: 28x28 grey images enter as 32x32."""
    return 2 if shape == (1, 28, 28) else 0


def convnet(
    shape: Shape,
    depth: int | None = None,
    width: int = 128,
    norm: str = "instance",
    act: str = "relu",
    pool: str = "avg",
) -> nn.Sequential:
    """Blocks of 3x3 convolution, norm, activation and 2x2 pooling."""
    channels, height, side = shape
    depth = depth or (4 if min(height, side) >= 64 else 3)
    layers: list[nn.Module] = []
    for block in range(depth):
        widening = _widening(shape) if block == 0 else 0
        layers.append(nn.Conv2d(channels, width, 3, padding=1 + widening))
        channels, height, side = width, height + 2 * widening, side + 2 * widening
        layers += [*NORMS[norm]((channels, height, side)), ACTIVATIONS[act](), *POOLS[pool]()]
        if pool != "none":
            height, side = height // 2, side // 2
    return nn.Sequential(*layers)


class FlaxBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose running statistics keep a tenth of their past, with the biased variance, as in FRePo's code."""

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
    the norm."""
    channels, height, side = shape
    least = min(height, side)
    depth = depth or (5 if least >= 128 else 4 if least >= 64 else 3)
    layers: list[nn.Module] = []
    for block in range(depth):
        widening = _widening(shape) if block == 0 else 0
        if block:
            layers += [FlaxBatchNorm(channels)] if norm == "batch" else NORMS[norm]((channels, height, side))
        layers.append(nn.Conv2d(channels, width << block, 3, padding=1 + widening))
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
        channels, height, side = width << block, height // 2 + widening, side // 2 + widening
    return nn.Sequential(*layers)


def mlp(shape: Shape) -> nn.Sequential:
    """Two hidden layers of 128."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())


def lenet(shape: Shape) -> nn.Sequential:
    """Two 5x5 convolutions and two hidden linear layers; E is the last hidden layer's 84."""
    channels, *sides = shape
    padding = _widening(shape)
    for layer_padding in (padding, 0):
        sides = [max(side + 2 * layer_padding - 4, 2) // 2 for side in sides]
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * sides[0] * sides[1], 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
    )


def alexnet(shape: Shape, norm: str) -> nn.Sequential:
    """Five convolutions, 2x2 max pooling after the first, the second and the last."""
    plan = [(128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)]
    layers: list[nn.Module] = []
    channels, widening = shape[0], _widening(shape)
    for width, kernel, pooled in plan:
        layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2 + widening))
        layers += [*NORMS[norm]((width, 0, 0)), nn.ReLU(), *POOLS["max" if pooled else "none"]()]
        channels, widening = width, 0
    return nn.Sequential(*layers)


def vgg11(shape: Shape, norm: str) -> nn.Sequential:
    """Eight 3x3 convolutions in five stages, each ended by 2x2 max pooling; E = 512."""
    layers: list[nn.Module] = []
    channels, widening = shape[0], _widening(shape)
    for widths in [(64,), (128,), (256, 256), (512, 512), (512, 512)]:
        for width in widths:
            layers.append(nn.Conv2d(channels, width, 3, padding=1 + widening))
            layers += [*NORMS[norm]((width, 0, 0)), nn.ReLU()]
            channels, widening = width, 0
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `pooled` halves by 2x2 averaging where a stride would."""

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


def resnet18(shape: Shape, norm: str, pooled: bool = False) -> nn.Sequential:
    """Eight residual blocks after a 3x3 stem. E = 512, or the whole last map when `pooled`."""
    stem = [nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), *NORMS[norm]((64, 0, 0)), nn.ReLU()]
    stages = _residual_stages(64, 2, norm, pooled)
    return nn.Sequential(*stem, *stages, *([] if pooled else [nn.AdaptiveAvgPool2d(1)]))


def resnet10(shape: Shape, norm: str, pooled: bool = False) -> nn.Sequential:
    """Four residual blocks after a stem that shrinks maps over 64 pixels by 2 and over 128 by 4, by averages
    alone when `pooled`. E = 256 up to 32 pixels, 512 beyond.

    Source: IDC's code, ResNet and ResNetAP of depth 10.
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


def _out_of_place(features: nn.Sequential) -> nn.Sequential:
    for module in features.modules():
        if isinstance(module, nn.ReLU | nn.SiLU):
            module.inplace = False
    return features


def densenet(shape: Shape) -> nn.Sequential:
    """DenseNet-BC of growth 12 in four blocks, after a 3x3 stem; E = 384. Source: IDC's code, for CIFAR."""
    from torchvision.models import DenseNet

    deep = DenseNet(growth_rate=12, block_config=(6, 12, 24, 16), num_init_features=24).features
    stem = nn.Conv2d(shape[0], 24, 3, padding=1, bias=False)
    # the first four modules are the stem and the pooling of ImageNet
    return _out_of_place(nn.Sequential(stem, *deep[4:], nn.ReLU(), nn.AdaptiveAvgPool2d(1)))


class Residual(nn.Module):
    """x + layers(x)."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def efficientnet(shape: Shape) -> nn.Sequential:
    """EfficientNet-B0 without its random parts; E = 1280. It halves maps five times, so images of up to 32x32
    end as single pixels: its norms then need at least two images to train on."""
    from torchvision.models import efficientnet_b0

    stem, *stages, head = efficientnet_b0().features
    stem[0] = nn.Conv2d(shape[0], 32, 3, stride=2, padding=1, bias=False)
    # torchvision's blocks add in place and drop at random: only their layers are taken
    blocks = [Residual(block.block) if block.use_res_connect else block.block for stage in stages for block in stage]
    return _out_of_place(nn.Sequential(stem, *blocks, head, nn.AdaptiveAvgPool2d(1)))


# name -> builder(shape, **options) of everything before the last linear layer
NETWORKS: dict[str, Callable[..., nn.Sequential]] = {
    "convnet": convnet,
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": partial(alexnet, norm="none"),
    "alexnet-bn": partial(alexnet, norm="batch"),
    "vgg11": partial(vgg11, norm="instance"),
    "vgg11-bn": partial(vgg11, norm="batch"),
    "resnet18": partial(resnet18, norm="instance"),
    "resnet18-bn": partial(resnet18, norm="batch"),
    "resnet18-bn-ap": partial(resnet18, norm="batch", pooled=True),
    "resnet10": partial(resnet10, norm="instance"),
    "resnet10-bn": partial(resnet10, norm="batch"),
    "resnetap10": partial(resnet10, norm="instance", pooled=True),
    "resnetap10-bn": partial(resnet10, norm="batch", pooled=True),
    "densenet-bn": densenet,
    "efficientnet-bn": efficientnet,
    "frepo-convnet": frepo_convnet,
}
# how the weights of those that do not start as PyTorch does are drawn, see `initialise`
STARTS = {
    "frepo-convnet": "lecun",
    **dict.fromkeys(("resnet10", "resnet10-bn", "resnetap10", "resnetap10-bn"), "he"),
}
# name -> option -> allowed words, or whole numbers
OPTIONS: dict[str, dict[str, tuple[str, ...] | range]] = {
    "convnet": {
        "depth": range(1, 9),
        "width": range(1, 1025),
        "norm": tuple(NORMS),
        "act": tuple(ACTIVATIONS),
        "pool": tuple(POOLS),
    },
    "frepo-convnet": {"depth": range(1, 7), "width": range(1, 513), "norm": tuple(NORMS)},
}


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a spec. Raises InputError naming what is wrong and what is allowed."""
    name, _, rest = spec.partition(":")
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    allowed = OPTIONS.get(name, {})
    options: dict[str, Any] = {}
    for item in rest.split(",") if rest else []:
        key, _, value = item.partition("=")
        if key not in allowed:
            known = ", ".join(allowed) or "it takes none"
            raise InputError(f"network {spec!r}: unknown option {key!r} of {name}; known: {known}")
        if key in options:
            raise InputError(f"network {spec!r}: option {key!r} is given twice")
        values = allowed[key]
        if isinstance(values, range):
            if not (value.isascii() and value.isdecimal() and int(value) in values):
                raise InputError(
                    f"network {spec!r}: {key} must be a whole number from {values[0]} to {values[-1]}, got {value!r}"
                )
            options[key] = int(value)
        else:
            if value not in values:
                raise InputError(f"network {spec!r}: {key} must be one of {', '.join(values)}, got {value!r}")
            options[key] = value
    if options.get("norm") == "group" and options.get("width", 128) % 4:
        raise InputError(f"network {spec!r}: norm=group needs a width divisible by 4, got {options['width']}")
    return name, options


def evaluation_spec(spec: str) -> str:
    """The network that evaluates what `spec` distilled: batch norm, which a few synthetic images cannot feed,
    gives way to the instance-norm version (alexnet, which has none, and frepo-convnet to no norm; resnet18-bn-ap to
    resnet18). densenet-bn and efficientnet-bn, which have no other version, are their own.

    Source: the reference's evaluation pool "S"; FRePo's code.
    """
    name, options = parse(spec)
    without_batch_norm = name.partition("-")[0]
    name = without_batch_norm if without_batch_norm in NETWORKS else name
    if options.get("norm") == "batch":
        options["norm"] = "none" if name == "frepo-convnet" else "instance"
    rest = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{rest}" if rest else name


def network(spec: str, shape: Shape, num_classes: int) -> Network:
    """Build a network on the CPU, in training mode. Its weights are nothing to rely on before `initialise` or
    a state dict sets them. The global random state is left as it was.

    shape : (channels, height, width) of an image, in pixels.
    Raises InputError on a bad spec, shape or class count, and where images are too small for the network.
    """
    name, options = parse(spec)
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputError(f"image shape must be three positive integers (channels, height, width), got {shape}")
    if num_classes < 1:
        raise InputError(f"number of classes must be at least 1, got {num_classes}")
    try:
        features, size = _features(name, options, shape)
    except (RuntimeError, ValueError) as error:
        least = _next_size(name, options, shape)
        raise InputError(
            f"network {spec!r} needs images of at least {least}x{least} pixels, got {shape[1]}x{shape[2]}"
        ) from error
    with fork_rng(devices=[]):
        return Network(features, nn.Linear(size, num_classes), STARTS.get(name, "uniform")).train()


@torch.no_grad()
def _features(name: str, options: dict[str, Any], shape: Shape) -> tuple[nn.Sequential, int]:
    """All before the last linear layer, and the number of features it gives an image. Fails where a map
    vanishes, and where instance norm meets a single pixel, which it would make a constant."""
    with fork_rng(devices=[]):
        features = NETWORKS[name](shape, **options).eval()
    return features, features(torch.zeros(1, *shape)).numel()


def _next_size(name: str, options: dict[str, Any], shape: Shape) -> int:
    """The smallest size above `shape` that the network accepts, of those at which one here begins."""
    for size in (2, 4, 8, 9, 16, 28, 32, 64, 128):
        if size > min(shape[1:]):
            try:
                _features(name, options, (shape[0], size, size))
            except (RuntimeError, ValueError):
                continue
            return size
    return 256  # what a convnet of the greatest depth needs


@torch.no_grad()
def initialise(net: nn.Module, rng: Generator) -> None:
    """Draw fresh weights in place, as PyTorch does by default: weights and biases of convolutions and linear
    layers uniform on +-1/sqrt(fan in); norm layers to one and zero, their running statistics reset. The
    convolutions of resnet10 and resnetap10, as in IDC's code: normal with variance 2/(fan out). frepo-convnet, as
    in FRePo's: normal, cut off at two standard deviations, with variance 1/(fan in) and biases of zero.

    rng : the only source of randomness; on the device of the parameters.
    """
    start = net.start if isinstance(net, Network) else "uniform"
    for module in net.modules():
        if start == "lecun" and isinstance(module, nn.Conv2d | nn.Linear):
            std = 1 / math.sqrt(module.weight[0].numel()) / CUT_NORMAL
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std, generator=rng)
            assert module.bias is not None
            module.bias.zero_()
        elif start == "he" and isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=rng)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in module.parameters():
                parameter.uniform_(-bound, bound, generator=rng)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()
