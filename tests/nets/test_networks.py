import math
import re

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torchvision.ops import Conv2dNormActivation

from bilp_core.errors import InputError
from bilp_core.nets import NETWORKS, Network, evaluation_spec, initialise, network, parse
from bilp_core.nets.networks import trains_on_one

# Trainable parameters of the reference networks: 3x32x32 with 10 classes, 1x28x28 with 10, 3x32x32 with 100.
PARAMETERS = {
    "mlp": (411_146, 118_282, 422_756),
    "convnet": (320_010, 317_706, 504_420),
    "frepo-convnet": (1_560_842, 1_558_538, 2_298_212),
    "kernel-convnet": (1_228_298, 1_205_770, 1_597_028),
    "lenet": (62_006, 61_706, 69_656),
    "alexnet": (1_872_202, 1_865_802, 2_148_772),
    "alexnet-bn": (1_874_122, 1_867_722, 2_150_692),
    "vgg11": (9_231_114, 9_229_962, 9_277_284),
    "vgg11-bn": (9_231_114, 9_229_962, 9_277_284),
    "resnet18": (11_173_962, 11_172_810, 11_220_132),
    "resnet18-bn": (11_173_962, 11_172_810, 11_220_132),
    "resnet18-bn-ap": (11_250_762, 11_213_770, 11_988_132),
    "resnet10": (1_228_970, 1_228_394, 1_252_100),
    "resnet10-bn": (1_228_970, 1_228_394, 1_252_100),
    "resnetap10": (1_228_970, 1_228_394, 1_252_100),
    "resnetap10-bn": (1_228_970, 1_228_394, 1_252_100),
    "densenet-bn": (1_000_618, 1_000_186, 1_035_268),
    "efficientnet-bn": (4_020_358, 4_019_782, 4_135_648),
    "convnet-gru": (2_073_098, 2_070_794, 2_096_228),
}
CONVNET_PARAMETERS = {  # 3x32x32 with 10 classes
    "convnet:depth=1": 331_530,
    "convnet:depth=2": 233_610,
    "convnet:depth=4": 452_490,
    "convnet:width=32": 24_714,
    "convnet:width=64": 86_282,
    "convnet:width=256": 1_229_834,
    "convnet:norm=none": 319_242,
    "convnet:norm=batch": 320_010,
    "convnet:norm=layer": 663_306,
    "convnet:norm=group": 320_010,
    "convnet:pool=none": 1_610_250,
    "convnet:pool=max": 320_010,
    "convnet:act=swish": 320_010,
    "frepo-convnet:norm=batch": 1_561_610,
    "kernel-convnet:stem=conv": 1_228_298 + 256 * (256 * 9 + 1),
    "kernel-convnet:width=1024": 19_068_938,
    "frepo-convnet:depth=2,width=16": 16 * 28 + 32 * 145 + 10 * (32 * 64 + 1),
}
SINGLE = [f"{name}:frames=1" if name == "convnet-gru" else name for name in NETWORKS]  # as they take images
DIGITS = (1, 8, 8)
STEM = nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm | nn.ReLU | nn.MaxPool2d | nn.AvgPool2d | Conv2dNormActivation


def ready(spec: str, shape: tuple[int, int, int], num_classes: int = 10, seed: int = 0) -> Network:
    net = network(spec, shape, num_classes)
    initialise(net, torch.Generator().manual_seed(seed))
    return net


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def images(count: int, shape: tuple[int, int, int], seed: int = 1) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spec", SINGLE)
def test_parameters_match_the_reference(spec: str) -> None:
    settings = (((3, 32, 32), 10), ((1, 28, 28), 10), ((3, 32, 32), 100))
    assert tuple(count(network(spec, *setting)) for setting in settings) == PARAMETERS[spec.partition(":")[0]]


@pytest.mark.parametrize(
    ("spec", "width"),
    [("alexnet", 128), ("alexnet-bn", 128), ("vgg11", 64), ("vgg11-bn", 64), ("resnet18", 64), ("resnet18-bn-ap", 64)],
)
def test_a_width_narrows_every_map_in_proportion(spec: str, width: int) -> None:
    whole, default = network(f"{spec}:width={width}", (3, 32, 32), 10), network(spec, (3, 32, 32), 10)
    assert [p.shape for p in whole.parameters()] == [p.shape for p in default.parameters()]
    quarter = network(f"{spec}:width={width // 4}", (3, 32, 32), 10)
    for wide, narrow in zip(default.parameters(), quarter.parameters(), strict=True):
        ends = [n if n in (3, 10) else n // 4 for n in wide.shape[:2]]  # colours and classes stay as many
        assert list(narrow.shape) == ends + list(wide.shape[2:])


@pytest.mark.parametrize(("spec", "parameters"), CONVNET_PARAMETERS.items())
def test_convnet_options_match_the_reference(spec: str, parameters: int) -> None:
    assert count(network(spec, (3, 32, 32), 10)) == parameters


def test_network_of_clips_has_the_size_and_the_order_of_the_papers() -> None:
    """Kinetics-400: 8 frames of 64x64, a frame's 128 x 8 x 8 features, 1024 units."""
    net = ready("convnet-gru", (24, 64, 64), 400)
    trunk = 3 * 9 * 128 + 128 + 2 * (128 * 9 * 128 + 128) + 3 * 2 * 128
    recurrent = 3 * 1024 * (8192 + 1024) + 2 * 3 * 1024
    assert recurrent == count(net.features[1]) == 28_317_696
    assert count(net) == trunk + recurrent + 400 * 1025 == 29_027_216


def test_network_of_clips_computes_its_formula() -> None:
    net, shape = ready("convnet-gru:depth=1,width=4,frames=3", (6, 8, 8), 5), (6, 8, 8)
    trunk, plain = net.features[0].trunk, nn.GRU(64, 8, batch_first=True)
    plain.load_state_dict(net.features[1].state_dict())
    clips = images(2, shape)
    each = torch.stack([trunk(clips[:, 2 * t : 2 * t + 2]).flatten(1) for t in range(3)], 1)
    states, _ = plain(each)
    torch.testing.assert_close(net.embed(clips), states.mean(1))
    reverse = clips.view(2, 3, 2, 8, 8).flip(1).flatten(1, 2)
    assert (net.embed(reverse) - net.embed(clips)).abs().max() > 1e-3  # the order of frames counts
    bound = 8**-0.5
    for parameter in plain.parameters():
        assert bound / 2 < parameter.abs().max() <= bound


def test_frames_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(InputError, match="'convnet-gru': 3 channels are no 8 frames of equal colours"):
        network("convnet-gru", (3, 32, 32), 10)
    with pytest.raises(InputError, match="frames must be a whole number from 1 to 256, got '0'"):
        parse("convnet-gru:frames=0")
    with pytest.raises(InputError, match="needs images of at least 8x8 pixels, got 4x4"):
        network("convnet-gru:depth=3", (24, 4, 4), 10)


def test_default_depth_is_four_from_64_pixels() -> None:
    assert count(network("convnet", (3, 64, 64), 200)) == 857_160
    assert count(network("convnet", (3, 64, 64), 1000)) == 2_496_360
    assert count(network("convnet:depth=3", (3, 64, 64), 200)) == 1_938_120


def test_convnet_computes_its_formula() -> None:
    net = ready("convnet:depth=1,width=4", (2, 6, 6), 3)
    weight, bias, scale, shift, out, offset = net.parameters()
    x = images(2, (2, 6, 6))
    maps = nn.functional.conv2d(x, weight, bias, padding=1)
    centred = maps - maps.mean((2, 3), keepdim=True)
    maps = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    maps = (maps * scale[:, None, None] + shift[:, None, None]).clamp(min=0)
    pooled = maps.reshape(2, 4, 3, 2, 3, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(net.embed(x), pooled)
    torch.testing.assert_close(net(x), pooled @ out.T + offset)


def test_frepo_convnet_deepens_with_the_image() -> None:
    for side, features in ((32, 512 * 4**2), (64, 1024 * 4**2), (128, 2048 * 4**2)):
        assert network("frepo-convnet", (3, side, side), 2).classifier.in_features == features


@pytest.mark.parametrize("training", [True, False])
def test_frepo_convnet_computes_its_formula(training: bool) -> None:
    """Norm, convolution, ReLU, pooling, with no norm before the first convolution."""
    net = ready("frepo-convnet:depth=2,width=4,norm=batch", (1, 28, 28), 3)
    net(images(5, (1, 28, 28), seed=2))
    net.train(training)
    first, _, _, norm, second, *_ = net.features
    running = norm.running_mean.clone(), norm.running_var.clone()
    x = images(2, (1, 28, 28))
    found = net.embed(x)

    def pooled(maps: torch.Tensor) -> torch.Tensor:
        return maps.clamp(min=0).unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))

    maps = pooled(nn.functional.conv2d(x, first.weight, first.bias, padding=3))
    assert maps.shape == (2, 4, 16, 16)
    mean, variance = (maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)) if training else running
    if training:  # a tenth of the past, nine tenths of this batch
        torch.testing.assert_close(norm.running_mean, 0.1 * running[0] + 0.9 * mean)
        torch.testing.assert_close(norm.running_var, 0.1 * running[1] + 0.9 * variance)
    maps = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    maps = pooled(nn.functional.conv2d(maps, second.weight, second.bias, padding=1))
    torch.testing.assert_close(found, maps.flatten(1))


@pytest.mark.parametrize("spec", SINGLE)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64)])
def test_embedding_feeds_the_classifier(spec: str, shape: tuple[int, int, int]) -> None:
    net = ready(spec, shape, 7).eval()
    x = images(2, shape)
    features = net.embed(x)
    assert features.shape == (2, net.classifier.in_features)
    torch.testing.assert_close(net(x), net.classifier(features))
    if spec in ("vgg11", "vgg11-bn", "resnet18", "resnet18-bn"):
        assert features.shape[1] == 512


# Trainable parameters and the sides of the maps after the stem and before global pooling, all with 10 classes.
IDC = [
    *[("resnet10", *setting) for setting in [(32, 1_228_970, 32, 4), (64, 4_903_242, 64, 8), (96, 4_903_242, 48, 6)]],
    *[("resnet10-bn", *setting) for setting in [(128, 4_903_242, 64, 8), (224, 4_910_922, 56, 7)]],
    *[("resnetap10", *setting) for setting in [(64, 4_903_242, 64, 8), (128, 4_903_242, 64, 8)]],
    *[("resnetap10-bn", *setting) for setting in [(32, 1_228_970, 32, 4), (224, 4_910_922, 56, 7)]],
    *[("densenet-bn", *setting) for setting in [(32, 1_000_618, 32, 4), (64, 1_000_618, 64, 8)]],
    *[("efficientnet-bn", *setting) for setting in [(32, 4_020_358, 16, 1), (224, 4_020_358, 112, 7)]],
]


@pytest.mark.parametrize(("spec", "side", "parameters", "first", "last"), IDC)
@torch.no_grad()
def test_idc_networks_by_image_size(spec: str, side: int, parameters: int, first: int, last: int) -> None:
    net = ready(spec, (3, side, side)).eval()
    assert count(net) == parameters
    body, pool = net.features[:-1], net.features[-1]
    maps = [images(1, (3, side, side))]
    for layer in body:
        maps.append(layer(maps[-1]))
    stem = next(i for i, layer in enumerate(body) if not isinstance(layer, STEM))
    assert maps[stem].shape[2:] == (first, first)
    assert maps[-1].shape[2:] == (last, last)
    torch.testing.assert_close(pool(maps[-1]).flatten(1), maps[-1].mean((2, 3)))


def test_resnetap10_halves_by_averages_alone() -> None:
    """No layer skips pixels: strides, where there are any, are those of the averages."""
    for side in (32, 128, 224):
        layers = [*network("resnetap10", (3, side, side), 10).modules()]
        assert all(layer.stride == (1, 1) for layer in layers if isinstance(layer, nn.Conv2d))
        assert not any(isinstance(layer, nn.MaxPool2d) for layer in layers)


@pytest.mark.parametrize("spec", SINGLE)
def test_nothing_works_in_place_or_at_random(spec: str) -> None:
    net = ready(spec, (3, 32, 32))
    assert not any(getattr(module, "inplace", False) for module in net.modules())
    x = images(2, (3, 32, 32))
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(_: nn.Module, args: tuple) -> None:
        inputs.extend((value, value.detach().clone()) for value in args if isinstance(value, torch.Tensor))

    for module in net.modules():
        module.register_forward_pre_hook(record)
    state = torch.random.get_rng_state()
    first = net(x)
    assert all(torch.equal(now, then) for now, then in inputs)
    assert torch.equal(net(x), first)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "spec", ["convnet", "convnet:norm=layer,pool=max", "mlp", "alexnet", "alexnet-bn", "resnet18-bn"]
)
def test_digits_are_told_apart(spec: str) -> None:
    features = ready(spec, DIGITS).embed(images(3, DIGITS))
    assert (features[0] - features[1]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("spec", "shape", "least"),
    [
        ("lenet", DIGITS, "16x16"),
        ("vgg11", (3, 8, 8), "32x32"),
        ("vgg11-bn", (3, 28, 28), "32x32"),
        (
            "resnet18",
            DIGITS,
            "9x9",
        ),  # at 8x8 its last maps are single pixels, which instance norm makes constant
        ("resnetap10", DIGITS, "16x16"),
        ("convnet:depth=4", DIGITS, "16x16"),
        ("convnet:depth=6,norm=layer", (3, 32, 32), "64x64"),
    ],
)
def test_too_small_images_are_refused(spec: str, shape: tuple[int, int, int], least: str) -> None:
    with pytest.raises(InputError, match=f"'{spec}' needs images of at least {least} pixels, got {shape[1]}x"):
        network(spec, shape, 10)
    side = int(least.split("x")[0])
    network(spec, (shape[0], side, side), 10)


def test_grey_28_is_named_beside_the_least_size() -> None:
    with pytest.raises(InputError, match="needs images of 28x28 or at least 32x32 pixels, got 8x8"):
        network("vgg11", DIGITS, 10)
    network("vgg11", (1, 28, 28), 10)
    with pytest.raises(InputError, match="needs images of at least 32x32 pixels, got 30x30"):
        network("vgg11", (1, 30, 30), 10)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("spec", SINGLE)
def test_small_images_work_or_the_size_needed_is_said(spec: str, side: int) -> None:
    """Forward, backward and telling two images apart, on one image too where it trains on one."""
    shape = (1, side, side)
    try:
        net = ready(spec, shape)
    except InputError as refused:
        least = int(re.search(r"at least (\d+)x", str(refused))[1])
        assert least > side
        network(spec, (1, least, least), 10)
        return
    for several in (1, 2) if trains_on_one(net, shape) else (2,):
        logits = net(images(several, shape))
        assert logits.isfinite().all()
        logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    features = net.embed(images(2, shape))
    assert not torch.equal(features[0], features[1])
    if not trains_on_one(net, shape):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(images(1, shape))


def test_wide_first_padding_only_for_grey_28() -> None:
    padding = {
        shape: network("convnet", shape, 10).features[0].padding
        for shape in [(1, 28, 28), DIGITS, (1, 32, 32), (3, 28, 28)]
    }
    assert padding == {(1, 28, 28): (3, 3), DIGITS: (1, 1), (1, 32, 32): (1, 1), (3, 28, 28): (1, 1)}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet", "unknown network 'resnet'; known: convnet, mlp"),
        ("mlp:width=3", "unknown option 'width' of mlp; known: it takes none"),
        ("convnet:size=3", "unknown option 'size' of convnet; known: depth, width, norm, act, pool"),
        ("convnet:depth=0", "depth must be a whole number from 1 to 8, got '0'"),
        ("convnet:width=1.5", "width must be a whole number from 1 to 1024, got '1.5'"),
        ("convnet:norm=spectral", "norm must be one of none, batch, layer, instance, group, got 'spectral'"),
        ("convnet:depth", "depth must be a whole number from 1 to 8, got ''"),
        ("convnet:depth=2,depth=3", "option 'depth' is given twice"),
        ("convnet:norm=group,width=6", "norm=group needs a width divisible by 4, got 6"),
    ],
)
def test_bad_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(spec)


def test_bad_shapes_and_counts_are_named() -> None:
    with pytest.raises(InputError, match=r"three positive integers .* got \(3, 0, 32\)"):
        network("mlp", (3, 0, 32), 10)
    with pytest.raises(InputError, match="number of classes must be at least 1, got 0"):
        network("mlp", (3, 32, 32), 0)


def test_parse() -> None:
    assert parse("vgg11") == ("vgg11", {})
    spec = "convnet:depth=4,width=64,norm=group,act=swish,pool=max"
    options = {"depth": 4, "width": 64, "norm": "group", "act": "swish", "pool": "max"}
    assert parse(spec) == ("convnet", options)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("convnet", "convnet"),
        ("convnet:norm=batch,act=swish", "convnet:norm=instance,act=swish"),
        ("convnet:norm=layer", "convnet:norm=layer"),
        ("frepo-convnet:norm=batch,width=16", "frepo-convnet:norm=none,width=16"),
        ("alexnet-bn", "alexnet"),
        ("vgg11-bn", "vgg11"),
        ("resnet18-bn-ap", "resnet18"),
        ("resnet10-bn", "resnet10"),
        ("resnetap10-bn", "resnetap10"),
        ("densenet-bn", "densenet-bn"),
        ("efficientnet-bn", "efficientnet-bn"),
        ("kernel-convnet:width=16", "kernel-convnet:width=16"),
        ("mlp", "mlp"),
        ("convnet-gru:width=16,frames=4", "convnet-gru:width=16,frames=4"),
    ],
)
def test_evaluation_spec(spec: str, expected: str) -> None:
    assert evaluation_spec(spec) == expected


def test_building_and_initialising_leave_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    ready("convnet", (3, 32, 32))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("spec", ["resnet18-bn", "resnet10-bn", "densenet-bn", "efficientnet-bn"])
def test_initialise_is_determined_by_its_generator(spec: str) -> None:
    first, again, other = (ready(spec, DIGITS, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("spec", ["convnet", "lenet", "resnet18-bn", "densenet-bn", "efficientnet-bn"])
def test_initialise_draws_the_default_distribution(spec: str) -> None:
    for module in ready(spec, (3, 32, 32)).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert all(parameter.abs().max() <= bound for parameter in module.parameters())
            # Uniform: standard deviation bound / sqrt(3), within six of its own standard errors.
            error = 6 * math.sqrt(0.2 / module.weight.numel())
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=error)


@pytest.mark.parametrize("spec", ["resnet10", "resnetap10-bn"])
def test_initialise_draws_the_convolutions_of_idc_he_normal(spec: str) -> None:
    net = ready(spec, (3, 64, 64))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            normal = module.weight * math.sqrt(module.weight[:, 0].numel() / 2)
            error = 6 / math.sqrt(normal.numel())
            assert normal.mean().item() == pytest.approx(0, abs=error)
            assert normal.std().item() == pytest.approx(1, rel=error)
            assert normal.abs().max() > 3  # a uniform draw of this variance ends at sqrt(3)
    assert net.classifier.weight.abs().max() <= 1 / math.sqrt(512)


def test_initialise_draws_the_network_of_kernels_normal_with_biases() -> None:
    for module in ready("kernel-convnet:width=64", (3, 32, 32), 500).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            normal = module.weight.detach() * math.sqrt(module.weight[0].numel() / 2)
            assert normal.std().item() == pytest.approx(1, rel=6 / math.sqrt(normal.numel()))
            assert module.bias.std().item() == pytest.approx(0.1, rel=6 / math.sqrt(module.bias.numel()))


def test_initialise_draws_frepos_network_lecun_normal() -> None:
    for module in ready("frepo-convnet:width=32", (3, 32, 32)).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            normal = module.weight.detach() * math.sqrt(module.weight[0].numel())
            assert normal.std().item() == pytest.approx(1, rel=6 / math.sqrt(normal.numel()))
            assert 2 < normal.abs().max() <= 2 / 0.8796  # cut off where the normal drawn has two
            assert module.bias.abs().max() == 0


def test_initialise_resets_a_used_network() -> None:
    net = ready("convnet:norm=batch", DIGITS)
    net(images(8, DIGITS)).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    initialise(net, torch.Generator().manual_seed(0))
    fresh = ready("convnet:norm=batch", DIGITS).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in net.state_dict().items())
    assert fresh["features.1.running_mean"].abs().max() == 0
    assert fresh["features.1.num_batches_tracked"] == 0


SMALL = [
    *("mlp", "lenet", "convnet:width=8", "convnet:width=8,norm=batch,pool=max", "convnet:width=8,norm=layer"),
    *("convnet:width=8,act=swish,norm=group", "convnet:width=8,act=leakyrelu"),
    *("alexnet-bn", "resnet18-bn-ap", "resnet10", "resnetap10", "frepo-convnet:width=4,norm=batch"),
    "convnet-gru:depth=2,width=8,frames=1",
]


@pytest.mark.parametrize("spec", [*SMALL, "densenet-bn", "efficientnet-bn"])
def test_twice_differentiable(spec: str) -> None:
    """The gradient, by the images, of the norm of a gradient by the weights: what gradient matching needs."""
    # efficientnet makes single pixels of anything smaller, and batch norm then a step of two images
    shape = (1, 64, 64) if spec == "efficientnet-bn" else (1, 16, 16)
    net = ready(spec, shape).double()
    x = images(2, shape).double().requires_grad_()

    def matched(x: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(net(x), torch.tensor([0, 1]))
        return torch.autograd.grad(loss, net.classifier.weight, create_graph=True)[0].square().sum()

    (slope,) = torch.autograd.grad(matched(x), x)
    direction = slope / slope.norm()
    step = 1e-6
    numeric = (matched(x + step * direction) - matched(x - step * direction)) / (2 * step)
    assert numeric.item() == pytest.approx(slope.norm().item(), rel=1e-3)


@pytest.mark.parametrize("spec", SMALL)
def test_stacked_networks_equal_separate_ones(spec: str) -> None:
    """vmap over stacked weights gives each network's own logits and gradients, in training mode."""
    shape = (1, 16, 16)
    nets = [ready(spec, shape, seed=seed).double() for seed in (0, 1)]
    x, labels = images(4, shape).double(), torch.tensor([0, 1, 2, 3])
    params, buffers = stack_module_state(nets)

    def loss(params: dict, buffers: dict) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(nets[0], (params, buffers), (x,)), labels)

    slopes = vmap(grad(loss))(params, buffers)
    for index, net in enumerate(nets):
        separate = torch.autograd.grad(nn.functional.cross_entropy(net(x), labels), list(net.parameters()))
        for (name, _), expected in zip(net.named_parameters(), separate, strict=True):
            torch.testing.assert_close(slopes[name][index], expected, rtol=1e-7, atol=1e-10)
