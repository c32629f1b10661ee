"""How networks are trained: losses, optimiser, learning rates."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def centred(labels: Tensor, classes: int) -> Tensor:
    """int64 [N] -> float32 [N, classes]: one-hot, less its mean 1/classes. Source: FRePo.

    >>> import torch
    >>> from bilp_core.nets.recipe import centred
    >>> centred(torch.tensor([1, 0]), classes=2).tolist()
    [[-0.5, 0.5], [0.5, -0.5]]
    """
    return F.one_hot(labels, classes).float() - 1 / classes


def _half_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Hard labels stand for their centred vectors. Source: FRePo."""
    wanted = labels if labels.ndim == 2 else centred(labels, logits.shape[1])
    return (logits - wanted).square().sum(1) / 2


def _mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Over classes, and not halved. Source: RFAD."""
    return _half_squared_error(logits, labels) * (2 / logits.shape[1])


def _divergence(logits: Tensor, shares: Tensor) -> Tensor:
    """Of Kullback and Leibler, of what a network says from shares; from a hard label that is the cross-entropy."""
    if shares.ndim == 1:
        return _cross_entropy(logits, shares)
    return F.kl_div(F.log_softmax(logits, 1), shares, reduction="none").sum(1)


# (logits [N, classes], labels int64 [N] or soft [N, classes]) -> [N], the loss of each sample
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "mse": _half_squared_error,
    "mean_mse": _mean_squared_error,
    "divergence": _divergence,
}


def cosine(progress: float, least: float) -> float:
    """From 1 to `least` along half a period of a cosine, as `progress` goes from 0 to 1.

    >>> from bilp_core.nets.recipe import cosine
    >>> [round(cosine(progress, least=0.1), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.55, 0.1]
    """
    return least + (1 - least) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: the loss, SGD or Adam, and how the learning rate falls.

    loss       : one of `LOSSES`, of hard or soft labels; 'divergence' is that of Kullback and Leibler.
    temperature : by which logits are divided; the loss is multiplied by its square (Hinton et al., 2015).
    optimizer  : 'sgd', 'adam' or 'adamw', whose weight decay leaves out biases and norms.
    drop_after : after this epoch (counted from 0) it falls to a tenth and the optimiser starts anew, its momentum
                 lost, as in the reference code of DC, DSA and DM.
    milestones : after so many epochs it falls to a fifth and the optimiser goes on, as in that of IDC.
    cosine_to  : with every step it falls along a cosine, to this share of `lr`, as in that of FRePo.
    warmup     : steps (of more than half of all: that half) in which it rises from 0 before; needs `cosine_to`.
    cutmix     : probability that a batch is mixed, after its augmentation.
    sharpness  : rho of a sharpness-aware step, see `bilp_core.nets.sharpness`; 0 for a plain one. Twice the time.
    augment    : a strategy, see `bilp_core.nets.augment`.
    relative   : logits are counted from those of the fresh network, in training and after, and weights decay to theirs.
    label_scale : of squared losses, by which labels are multiplied and the error divided.
    lr_share   : where not 0, the rate is `lr` times this share of the largest one that is stable at the start, network
                 by network, see `bilp_core.nets.rates`; for SGD and squared losses.
    parameterisation : 'standard', or 'ntk' for the steps that weights take in the parameterisation of kernels.
    Raises InputError for a value out of range.

    >>> from bilp_core.nets import Recipe
    >>> recipe = Recipe(epochs=10, lr=0.01, cosine_to=0.01, warmup=20)
    >>> [round(recipe.share_of_lr(step, steps=100), 3) for step in (0, 10, 20, 60, 100)]
    [0.0, 0.5, 1.0, 0.505, 0.01]
    """

    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    optimizer: str = "sgd"
    drop_after: int | None = None
    milestones: tuple[int, ...] = ()
    cosine_to: float | None = None
    warmup: int = 0
    augment: str = "none"
    cutmix: float = 0.0
    loss: str = "cross_entropy"
    sharpness: float = 0.0
    relative: bool = False
    label_scale: float = 1.0
    lr_share: float = 0.0
    parameterisation: str = "standard"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("batch", 1)):
            if getattr(self, field) < least:
                raise InputError(f"{field} = {getattr(self, field)}: must be at least {least}")
        for field in ("lr", "weight_decay", "momentum", "sharpness", "lr_share"):
            value = getattr(self, field)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{field} = {value}: must be a finite number, not negative")
        if not 0 <= self.cutmix <= 1:
            raise InputError(f"cutmix = {self.cutmix}: a probability, must be in [0, 1]")
        if not math.isfinite(self.temperature) or self.temperature <= 0:
            raise InputError(f"temperature = {self.temperature}: must be a finite number above 0")
        if self.optimizer not in ("sgd", "adam", "adamw"):
            raise InputError(f"optimizer = {self.optimizer!r}: must be 'sgd', 'adam' or 'adamw'")
        if self.loss not in LOSSES:
            raise InputError(f"loss = {self.loss!r}: must be one of {', '.join(LOSSES)}")
        squared = self.loss in ("mse", "mean_mse")
        if self.cutmix and squared:
            raise InputError(
                f"cutmix = {self.cutmix}: must be 0 with the loss {self.loss!r}, whose labels are no shares"
            )
        if not (math.isfinite(self.label_scale) and self.label_scale > 0):
            raise InputError(f"label_scale = {self.label_scale}: must be a finite number above 0")
        if self.label_scale != 1 and not squared:
            raise InputError(f"label_scale = {self.label_scale}: must be 1 with the loss {self.loss!r}")
        if self.lr_share and not (squared and self.optimizer == "sgd"):
            raise InputError(f"lr_share = {self.lr_share}: must be 0 but for SGD and the losses 'mse' and 'mean_mse'")
        if self.parameterisation not in ("standard", "ntk"):
            raise InputError(f"parameterisation = {self.parameterisation!r}: must be 'standard' or 'ntk'")
        if self.parameterisation == "ntk" and self.optimizer != "sgd":
            raise InputError(f"parameterisation = 'ntk': must be 'standard' with the optimiser {self.optimizer!r}")

    def share_of_lr(self, step: int, steps: int) -> float:
        """By what `lr` is multiplied at a step, counted from 0, of `steps` in all, where there is a `cosine_to`."""
        assert self.cosine_to is not None
        rise = min(self.warmup, steps // 2)
        return step / rise if step < rise else cosine((step - rise) / (steps - rise), self.cosine_to)
