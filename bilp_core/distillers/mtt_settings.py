"""Settings of MTT by data set and IPC."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.images import ImageData
from .method import SMALL


@dataclass(frozen=True)
class Setting:
    """What the authors choose for a data set and an IPC: the steps of a student, the expert epochs it should span,
    the epochs it may start from (fewer than `starts`), and learning rates. batch 0: the whole synthetic set."""

    zca: str
    steps: int
    span: int
    starts: int
    image_lr: float
    step_lr: float
    start_lr: float
    batch: int = 0
    experts: int = 100


# by IPC; between two of them the larger one's holds
CIFAR10 = {
    1: Setting("absolute", 50, 2, 2, 1e2, 1e-7, 1e-2),
    10: Setting("absolute", 30, 2, 20, 1e5, 1e-4, 1e-2),
    50: Setting("none", 30, 2, 40, 1e3, 1e-5, 1e-3),
}
CIFAR100 = {
    1: Setting("absolute", 20, 3, 20, 1e3, 1e-5, 1e-2),
    10: Setting("none", 20, 2, 20, 1e3, 1e-5, 1e-2),
    50: Setting("absolute", 80, 2, 40, 1e3, 1e-5, 1e-2, 125),
}
TINY = {  # Tiny ImageNet
    1: Setting("none", 10, 2, 10, 1e4, 1e-4, 1e-2),
    10: Setting("none", 20, 2, 40, 1e4, 1e-4, 1e-2, 200),
    50: Setting("none", 20, 2, 40, 1e4, 1e-4, 1e-2, 300),
}
SUBSETS = {  # ten classes of ImageNet, 128x128
    1: Setting("none", 20, 2, 10, 1e3, 1e-6, 1e-2),
    10: Setting("none", 20, 2, 10, 1e4, 1e-6, 1e-2, 20),
}
IMAGENET = {1: Setting("none", 5, 2, 5, 3e4, 1e-6, 1e-2, experts=60)}  # BiLP, supplement Sec. 6.6
KINETICS = {1: Setting("none", 5, 2, 5, 3e4, 1e-6, 1e-2, 64, experts=40)}
DIGITS = {1: Setting("none", 10, 2, 6, 1e2, 1e-5, 2e-2, experts=5)}  # ours
OWN = {1: Setting("none", 10, 2, 6, 30, 1e-6, 2e-2, experts=4)}  # ours, of small folders


def setting(data: ImageData, ipc: int) -> Setting:
    """The data set's own; of a small folder ours; else that of the data set most like it in classes, pixels.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.mtt_settings import setting
    >>> own = setting(load("digits").train, ipc=1)
    >>> own.steps, own.span, own.experts
    (10, 2, 5)
    """
    if data.named == "digits":
        table = DIGITS
    elif not data.named and len(data) * data.shape[1] * data.shape[2] <= SMALL:
        table = OWN
    elif data.num_classes >= 1000:
        table = IMAGENET
    elif data.num_classes >= 400:
        table = KINETICS
    elif min(data.shape[1:]) >= 128:
        table = SUBSETS
    elif min(data.shape[1:]) >= 64:
        table = TINY
    else:
        table = CIFAR100 if data.num_classes >= 100 else CIFAR10
    return table[min((known for known in table if known >= ipc), default=max(table))]
