"""CutMix (Yun et al., ICCV 2019), as IDC uses it: a box of every image comes from another image of the batch."""

import torch
from torch import Generator, Tensor


def cutmix(images: Tensor, labels: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """images [B, C, H, W] and soft labels [B, classes], mixed.

    The box is one for the batch: its sides are sqrt(1 - l) of the image's, l uniform in [0, 1), its centre uniform,
    clipped to the image. Labels mix by the share of the area, so cross-entropy mixes with them.
    rng : on the CPU nothing waits for the accelerator.

    >>> import torch
    >>> from bilp_core.nets.mixing import cutmix
    >>> images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    >>> mixed, labels = cutmix(images, torch.eye(2), torch.Generator().manual_seed(3))
    >>> torch.allclose(mixed.mean((1, 2, 3)), labels[:, 1])  # as much of an image is white as of its label
    True
    >>> bool((labels[:, 0] > 0).all())
    True
    """
    height, width = images.shape[-2:]
    share, y, x = torch.rand(3, generator=rng, device=rng.device).tolist()
    order = torch.randperm(len(images), generator=rng, device=rng.device).to(images.device, non_blocking=True)
    reach = (1 - share) ** 0.5
    top, bottom = _side(int(y * height), int(height * reach) // 2, height)
    left, right = _side(int(x * width), int(width * reach) // 2, width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order, :, top:bottom, left:right]
    other = (bottom - top) * (right - left) / (height * width)
    return mixed, (1 - other) * labels + other * labels[order]


def _side(centre: int, half: int, size: int) -> tuple[int, int]:
    return max(centre - half, 0), min(centre + half, size)
