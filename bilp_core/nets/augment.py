"""Differentiable Siamese augmentation (DSA), and the augmentation DC evaluates with.

A strategy is a list of words such as `color_crop_flip`. `draw` takes one of them for a whole mini-batch, with
parameters for each image or one set for all; `apply` carries a draw out. Real and synthetic images given the
same one-row draw are augmented alike: that is the Siamese part.

    word     parameters, uniform                        effect
    color    brightness [-.5, .5), saturation [0, 2),   shift; distance to the mean over channels; distance to
             contrast [.5, 1.5)                         the mean over the image: in this sequence
    crop     whole pixels, up to an eighth of a side    shift, zeros moving in
    cutout   centre, anywhere in the image              a rectangle of half the sides, clipped, becomes zero
    flip     heads or tails                             left-right mirror image
    scale    x and y, each [1/1.2, 1.2)                 zooms out above 1, in below; zeros outside
    rotate   [-15, 15) degrees                          about the centre; zeros outside

With `dc:` before the list the words are DC's, and one is drawn for EACH image:

    crop     whole pixels, -4 to 3 (-1 to 0 at 8x8)     shift, the batch's mean colour moving in
    scale    height and width, each [.8, 1.2)           magnifies; zeros outside
    rotate   whole degrees, -45 to 44                   about the centre, the batch's mean colour outside
    noise    -                                          adds normal noise of standard deviation .001

With `idc:` before the list the words are DSA's, but several happen, in this order: the flip and the color, if
listed; one of crop, scale and rotate, drawn for the batch, of those listed; the cutout, if listed.

With `frepo:` before the list the words are FRePo's, one for the batch; outside an image its nearest pixel goes on:

    flip       heads or tails                           left-right mirror image
    color      brightness [-.25, .25), saturation and   as DSA's color
               contrast e to the [-.25, .25)
    crop       zoom, its logarithm uniform on           a window of 1/zoom of the sides, anywhere in the image or,
               [log .8, log 1.25), and place            below 1, anywhere around it
    rotate     [-15, 15) degrees                        about the centre
    translate  up to an eighth of a side                shift, by parts of pixels too
    cutout     whole pixels                             a rectangle of a quarter of the sides becomes zero

Images are normalised and nothing is clamped. Source: Zhao and Bilen 2021 (DSA), Kim et al. 2022 (IDC) and Zhou et al.
2022 (FRePo), with the values of the references (VICO-UoE/DatasetCondensation, yongchaoz/FRePo,
snu-mllab/Efficient-Dataset-Condensation). DC's words differ from the reference's in this: they interpolate bilinearly
(it rotates by splines and scales to the nearest neighbour), scale by real factors instead of to whole sizes, and fill
each channel with its own mean where it rotates with the mean of all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..errors import InputError

DSA_WORDS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DC_WORDS = ("crop", "scale", "rotate", "noise")
FREPO_WORDS = ("flip", "color", "crop", "rotate", "translate", "cutout")


@dataclass(frozen=True, eq=False)
class Draw:
    """What happens to a batch.

    ops        : the operations that can occur; none leaves images as they are.
    chosen     : int64 [chunks] on the CPU, an index into `ops` for each of equally long runs of images.
    parameters : float32 [images, 3] (one row: for all images), those of the image's operation first.
    groups     : mini-batches in the batch, each with its own mean colour (DC only).
    seed       : of the noise (DC only).
    then       : what happens next (IDC only).

    >>> import torch
    >>> from bilp_core.nets.augment import draw
    >>> drawn = draw("crop_flip", count=6, size=(8, 8), rng=torch.Generator().manual_seed(0))
    >>> drawn.ops, tuple(drawn.chosen.shape), tuple(drawn.parameters.shape)
    (('crop', 'flip'), (1,), (6, 3))
    """

    ops: tuple[str, ...]
    chosen: Tensor
    parameters: Tensor
    groups: int = 1
    seed: int = 0
    then: Draw | None = None


def dsa_strategy(flip: bool) -> str:
    """The whole of DSA; without flip where a mirrored image may not keep its label. Source: DSA's reference.

    >>> from bilp_core.nets.augment import dsa_strategy
    >>> dsa_strategy(flip=False)
    'color_crop_cutout_scale_rotate'
    """
    return "_".join(word for word in DSA_WORDS if flip or word != "flip")


def frepo_strategy(flip: bool) -> str:
    """The augmentation FRePo evaluates with. Source: FRePo's code.

    >>> from bilp_core.nets.augment import frepo_strategy
    >>> frepo_strategy(flip=True)
    'frepo:flip_color_crop_rotate_translate_cutout'
    """
    return "frepo:" + "_".join(word for word in FREPO_WORDS if flip or word != "flip")


def operations(strategy: str) -> tuple[str, ...]:
    """The operations of a strategy; those of DC and FRePo carry their prefix. "none" has none.

    Raises InputError listing the allowed words when one is unknown.

    >>> from bilp_core.nets.augment import operations
    >>> operations("color_flip"), operations("dc:crop_noise"), operations("none")
    (('color', 'flip'), ('dc:crop', 'dc:noise'), ())
    """
    if strategy == "none":
        return ()
    prefix: str = ""
    allowed: tuple[str, ...] = DSA_WORDS
    for own, its_words in (("dc:", DC_WORDS), ("frepo:", FREPO_WORDS)):
        if strategy.startswith(own):
            prefix, allowed = own, its_words
    words = strategy.removeprefix(prefix or "idc:").split("_")
    for word in words:
        if word not in allowed:
            raise InputError(
                f"augmentation {strategy!r}: unknown operation {word!r}; allowed: "
                f'{", ".join(allowed)}, joined by "_", or "none" alone'
            )
    return tuple(prefix + word for word in words)


def draw(strategy: str, count: int, size: tuple[int, int], rng: Generator, groups: int = 1) -> Draw:
    """Draw what to do with a batch of images.

    count  : rows of parameters: the images of the batch, or 1 for the same parameters on all.
    size   : (height, width) in pixels.
    rng    : the only source of randomness. On the CPU nothing waits for the accelerator.
    groups : equally large mini-batches in the batch, one after the other (of networks trained together). Each
             has one operation; under "dc:" each image has its own.
    Raises InputError on an unknown operation, or if count is not a multiple of groups.

    >>> import torch
    >>> from bilp_core.nets import augment
    >>> drawn = augment.draw("dc:crop", count=100, size=(28, 28), rng=torch.Generator().manual_seed(0))
    >>> shift = drawn.parameters[:, :2]  # whole pixels, down and to the right
    >>> shift.min().item(), shift.max().item()
    (-4.0, 3.0)
    """
    ops = operations(strategy)
    if strategy.startswith("idc:"):
        return _chain([draw(stage, count, size, rng, groups) for stage in _stages(ops)])
    if count < 1 or groups < 1 or count % groups:
        raise InputError(f"{count} rows of augmentation cannot be split into {groups} equal groups")
    if not ops:
        return Draw(ops, torch.empty(0, dtype=torch.int64), torch.zeros(count, 3))
    device = rng.device
    chunks = count if ops[0].startswith("dc:") else groups
    chosen = torch.randint(len(ops), (chunks,), generator=rng, device=device)
    low, span, whole = _ranges(ops, size, device)[:, chosen.repeat_interleave(count // chunks)]
    steps = span * torch.rand(count, 3, generator=rng, device=device)
    parameters = low + torch.where(whole > 0, steps.floor(), steps)
    seed = 0
    if "dc:noise" in ops:
        seed = int(torch.randint(2**62, (), generator=rng, device=device))
    return Draw(ops, chosen.cpu(), parameters, groups, seed)


def _stages(ops: tuple[str, ...]) -> list[str]:
    """The strategies that IDC's list of operations stands for, one after the other."""
    stages = [("flip",), ("color",), ("crop", "scale", "rotate"), ("cutout",)]
    listed = ("_".join(word for word in stage if word in ops) for stage in stages)
    return [stage for stage in listed if stage]


def _chain(draws: list[Draw]) -> Draw:
    return replace(draws[0], then=_chain(draws[1:])) if len(draws) > 1 else draws[0]


@lru_cache(maxsize=64)
def _ranges(ops: tuple[str, ...], size: tuple[int, int], device: torch.device) -> Tensor:
    """[3, ops, 3]: low end, length, and whether whole numbers are drawn, of each operation's parameters."""
    table = []
    row: list[tuple[float, float, bool]]
    for op in ops:
        match op:
            case "color":
                row = [(-0.5, 1, False), (0, 2, False), (0.5, 1, False)]
            case "crop":
                row = [(-reach, 2 * reach + 1, True) for reach in (int(side / 8 + 0.5) for side in size)]
            case "cutout":  # one of even side is centred between pixels: one place more
                row = [(0, side + 1 - _cut(side) % 2, True) for side in size]
            case "flip" | "frepo:flip":
                row = [(0, 2, True)]
            case "scale":
                row = [(1 / 1.2, 1.2 - 1 / 1.2, False)] * 2
            case "rotate" | "frepo:rotate":
                row = [(-15, 30, False)]
            case "dc:crop":
                # the reference's 4 pixels, for images of 28 and more; a seventh of a smaller side
                row = [(-reach, 2 * reach, True) for reach in (min(4, round(side / 7)) for side in size)]
            case "dc:scale":
                row = [(0.8, 0.4, False)] * 2
            case "dc:rotate":
                row = [(-45, 90, True)]
            case "frepo:color":
                row = [(-0.25, 0.5, False)] * 3
            case "frepo:crop":
                row = [(math.log(0.8), math.log(1.25 / 0.8), False), *[(-1.0, 2.0, False)] * 2]
            case "frepo:translate":  # in half sides
                row = [(-0.25, 0.5, False)] * 2
            case "frepo:cutout":
                row = [(0, side - side // 4 + 1, True) for side in size]
            case _:
                row = []
        table.append(row + [(0, 0, False)] * (3 - len(row)))
    return torch.tensor(table, dtype=torch.float32, device=device).permute(2, 0, 1)


def _cut(side: int) -> int:
    return int(side / 2 + 0.5)


def apply(images: Tensor, draw: Draw) -> Tensor:
    """Carry out a draw; differentiable in the images.

    images : float [N, C, H, W]; N equals the draw's rows unless it has one only.
    Returns a tensor of the same shape. Raises InputError for a draw of another number of rows.

    >>> import torch
    >>> from bilp_core.nets import augment
    >>> images = torch.arange(8.0).view(2, 1, 2, 2)
    >>> siamese = augment.draw("flip", count=1, size=(2, 2), rng=torch.Generator().manual_seed(0))
    >>> augment.apply(images, siamese)[:, 0].tolist()  # one draw for both: here both are mirrored
    [[[1.0, 0.0], [3.0, 2.0]], [[5.0, 4.0], [7.0, 6.0]]]
    """
    changed = _apply(images, draw)
    return apply(changed, draw.then) if draw.then else changed


def _apply(images: Tensor, draw: Draw) -> Tensor:
    if not draw.ops:
        return images
    if len(draw.parameters) not in (1, len(images)):
        raise InputError(f"an augmentation drawn for {len(draw.parameters)} images got {len(images)}")
    parameters = draw.parameters.to(images.device, non_blocking=True)
    fill = None
    if draw.ops[0].startswith("dc:"):
        means = images.detach().unflatten(0, (draw.groups, -1)).mean((1, 3, 4))
        fill = means.repeat_interleave(len(images) // draw.groups, 0)[:, :, None, None]
    present = draw.chosen.unique().tolist()
    if len(present) == 1:
        return _operate(draw.ops[present[0]], images, parameters, fill, draw.seed)

    # Images are sorted by operation, so that each operation runs once, and then put back.
    chosen = draw.chosen.repeat_interleave(len(images) // len(draw.chosen))
    sizes = chosen.bincount()[present].tolist()
    order = chosen.argsort(stable=True)
    back = order.argsort().to(images.device, non_blocking=True)
    order = order.to(images.device, non_blocking=True)

    def sort(rows: Tensor) -> tuple[Tensor, ...]:
        return rows.index_select(0, order).split(sizes)

    fills = (None,) * len(present) if fill is None else sort(fill)
    pieces = [
        _operate(draw.ops[op], piece, rows, ground, draw.seed)
        for op, piece, rows, ground in zip(present, sort(images), sort(parameters), fills, strict=True)
    ]
    return torch.cat(pieces).index_select(0, back)


def _operate(op: str, images: Tensor, parameters: Tensor, fill: Tensor | None, seed: int) -> Tensor:
    """One operation on all images; parameters [N or 1, 3], fill [N, C, 1, 1] or None for zeros."""
    height, width = images.shape[2:]
    first, second, third = parameters.T
    match op:
        case "color":
            return _color(images, first, second, third)
        case "crop" | "dc:crop":
            return _shift(images, first, second, fill)
        case "frepo:color":
            return _color(images, first, second.exp(), third.exp())
        case "cutout":
            rows, columns = (
                _covered(centre - _cut(side) // 2, side, _cut(side))
                for centre, side in ((first, height), (second, width))
            )
            return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)
        case "frepo:cutout":
            rows, columns = _covered(first, height, height // 4), _covered(second, width, width // 4)
            return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)
        case "flip" | "frepo:flip":
            return torch.where(first[:, None, None, None] > 0, images.flip(3), images)
        case "scale":
            return _warp(images, parameters[:, :2].diag_embed())
        case "dc:scale":
            return _warp(images, torch.stack([1 / second, 1 / first], 1).diag_embed())
        case "rotate" | "dc:rotate":
            return _warp(images, _rotation(first, height, width), fill)
        case "frepo:rotate":
            return _warp_with_edges(images, _rotation(first, height, width), torch.zeros_like(parameters[:, :2]))
        case "frepo:crop":
            zoom = first.exp()[:, None]
            return _warp_with_edges(images, (1 / zoom).expand(-1, 2).diag_embed(), parameters[:, 1:] * (1 - 1 / zoom))
        case "frepo:translate":
            still = torch.eye(2, device=images.device).expand(len(parameters), -1, -1)
            return _warp_with_edges(images, still, parameters[:, :2])
        case _:
            rng = Generator(images.device).manual_seed(seed)
            return images + torch.empty_like(images).normal_(std=0.001, generator=rng)


def _color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """The three changes at once: with m the mean over channels and M that over the image, x + b becomes
    (x - m) s + m + b, whose image mean is still M + b, and then c ((x - m) s + m - M) + M + b."""
    b, s, c = (value.to(images.dtype)[:, None, None, None] for value in (brightness, saturation, contrast))
    grey = images.mean(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True)
    return images * (c * s) + (grey * (c * (1 - s)) + (level * (1 - c) + b))


def _covered(start: Tensor, side: int, length: int) -> Tensor:
    """[rows, side]: the pixels along one side that are covered from each start on."""
    place = torch.arange(side, device=start.device)
    return (place >= start[:, None]) & (place < start[:, None] + length)


def _rotation(degrees: Tensor, height: int, width: int) -> Tensor:
    """[N, 2, 2] in units of half sides: a rotation of the pixels also where the image is not square."""
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return torch.stack([cosine, -sine * height / width, sine * width / height, cosine], 1).unflatten(1, (2, 2))


def _shift(images: Tensor, down: Tensor, right: Tensor, fill: Tensor | None) -> Tensor:
    """Pixel (i, j) is taken from (i + down, j + right); `fill` where that lies outside."""
    count, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device) + down.long()[:, None]
    columns = torch.arange(width, device=images.device) + right.long()[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    source = source.flatten(1)[:, None].expand(count, channels, -1)
    moved = images.flatten(2).gather(2, source).unflatten(2, (height, width))
    return torch.where(inside[:, None], moved, 0.0 if fill is None else fill)


def _warp(images: Tensor, matrix: Tensor, fill: Tensor | None = None) -> Tensor:
    """Pixel (x, y), from -1 to 1 between the outer edges, is taken from matrix [N or 1, 2, 2] times (x, y),
    bilinearly; `fill` where that lies outside."""
    theta = F.pad(matrix, (0, 1)).to(images.dtype)
    grid = F.affine_grid(theta, [len(theta), *images.shape[1:]], align_corners=False)
    grid = grid.expand(len(images), -1, -1, -1)
    if fill is None:
        return F.grid_sample(images, grid, align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _warp_with_edges(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """The same with shift [N or 1, 2] added; outside, the nearest pixel of the image."""
    theta = torch.cat([matrix, shift[:, :, None]], 2).to(images.dtype)
    grid = F.affine_grid(theta, [len(theta), *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False)
