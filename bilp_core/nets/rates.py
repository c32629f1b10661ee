"""Learning rates of networks near their start: the largest stable one, and those of kernels' parameterisation."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from .ensemble import Ensemble
from .layers import BIAS, GAIN

IMAGES = 50  # of which training takes the kernel
ROUNDS = 30  # of the power iteration
CURVATURES = {"mse": lambda classes: 1.0, "mean_mse": lambda classes: 2 / classes}  # noqa: ARG005


def factors(ensemble: Ensemble, parameterisation: str) -> list[float]:
    """By what the step of each of `ensemble.leaves()` is multiplied: 1 but for the parameterisation 'ntk'.

    There a weight is sqrt(2 / fan in) times what is trained, a bias a tenth of it; in steps on the weights themselves
    that is a rate of 2 / (fan in) and 0.01 of the common one.
    Source: Jacot, Gabriel & Hongler, Neural Tangent Kernel, NeurIPS 2018, with the variances of KIP.

    >>> from bilp_core.nets import Ensemble
    >>> from bilp_core.nets.rates import factors
    >>> ensemble = Ensemble("kernel-convnet:depth=1,width=8", (1, 8, 8), 10, seeds=[0])
    >>> [round(factor, 4) for factor in factors(ensemble, "ntk")]  # of 9 inputs, and of 128
    [0.2222, 0.01, 0.0156, 0.01]
    """
    found = []
    for module in ensemble.base.modules():
        for name, leaf in module.named_parameters(recurse=False):
            plain = parameterisation == "standard" or not isinstance(module, nn.Conv2d | nn.Linear)
            found.append(1.0 if plain else GAIN / leaf[0].numel() if name == "weight" else BIAS**2)
    return found if ensemble.stacked else found * len(ensemble)


def largest(
    ensemble: Ensemble,
    images: Annotated[Tensor, "float [N, C, H, W]"],
    loss: str,
    scale: float = 1.0,
    parameterisation: str = "standard",
) -> Annotated[Tensor, "float32 [K]"]:
    """The rate of each network above which gradient descent on the loss, linear around the start, diverges.

    It is 2 / (c l), l the largest eigenvalue of the kernel J J^T / N of the images, J the derivative of the
    sum of the logits over the root of their number, and c the curvature of the loss by a logit: 1 for 'mse' and
    2 / classes for 'mean_mse', less by `scale` squared where logits are divided by that.
    Source: KIP's code, after Lee et al., Wide Neural Networks of Any Depth, NeurIPS 2019.

    >>> import torch
    >>> from bilp_core.nets import Ensemble
    >>> from bilp_core.nets.rates import largest
    >>> ensemble = Ensemble("kernel-convnet:depth=1,width=8", (1, 8, 8), 10, seeds=[0, 1])
    >>> rates = largest(ensemble, torch.randn(20, 1, 8, 8), "mse")
    >>> bool((rates > 0.01).all()), bool((rates < 10).all())
    (True, True)
    """
    leaves, by = ensemble.leaves(), factors(ensemble, parameterisation)
    with ensemble.uncompiled():
        logits = ensemble.logits(images)
    out = logits.sum(-1) / math.sqrt(logits.shape[-1])
    dummy = torch.zeros_like(out).requires_grad_()
    back = torch.autograd.grad(out, leaves, dummy, create_graph=True)  # linear in the dummy, whose slope is J
    u, level = torch.ones_like(out), torch.ones_like(out[:, :1])
    for _ in range(ROUNDS):
        u = u / level
        up = torch.autograd.grad(out, leaves, u, retain_graph=True)
        scaled = [f * g for f, g in zip(by, up, strict=True)]
        (u,) = torch.autograd.grad(back, dummy, scaled, retain_graph=True)
        level = u.norm(dim=1, keepdim=True)
    curvature = CURVATURES[loss](logits.shape[-1]) / scale**2
    return (2 * len(images) / (curvature * level[:, 0])).detach()
