"""Multi-formation by hand."""

import pytest
import torch
import torch.nn.functional as F

from bilp_core.errors import InputError
from bilp_core.synthetic import Formation
from bilp_core.synthetic.formation import mixed

GREY = torch.tensor([0.25])


def pictures(count, side=8, channels=1):
    return torch.arange(count * channels * side * side, dtype=torch.float32).view(count, channels, side, side)


def test_factor_one_is_the_image_itself():
    images, origin = Formation().decoded(pictures(3), GREY)
    assert torch.equal(images, pictures(3))
    assert origin.tolist() == [0, 1, 2]


def test_quarters_in_order():
    """Two images: both upper left quarters, then both upper right, lower left, lower right ones."""
    stored = pictures(2)
    images, origin = Formation(2).decoded(stored, GREY)
    assert images.shape == (8, 1, 8, 8)
    assert origin.tolist() == [0, 1] * 4
    corners = [(0, 0), (0, 4), (4, 0), (4, 4)]
    for k, (i, j) in enumerate(corners):
        expected = F.interpolate(stored[:, :, i : i + 4, j : j + 4], size=(8, 8), mode="bilinear", align_corners=False)
        torch.testing.assert_close(images[2 * k : 2 * k + 2], expected)


def test_a_side_that_does_not_divide_is_padded_with_grey():
    images, _ = Formation(3).decoded(pictures(1), GREY)
    assert images.shape == (9, 1, 8, 8)
    padded = F.pad(pictures(1), (0, 1, 0, 1), value=0.25)
    last = F.interpolate(padded[:, :, 6:9, 6:9], size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(images[8:], last)


def test_multi_uses_every_factor():
    images, origin = Formation(3, "multi").decoded(pictures(2), GREY)
    assert len(images) == 2 * (1 + 4 + 9)
    assert torch.equal(images[:2], pictures(2))
    torch.testing.assert_close(images[2:10], Formation(2).decoded(pictures(2), GREY)[0])
    assert origin.bincount().tolist() == [14, 14]


@pytest.mark.parametrize(
    ("count", "factor", "expected"),
    # room = 128 - count; at each factor, room / factor^2 images of those left
    [(10, 3, [(3, 10)]), (20, 3, [(3, 12), (2, 3), (1, 5)]), (50, 2, [(2, 19), (1, 31)]), (200, 2, [(1, 200)])],
)
def test_bound_gives_at_most_128(count, factor, expected):
    images, origin = Formation(factor, "bound").decoded(pictures(count), GREY)
    assert len(images) == sum(f * f * n for f, n in expected)
    assert len(images) <= max(128, count)
    assert sorted(origin.unique().tolist()) == list(range(count))


def test_gradients_reach_every_stored_pixel():
    stored = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    images, _ = Formation(2).decoded(stored, torch.zeros(3))
    (gradient,) = torch.autograd.grad(images.square().sum(), stored)
    assert (gradient != 0).all()


@pytest.mark.parametrize(("factor", "side"), [(2, 8), (3, 8), (1, 8), (3, 28)])
def test_mixed_tiles_shrunk_images(factor, side):
    flat = torch.arange(2.0 * factor**2)[:, None, None, None].expand(-1, 1, side, side)
    tiles = mixed(flat, factor)
    assert tiles.shape == (2, 1, side, side)
    cut = [0]
    for i in range(factor):
        cut.append(cut[-1] + side // factor + (i < side % factor))
    for i in range(factor):
        for j in range(factor):
            cell = tiles[:, 0, cut[i] : cut[i + 1], cut[j] : cut[j + 1]]
            first = 2 * (factor * i + j)
            assert (cell[0] == first).all()
            assert (cell[1] == first + 1).all()


@pytest.mark.parametrize(
    ("settings", "message"), [({"factor": 0}, "factor = 0"), ({"decode": "zoom"}, "decode = 'zoom'.*single, multi")]
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        Formation(**settings)
