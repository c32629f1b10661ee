"""Steps that look for flat minima: the slope some way uphill, less what of the slope here is across it (GSAM, with the
scale of each weight as in ASAM)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ALPHA = 0.3  # share of the part across that is taken off


@torch.no_grad()
def sharpened(
    leaves: Sequence[Tensor], slopes: Sequence[Tensor], again: Callable[[], Sequence[Tensor]], rho: float, count: int,
    stacked: bool,
) -> list[Tensor]:  # fmt: skip
    """The direction of a step of each of `count` networks.

    With g the slope at the weights w and h the slope at w + rho w^2 g / | |w| g |: h - ALPHA (g - (g.h / |h|^2) h).
    leaves, slopes : weights, and the slope there. stacked : whether each leaf is [count, *shape]; else those of one
    network come after those of the other. again : gives the slopes at what the weights are then, on the same batch.
    Source: Zhuang et al., Surrogate Gap Minimization, ICLR 2022, and Kwon et al., ASAM, ICML 2021, as the code of FTD
    (Du et al., CVPR 2023) and DATM combine them.

    >>> import torch
    >>> from bilp_core.nets.sharpness import sharpened
    >>> weight = torch.tensor([3.0, 4.0])
    >>> slope = lambda: [torch.tensor([1.0, 0.0]) * weight]  # of a valley along the second axis
    >>> [round(float(x), 3) for x in sharpened([weight], slope(), slope, rho=0.5, count=1, stacked=False)[0]]
    [4.5, 0.0]
    >>> weight.tolist()
    [3.0, 4.0]
    """
    each = len(leaves) // count

    def inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
        """Of all parameters of a network, as a factor of each leaf."""
        if stacked:
            total = torch.stack([(a * b).flatten(1).sum(1) for a, b in zip(one, other, strict=True)]).sum(0)
            return [total.view(-1, *[1] * (leaf.ndim - 1)) for leaf in leaves]
        sums = torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)])
        return [total for total in sums.view(count, each).sum(1) for _ in range(each)]

    kept = [leaf.clone() for leaf in leaves]
    scaled = [leaf.abs() * slope for leaf, slope in zip(leaves, slopes, strict=True)]
    for leaf, slope, length in zip(leaves, slopes, inner(scaled, scaled), strict=True):
        leaf += rho * leaf.square() * slope / (length.sqrt() + 1e-12)
    with torch.enable_grad():
        uphill = [slope.detach() for slope in again()]
    for leaf, before in zip(leaves, kept, strict=True):
        leaf.copy_(before)
    along = [a / b.clamp(min=1e-30) for a, b in zip(inner(slopes, uphill), inner(uphill, uphill), strict=True)]
    return [h - ALPHA * (g - share * h) for g, h, share in zip(slopes, uphill, along, strict=True)]
