"""The networks of the distillation literature, by name.

A network is asked for with a spec, `name` or `name:option=value,...`; these take options:

    convnet        depth  1 to 8; default 3, and 4 from 64x64 pixels on
                   width  1 to 1024; default 128
                   norm   none, batch, layer, instance (default) or group (four groups)
                   act    relu (default), sigmoid, leakyrelu or swish
                   pool   none, max or avg (default)
    frepo-convnet  depth  1 to 6; default 3, 4 from 64x64 pixels and 5 from 128x128 on
                   width  of the first block, 1 to 512; default 128
                   norm   none (default), batch, layer, instance or group
    kernel-convnet depth, width (default 256), pool as convnet has them; 28x28 images are not padded
                   norm   none (default), layer, instance or group
                   stem   none (default) or conv, a convolution and activation before the blocks
    alexnet  alexnet-bn
                   width  of the first convolution, 1 to 512; default 128
    vgg11  vgg11-bn  resnet18  resnet18-bn  resnet18-bn-ap
                   width  of the first stage, 1 to 256; default 64
    convnet-gru    of clips, whose frames are its first channels, frame by frame
                   depth  1 to 8; default 3
                   width  1 to 1024; default 128
                   frames 1 to 256, of a clip; default 8
    mlp  lenet
    resnet10  resnet10-bn  resnetap10  resnetap10-bn  densenet-bn  efficientnet-bn

Example: `convnet:depth=4,norm=batch`. Without -bn, vgg11 and the resnets have instance norm, alexnet no norm.

Architectures and parameter counts of convnet, mlp, lenet, alexnet, vgg11 and resnet18 are those of the reference
implementation of DC, DSA and DM (VICO-UoE/DatasetCondensation). They differ from it only where it cannot run:
vgg11 and resnet18 end in global average pooling, so inputs may exceed 32x32; and the wide first padding, which
turns a grey 28x28 image into 32x32, is left out at other sizes.

The last line of names has the networks of IDC (Kim et al. 2022, snu-mllab/Efficient-Dataset-Condensation),
each ended by global average pooling. resnet10 and resnetap10 are as wide as IDC has them on CIFAR up to 32x32
pixels, and as wide as on its other data beyond. IDC's EfficientNet-B0 is another package's; this one is
torchvision's, with the same parameters, symmetric padding, PyTorch's default norm settings, and neither dropout
nor stochastic depth.

frepo-convnet is the network of FRePo (Zhou et al. 2022, yongchaoz/FRePo). kernel-convnet is that of RFAD (Loo et al.
2022, yolky/RFAD) and, with its stem, of KIP (Nguyen et al. 2021, google-research/kip); its weights are drawn as kernels
of endlessly wide networks have it.

convnet-gru is the network of clips that the paper takes (supplement Sec. 6.4), as in the code of Wang et al. 2024
(yuz1wan/video_distillation).

Nothing works in place: every network can be differentiated twice and used under `torch.func`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Generator, nn
from torch.random import fork_rng

from ..errors import InputError
from .borrowed import densenet, efficientnet
from .classic import alexnet, lenet, mlp, vgg11
from .convnet import convnet, frepo_convnet, kernel_convnet
from .layers import ACTIVATIONS, BIAS, CUT_NORMAL, GAIN, NORMS, POOLS, Network, Shape
from .recurrent import GRU, convnet_gru
from .residual import resnet10, resnet18

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
    "kernel-convnet": kernel_convnet,
    "convnet-gru": convnet_gru,
}
FEWEST_POSITIONS = 16  # of an instance norm, below which its mean and deviation say little
# how the weights of those that do not start as PyTorch does are drawn, see `initialise`
STARTS = {
    "frepo-convnet": "lecun",
    "kernel-convnet": "kernel",
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
    "kernel-convnet": {
        "depth": range(1, 9),
        "width": range(1, 1025),
        "norm": ("none", "layer", "instance", "group"),
        "pool": tuple(POOLS),
        "stem": ("none", "conv"),
    },
    "convnet-gru": {"depth": range(1, 9), "width": range(1, 1025), "frames": range(1, 257)},
    **{name: {"width": range(1, 513)} for name in ("alexnet", "alexnet-bn")},
    **{name: {"width": range(1, 257)} for name in ("vgg11", "vgg11-bn", "resnet18", "resnet18-bn", "resnet18-bn-ap")},
}


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a spec. Raises InputError naming what is wrong and what is allowed.

    >>> from bilp_core.nets import parse
    >>> parse("convnet:depth=4,norm=batch")
    ('convnet', {'depth': 4, 'norm': 'batch'})
    >>> parse("convnet:depth=9")
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: network 'convnet:depth=9': depth must be a whole number from 1 to 8, got '9'
    """
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


def default_network(shape: Shape, frames: int = 1) -> str:
    """The network for images of a size where none is asked for: a convnet whose depth follows it.

    Its last norm sees 8x8 positions: depth 3 at 32x32 pixels, one more at each doubling. Below that it is as deep as
    leaves at least 4x4 of them, 3 at most; depth 3 on 8x8 pixels would normalise over 2x2. Under 16x16 pixels a width
    of 32 is enough. For clips of several frames a convnet-gru, whose depth is one less from 64x64 pixels on.
    Source: ours; from 32x32 to 256x256 pixels, and of 64x64 clips, the depths that the papers use.

    >>> from bilp_core.nets import default_network
    >>> [default_network((3, side, side)) for side in (8, 16, 28, 32, 64, 128)]
    ['convnet:depth=2,width=32', 'convnet', 'convnet', 'convnet', 'convnet', 'convnet:depth=5']
    >>> default_network((24, 64, 64), frames=8), default_network((4, 16, 16), frames=4)
    ('convnet-gru', 'convnet-gru:frames=4')
    """
    side = min(shape[1:])
    if side >= 32:
        depth = 3 + int(math.log2(side / 32))
    else:
        depth = max((d for d in (1, 2, 3) if side >> (d - 1) >= 4), default=1)
    if frames > 1:
        usual = {"depth": 3, "width": 128, "frames": 8}
        own = {"depth": min(depth - (side >= 64), 8), "width": 32 if side < 16 else 128, "frames": frames}
        options = ",".join(f"{name}={value}" for name, value in own.items() if value != usual[name])
        return f"convnet-gru:{options}" if options else "convnet-gru"
    if side < 16:
        return f"convnet:depth={depth},width=32"
    return "convnet" if depth == (4 if side >= 64 else 3) else f"convnet:depth={min(depth, 8)}"


def kernel_network(shape: Shape) -> str:
    """The same for methods of kernel regression: without norm, its width doubled under 16x16 pixels.

    Source: ours; from 16x16 pixels on the network of RFAD.

    >>> from bilp_core.nets.networks import kernel_network
    >>> kernel_network((1, 8, 8)), kernel_network((3, 32, 32)), kernel_network((3, 128, 128))
    ('kernel-convnet:depth=2,width=64', 'kernel-convnet', 'kernel-convnet:depth=5')
    """
    return "kernel-" + default_network(shape).replace("width=32", "width=64")


@torch.no_grad()
def norm_positions(spec: str, shape: Shape) -> int | None:
    """Positions over which the last instance norm of a network takes its mean and deviation; None if it has none.

    >>> from bilp_core.nets import norm_positions
    >>> [norm_positions(f"convnet:depth={depth}", (1, 8, 8)) for depth in (1, 2, 3)], norm_positions("mlp", (1, 8, 8))
    ([64, 16, 4], None)
    """
    net, found = network(spec, shape, 2), []
    for module in net.modules():
        if isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels:
            module.register_forward_hook(lambda _, inputs, __: found.append(inputs[0].shape[2:].numel()))
    net.eval()(torch.zeros(1, *shape))
    return found[-1] if found else None


def doubts(spec: str, shape: Shape) -> str:
    """What speaks against a network for images of a size, in a sentence; empty if nothing does.

    >>> from bilp_core.nets import doubts
    >>> doubts("convnet", (3, 32, 32))
    ''
    >>> doubts("convnet:depth=3", (1, 8, 8)).partition(": take")[0]
    "network 'convnet:depth=3' normalises 8x8 images over 4 positions at last"
    """
    name, options = parse(spec)
    frames = options.get("frames", 8) if name == "convnet-gru" else 1
    positions, other = norm_positions(spec, shape), default_network(shape, frames)
    if positions is None or positions >= FEWEST_POSITIONS:
        return ""
    has = norm_positions(other, shape) or 0
    hint = f" ({other} has {has})" if has > positions else ""
    return (
        f"network {spec!r} normalises {shape[1]}x{shape[2]} images over {positions} positions at last: take "
        f"{FEWEST_POSITIONS} or more{hint}"
    )


def check_frames(spec: str, frames: int) -> None:
    """Raise InputError for a network that takes clips apart into other frames than they have: it may run all the same,
    and take two frames for one of six colours.

    >>> from bilp_core.nets import check_frames
    >>> check_frames("convnet-gru", 8)
    >>> check_frames("convnet-gru", 16)
    Traceback (most recent call last):
    bilp_core.errors.InputError: network 'convnet-gru' sees 8 frames, and the data have 16: convnet-gru:frames=16
    """
    name, options = parse(spec)
    if "frames" not in OPTIONS.get(name, {}) or options.get("frames", 8) == frames:
        return
    right = ",".join(f"{key}={value}" for key, value in {**options, "frames": frames}.items())
    raise InputError(
        f"network {spec!r} sees {options.get('frames', 8)} frames, and the data have {frames}: {name}:{right}"
    )


def evaluation_spec(spec: str) -> str:
    """The network that evaluates what `spec` distilled: batch norm, which a few synthetic images cannot feed,
    gives way to the instance-norm version (alexnet, which has none, and frepo-convnet to no norm; resnet18-bn-ap to
    resnet18). densenet-bn and efficientnet-bn, which have no other version, are their own.

    Source: the reference's evaluation pool "S"; FRePo's code.

    >>> from bilp_core.nets import evaluation_spec
    >>> evaluation_spec("convnet:norm=batch"), evaluation_spec("resnet18-bn-ap")
    ('convnet:norm=instance', 'resnet18')
    """
    name, options = parse(spec)
    without_batch_norm = name.partition("-bn")[0]
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
    Source: that of the family, see the builders in `NETWORKS`.

    >>> import torch
    >>> from bilp_core.nets import initialise, network
    >>> net = network("convnet:depth=2,width=8", (1, 8, 8), 10)
    >>> initialise(net, torch.Generator().manual_seed(0))
    >>> tuple(net(torch.zeros(5, 1, 8, 8)).shape), tuple(net.embed(torch.zeros(5, 1, 8, 8)).shape)
    ((5, 10), (5, 32))
    >>> network("lenet", (3, 8, 8), 10)
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: network 'lenet' needs images of at least 16x16 pixels, got 8x8
    """
    name, options = parse(spec)
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputError(f"image shape must be three positive integers (channels, height, width), got {shape}")
    if num_classes < 1:
        raise InputError(f"number of classes must be at least 1, got {num_classes}")
    try:
        features, size = _features(name, options, shape)
    except InputError:  # it says itself what is wrong
        raise
    except (RuntimeError, ValueError) as error:
        least = _next_size(name, options, shape)
        # grey images of this very size are padded by more, so that larger ones may be too small
        padded = "28x28 or " if least > 28 > min(shape[1:]) and _takes(name, options, (shape[0], 28, 28)) else ""
        raise InputError(
            f"network {spec!r} needs images of {padded}at least {least}x{least} pixels, got {shape[1]}x{shape[2]}"
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
    for size in (2, 4, 8, 9, 16, 32, 64, 128):
        if size > min(shape[1:]) and _takes(name, options, (shape[0], size, size)):
            return size
    return 256  # what a convnet of the greatest depth needs


def _takes(name: str, options: dict[str, Any], shape: Shape) -> bool:
    try:
        _features(name, options, shape)
    except (RuntimeError, ValueError):
        return False
    return True


@torch.no_grad()
def trains_on_one(net: nn.Module, shape: Shape) -> bool:
    """Whether a network can train on a batch of one image: not where a BatchNorm meets single pixels.

    >>> from bilp_core.nets.networks import network, trains_on_one
    >>> [trains_on_one(network("resnet10-bn", (1, side, side), 10), (1, side, side)) for side in (8, 16)]
    [False, True]
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        return True
    try:
        deepcopy(net).to("meta").train()(torch.zeros(1, *shape, device="meta"))
    except ValueError:
        return False
    return True


@torch.no_grad()
def initialise(net: nn.Module, rng: Generator) -> None:
    """Draw fresh weights in place, as PyTorch does by default: weights and biases of convolutions and linear
    layers uniform on +-1/sqrt(fan in), those of recurrent layers on +-1/sqrt(units); norm layers to one and zero, their
    running statistics reset. The
    convolutions of resnet10 and resnetap10, as in IDC's code: normal with variance 2/(fan out). frepo-convnet, as
    in FRePo's: normal, cut off at two standard deviations, with variance 1/(fan in) and biases of zero. kernel-convnet,
    as in RFAD's and KIP's: normal with variance 2/(fan in), biases with deviation 0.1.

    rng : the only source of randomness; on the device of the parameters.
    Source: PyTorch's defaults, which the reference of DC, DSA and DM keeps; IDC's and FRePo's code.

    >>> import torch
    >>> from bilp_core.nets import initialise, network
    >>> first, second = (network("convnet:depth=1,width=4", (1, 8, 8), 10) for _ in range(2))
    >>> for net in (first, second):
    ...     initialise(net, torch.Generator().manual_seed(0))
    >>> torch.equal(first.classifier.weight, second.classifier.weight)
    True
    >>> bool(first.classifier.weight.abs().max() <= 1 / 64**0.5)  # 64 features
    True
    """
    start = net.start if isinstance(net, Network) else "uniform"
    for module in net.modules():
        if start == "lecun" and isinstance(module, nn.Conv2d | nn.Linear):
            std = 1 / math.sqrt(module.weight[0].numel()) / CUT_NORMAL
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std, generator=rng)
            assert module.bias is not None
            module.bias.zero_()
        elif start == "kernel" and isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(std=math.sqrt(GAIN / module.weight[0].numel()), generator=rng)
            assert module.bias is not None
            module.bias.normal_(std=BIAS, generator=rng)
        elif start == "he" and isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=rng)
        elif isinstance(module, nn.Conv2d | nn.Linear | GRU):
            bound = 1 / math.sqrt(module.hidden if isinstance(module, GRU) else module.weight[0].numel())
            for parameter in module.parameters():
                parameter.uniform_(-bound, bound, generator=rng)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()
