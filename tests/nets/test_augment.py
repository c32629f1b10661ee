import math

import pytest
import torch
from torch import Generator, Tensor

from bilp_core.errors import InputError
from bilp_core.nets.augment import DSA_WORDS, FREPO_WORDS, Draw, apply, draw, dsa_strategy, frepo_strategy

ALL = "color_crop_cutout_flip_scale_rotate"
DC = "dc:crop_scale_rotate_noise"


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def images(count: int, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, channels, height, width, generator=seeded(99), dtype=torch.float64)


def forced(op: str, *rows: tuple[float, ...]) -> Draw:
    """A draw of one operation with the given parameters, a row an image."""
    parameters = torch.tensor([[*row, 0.0, 0.0, 0.0][:3] for row in rows])
    return Draw((op,), torch.zeros(len(rows) if op.startswith("dc:") else 1, dtype=torch.int64), parameters)


def sampled(image: Tensor, source) -> Tensor:
    """Bilinear sampling pixel by pixel: (row, column) of the result is taken from source(row, column)."""
    height, width = image.shape[1:]
    result = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            y, x = source(i, j)
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        result[:, i, j] += image[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return result


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    x = images(2)
    settings = [(0.25, 1.75, 0.5), (-0.5, 0.0, 1.25)]
    for image, result, (b, s, c) in zip(x, apply(x, forced("color", *settings)), settings, strict=True):
        image = image + b
        grey = image.mean(0)
        image = (image - grey) * s + grey
        image = (image - image.mean()) * c + image.mean()
        torch.testing.assert_close(result, image)


def test_crop_shifts_by_whole_pixels_into_zeros() -> None:
    x = images(3)
    result = apply(x, forced("crop", (1, 0), (-2, 3), (0, -1)))
    expected = torch.zeros_like(x)
    expected[0, :, :-1] = x[0, :, 1:]
    expected[1, :, 2:, :-3] = x[1, :, :-2, 3:]
    expected[2, :, :, 1:] = x[2, :, :, :-1]
    assert torch.equal(result, expected)


def test_cutout_zeroes_a_clipped_rectangle() -> None:
    x = images(3, height=8, width=6)  # half: 4 rows, 3 columns
    expected = x.clone()
    expected[0, :, 2:6, 1:4] = 0
    expected[1, :, :2, :2] = 0
    expected[2, :, 6:, 4:] = 0
    assert torch.equal(apply(x, forced("cutout", (4, 2), (0, 0), (8, 5))), expected)


def test_flip_mirrors_left_and_right() -> None:
    x = images(2)
    result = apply(x, forced("flip", (1,), (0,)))
    assert torch.equal(result[0], x[0].flip(-1))
    assert torch.equal(result[1], x[1])


def test_scale_samples_from_scaled_places() -> None:
    x = images(2, height=6, width=8)
    settings = [(1.2, 0.9), (0.85, 1.1)]
    result = apply(x, forced("scale", *settings))
    for index, (sx, sy) in enumerate(settings):
        expected = sampled(x[index], lambda i, j: (2.5 + sy * (i - 2.5), 3.5 + sx * (j - 3.5)))  # noqa: B023
        torch.testing.assert_close(result[index], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("op", "degrees"), [("rotate", 12.5), ("rotate", -7.0), ("dc:rotate", 40.0)])
def test_rotate_turns_pixels_about_the_centre(op: str, degrees: float) -> None:
    x = images(2, height=6, width=8)
    ground = x.mean((0, 2, 3), keepdim=True) if op == "dc:rotate" else torch.zeros(1, 3, 1, 1)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def source(i: int, j: int) -> tuple[float, float]:
        y, x = i - 2.5, j - 3.5
        return 2.5 + sine * x + cosine * y, 3.5 + cosine * x - sine * y

    expected = torch.stack([sampled(image, source) for image in x - ground]) + ground
    result = apply(x, forced(op, (degrees,), (degrees,)))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_frepo_color_is_brightness_then_contrast_then_saturation_by_powers_of_e() -> None:
    x = images(2)
    settings = [(0.2, 0.1, -0.2), (-0.25, -0.25, 0.25)]
    for image, result, (b, s, c) in zip(x, apply(x, forced("frepo:color", *settings)), settings, strict=True):
        image = image + b
        image = (image - image.mean()) * math.exp(c) + image.mean()
        grey = image.mean(0)
        torch.testing.assert_close(result, (image - grey) * math.exp(s) + grey)


def clamped(i: float, j: float) -> tuple[float, float]:
    return min(max(i, 0), 7), min(max(j, 0), 7)


@pytest.mark.parametrize("degrees", [15.0, -8.0])
def test_frepo_rotate_repeats_the_edge(degrees: float) -> None:
    x, angle = images(1), math.radians(degrees)

    def source(i: int, j: int) -> tuple[float, float]:
        y, x = i - 3.5, j - 3.5
        return clamped(3.5 + math.sin(angle) * x + math.cos(angle) * y, 3.5 + math.cos(angle) * x - math.sin(angle) * y)

    torch.testing.assert_close(
        apply(x, forced("frepo:rotate", (degrees,)))[0], sampled(x[0], source), rtol=1e-5, atol=1e-5
    )


def test_frepo_translate_and_crop_sample_where_they_say() -> None:
    x = images(1)
    # in half sides of 4 pixels: one pixel down and a half to the left
    moved = apply(x, forced("frepo:translate", (0.125, -0.25)))[0]
    torch.testing.assert_close(moved, sampled(x[0], lambda i, j: clamped(i - 1, j + 0.5)), rtol=1e-5, atol=1e-5)
    for zoom, right, down in ((1.25, 1.0, -1.0), (0.8, 0.5, 1.0), (1.0, 1.0, 1.0)):
        cropped = apply(x, forced("frepo:crop", (math.log(zoom), right, down)))[0]
        margin = 4 - 4 / zoom  # pixels beside the window, if it is in the middle
        expected = sampled(
            x[0],
            lambda i, j, zoom=zoom, right=right, down=down, margin=margin: clamped(
                3.5 + (i - 3.5) / zoom + down * margin, 3.5 + (j - 3.5) / zoom + right * margin
            ),
        )
        torch.testing.assert_close(cropped, expected, rtol=1e-5, atol=1e-5)


def test_frepo_cutout_lies_inside() -> None:
    x = images(2, height=8, width=12)
    expected = x.clone()
    expected[0, :, :2, 9:] = 0
    expected[1, :, 6:, :3] = 0
    assert torch.equal(apply(x, forced("frepo:cutout", (0, 9), (6, 0))), expected)


def test_frepo_cutout_of_odd_sides_is_a_quarter_rounded_down() -> None:
    x = images(1, height=10, width=7)
    expected = x.clone()
    expected[..., 3:5, 6:] = 0
    assert torch.equal(apply(x, forced("frepo:cutout", (3, 6))), expected)


def test_frepo_draws_one_operation_a_batch_within_its_ranges() -> None:
    assert frepo_strategy(True) == "frepo:flip_color_crop_rotate_translate_cutout"
    strategy = frepo_strategy(False)
    limits = {
        "color": ([-0.25] * 3, [0.25] * 3),
        "crop": ([math.log(0.8), -1, -1], [math.log(1.25), 1, 1]),
        "rotate": ([-15, 0, 0], [15, 0, 0]),
        "translate": ([-0.25, -0.25, 0], [0.25, 0.25, 0]),
        "cutout": ([0, 0, 0], [6, 6, 0]),
    }
    seen, rng = set(), seeded()
    for _ in range(60):
        made = draw(strategy, 50, (8, 8), rng)
        word = made.ops[made.chosen.item()].removeprefix("frepo:")
        seen.add(word)
        low, high = (torch.tensor(limit) for limit in limits[word])
        assert ((made.parameters >= low) & (made.parameters <= high)).all()
        spread = made.parameters.amax(0) - made.parameters.amin(0)
        assert (spread >= 0.75 * (high - low)).all()
    assert seen == set(limits)
    with pytest.raises(InputError, match="unknown operation 'scale'; allowed: flip, color"):
        draw("frepo:scale", 1, (8, 8), rng)


def test_dc_crop_moves_in_the_mean_colour_of_its_mini_batch() -> None:
    x = images(4)
    shifts = forced("dc:crop", (1, 0), (0, -4), (0, 3), (-2, 0))
    result = apply(x, Draw(shifts.ops, shifts.chosen, shifts.parameters, groups=2))
    means = [x[:2].mean((0, 2, 3)), x[2:].mean((0, 2, 3))]
    torch.testing.assert_close(result[0], torch.cat([x[0, :, 1:], means[0].expand(1, 8, 3).permute(2, 0, 1)], 1))
    torch.testing.assert_close(result[1, :, :, :4], means[0].expand(8, 4, 3).permute(2, 0, 1))
    torch.testing.assert_close(result[2, :, :, 5:], means[1].expand(8, 3, 3).permute(2, 0, 1))
    torch.testing.assert_close(result[3, :, 2:], x[3, :, :-2])


def test_dc_scale_magnifies_height_and_width() -> None:
    x = images(1)
    result = apply(x, forced("dc:scale", (1.25, 0.8)))
    expected = sampled(x[0], lambda i, j: (3.5 + (i - 3.5) / 1.25, 3.5 + (j - 3.5) / 0.8))
    torch.testing.assert_close(result[0], expected, rtol=1e-5, atol=1e-5)


def test_dc_noise_is_small_normal_and_repeatable() -> None:
    x = images(8, height=32, width=32)
    noise = draw("dc:noise", 8, (32, 32), seeded())
    added = apply(x, noise) - x
    assert added.std().item() == pytest.approx(0.001, rel=0.05)
    assert abs(added.mean().item()) < 6 * 0.001 / math.sqrt(added.numel())
    assert torch.equal(apply(x, noise), apply(x, noise))
    rng = seeded()
    assert len({draw("dc:noise", 8, (32, 32), rng).seed for _ in range(50)}) == 50


@pytest.mark.parametrize("word", DSA_WORDS)
def test_one_row_treats_every_image_alike(word: str) -> None:
    shared = draw(word, 1, (8, 8), seeded(3))
    real, synthetic = images(5), images(5)[2:3]
    every = Draw(shared.ops, shared.chosen, shared.parameters.expand(5, 3))
    torch.testing.assert_close(apply(real, shared), apply(real, every))
    torch.testing.assert_close(apply(real, shared)[2:3], apply(synthetic, shared))


@pytest.mark.parametrize("word", [*DSA_WORDS, *(f"frepo:{word}" for word in FREPO_WORDS)])
def test_rows_treat_every_image_alone(word: str) -> None:
    x, many = images(5), draw(word, 5, (8, 8), seeded(3))
    alone = [apply(x[k : k + 1], Draw(many.ops, many.chosen, many.parameters[k : k + 1])) for k in range(5)]
    torch.testing.assert_close(apply(x, many), torch.cat(alone))


@pytest.mark.parametrize("strategy", [ALL, DC])
def test_a_draw_is_determined_by_its_generator(strategy: str) -> None:
    x = images(12)
    first, again, other = (apply(x, draw(strategy, 12, (8, 8), seeded(s), groups=3)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_drawing_and_applying_leave_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    for strategy in (ALL, DC):
        apply(images(12), draw(strategy, 12, (8, 8), seeded(), groups=3))
    assert torch.equal(before, torch.random.get_rng_state())


# Not dc:crop and dc:rotate: the mean colour they fill with counts as a constant, which differences would see.
@pytest.mark.parametrize("word", [*DSA_WORDS, "dc:scale", "dc:noise"])
def test_every_operation_is_differentiable(word: str) -> None:
    x = images(2, channels=2, height=5, width=4).requires_grad_()
    happening = draw(word, 2, (5, 4), seeded(1))
    assert torch.autograd.gradcheck(lambda x: apply(x, happening), x)


def test_gradients_of_mixed_operations() -> None:
    x = images(12, channels=2, height=4, width=4).requires_grad_()
    happening = draw(ALL, 12, (4, 4), seeded(2), groups=6)
    assert happening.chosen.unique().numel() > 2
    assert torch.autograd.gradcheck(lambda x: apply(x, happening), x)


def test_groups_are_augmented_independently() -> None:
    """A batch of six mini-batches gives what each of them gives by itself."""
    x = images(24)
    whole = draw(ALL, 24, (8, 8), seeded(4), groups=6)
    assert whole.chosen.unique().numel() > 2
    parts = [
        apply(
            x[4 * k : 4 * k + 4],
            Draw(whole.ops, whole.chosen[k : k + 1], whole.parameters[4 * k : 4 * k + 4]),
        )
        for k in range(6)
    ]
    assert torch.equal(apply(x, whole), torch.cat(parts))


def test_dc_draws_an_operation_an_image() -> None:
    x = images(12)
    mixed = draw(DC, 12, (8, 8), seeded(4), groups=2)
    assert len(mixed.chosen) == 12
    assert mixed.chosen.unique().numel() == 4
    result = apply(x, mixed)
    for op in range(3):  # the noise differs with the number of images it is drawn for
        alone = apply(x, Draw(mixed.ops, torch.full((12,), op), mixed.parameters, groups=2))
        torch.testing.assert_close(result[mixed.chosen == op], alone[mixed.chosen == op])


def test_operations_are_drawn_uniformly() -> None:
    rng = seeded(7)
    counts = torch.zeros(6)
    for _ in range(20):
        counts += draw(ALL, 300, (8, 8), rng, groups=300).chosen.bincount(minlength=6)
    expected = 6000 / 6
    assert (counts - expected).abs().max() < 6 * math.sqrt(expected * 5 / 6)


@pytest.mark.parametrize(
    ("word", "low", "high", "whole"),
    [
        ("color", (-0.5, 0, 0.5), (0.5, 2, 1.5), False),
        ("crop", (-4, -1, 0), (4, 1, 0), True),
        ("cutout", (0, 0, 0), (32, 9, 0), True),  # an odd cutout, of 5 columns, is centred on one of 10
        ("flip", (0, 0, 0), (1, 0, 0), True),
        ("scale", (1 / 1.2, 1 / 1.2, 0), (1.2, 1.2, 0), False),
        ("rotate", (-15, 0, 0), (15, 0, 0), False),
        ("dc:crop", (-4, -1, 0), (3, 0, 0), True),
        ("dc:scale", (0.8, 0.8, 0), (1.2, 1.2, 0), False),
        ("dc:rotate", (-45, 0, 0), (44, 0, 0), True),
    ],
)
def test_parameters_fill_their_ranges(word: str, low: tuple, high: tuple, whole: bool) -> None:
    fills_its_range(draw(word, 4000, (32, 10), seeded(8)).parameters, low, high, whole)


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("crop", (-4, -3, 0), (4, 3, 0)),  # 28 / 8 and 20 / 8, halves rounded up
        ("dc:crop", (-4, -3, 0), (3, 2, 0)),  # 4 at most, and 20 / 7
        ("frepo:cutout", (0, 0, 0), (21, 15, 0)),
        ("cutout", (0, 0, 0), (28, 20, 0)),
    ],
)
def test_whole_pixels_of_other_sides(word: str, low: tuple, high: tuple) -> None:
    fills_its_range(draw(word, 4000, (28, 20), seeded(8)).parameters, low, high, True)


def test_a_cutout_of_frepo_is_anywhere_inside_of_odd_sides() -> None:
    fills_its_range(draw("frepo:cutout", 4000, (10, 7), seeded(8)).parameters, (0, 0, 0), (8, 6, 0), True)


def fills_its_range(parameters: Tensor, low: tuple, high: tuple, whole: bool) -> None:
    low, high = torch.tensor(low), torch.tensor(high)
    assert (parameters >= low).all()
    assert (parameters <= high).all()
    reach = 0 if whole else 0.01
    assert (parameters.amin(0) <= low + reach * (high - low)).all()
    assert (parameters.amax(0) >= high - reach * (high - low)).all()
    if whole:
        assert torch.equal(parameters, parameters.round())
    # Uniform, or uniform over whole numbers: the mean is the middle, within six standard errors.
    error = (high - low + whole) / math.sqrt(12 * 4000)
    assert ((parameters.mean(0) - (low + high) / 2).abs() <= 6 * error).all()


def test_no_flip_without_its_word() -> None:
    assert dsa_strategy(flip=True) == ALL
    assert dsa_strategy(flip=False) == "color_crop_cutout_scale_rotate"
    assert "flip" not in draw(dsa_strategy(flip=False), 4, (8, 8), seeded()).ops


def test_none_leaves_images_alone() -> None:
    x = images(3)
    assert apply(x, draw("none", 3, (8, 8), seeded())) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_type_are_kept(dtype: torch.dtype) -> None:
    x = images(12).to(dtype)
    for strategy in (ALL, DC):
        result = apply(x, draw(strategy, 12, (8, 8), seeded(), groups=6))
        assert result.shape == x.shape
        assert result.dtype == dtype


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("color_blur", "unknown operation 'blur'; allowed: color, crop, cutout, flip, scale, rotate"),
        ("dc:color", "unknown operation 'color'; allowed: crop, scale, rotate, noise"),
        ("", "unknown operation ''"),
    ],
)
def test_unknown_operations_are_named(strategy: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(strategy, 4, (8, 8), seeded())


def test_rows_must_fit() -> None:
    with pytest.raises(InputError, match="10 rows of augmentation cannot be split into 3 equal groups"):
        draw(ALL, 10, (8, 8), seeded(), groups=3)
    with pytest.raises(InputError, match="drawn for 4 images got 5"):
        apply(images(5), draw(ALL, 4, (8, 8), seeded()))


def test_idc_does_several_in_its_order():
    """Flip, color, one of crop and rotate, cutout: each stage as the single operation would do it."""
    images = torch.rand(6, 3, 8, 8, generator=seeded())
    for seed in range(8):
        drawn = draw("idc:cutout_rotate_crop_color_flip", 6, (8, 8), seeded(seed))
        rng, expected, ops = seeded(seed), images, []
        for stage in ("flip", "color", "crop_rotate", "cutout"):
            one = draw(stage, 6, (8, 8), rng)
            ops.append(one.ops)
            expected = apply(expected, one)
        torch.testing.assert_close(apply(images, drawn), expected)
    assert ops == [("flip",), ("color",), ("crop", "rotate"), ("cutout",)]
    with pytest.raises(InputError, match="unknown operation 'noise'"):
        draw("idc:noise", 6, (8, 8), seeded())
