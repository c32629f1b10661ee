"""Kernel ridge regression from synthetic to real images, for methods that distil through it."""

from typing import Annotated

import torch
from torch import Tensor, nn

from ..errors import Diverged, InputError
from ..nets.memory import split


def embedded(net: nn.Module, images: Annotated[Tensor, "float [N, C, H, W]"]) -> Annotated[Tensor, "float [N, E]"]:
    """Features [N, E] of a network in evaluation mode: its BatchNorm goes by the running statistics."""
    net.eval()
    return torch.cat([net.embed(part) for part in split(images)])  # type: ignore[operator]


def regressed(
    support: Annotated[Tensor, "float [M, E]"],
    labels: Annotated[Tensor, "float [M, classes]"],
    targets: Annotated[Tensor, "float [N, E]"],
    ridge: float,
) -> Annotated[Tensor, "float [N, classes]"]:
    """What kernel ridge regression on `support` predicts for `targets`, [N, classes]; differentiable in all.

    support, targets : features [M, E] and [N, E], the kernel being their inner products. labels : [M, classes].
    ridge : added to the kernel's diagonal, in units of the mean diagonal element.
    The system is solved in float64, where the kernel of float32 features keeps its eigenvalues positive.
    Raises Diverged for features that are not finite, InputError for a singular system.
    Source: Zhou, Nezhadarya & Ba, NeurIPS 2022; float64 and the check are ours.

    >>> import torch
    >>> from bilp_core.distillers.regression import regressed
    >>> support, labels = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> targets = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    >>> regressed(support, labels, targets, ridge=1.0).tolist()  # half of what no ridge gives
    [[0.5, 0.0], [0.25, 0.25]]
    >>> regressed(torch.ones(2, 2), labels, targets, ridge=0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: the kernel of 2 synthetic images is singular (two of them may be equal), and ...
    """
    wide = support.double()
    kernel = wide @ wide.T
    level = kernel.diagonal().mean()
    identity = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    factor, failed = torch.linalg.cholesky_ex(kernel + ridge * level * identity)
    # a singular kernel may pass, its last pivots then being all rounding; NaN compares as false
    pivots = factor.detach().diagonal().square()
    if failed or not pivots.min() > len(kernel) * torch.finfo(kernel.dtype).eps * level.detach():
        if not torch.isfinite(level):
            raise Diverged("features of the synthetic images are not finite; lower image_lr")
        raise InputError(
            f"the kernel of {len(kernel)} synthetic images is singular (two of them may be equal), and ridge = "
            f"{ridge} does not mend that: raise ridge"
        )
    weights = wide.T @ torch.cholesky_solve(labels.double(), factor)
    return targets @ weights.to(targets.dtype)
