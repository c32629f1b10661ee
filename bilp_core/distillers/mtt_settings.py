"""Settings of trajectory methods by what the data are, and by IPC; here MTT's.

MTT's authors publish theirs as a picture; these are as other code repeats them. There CIFAR-10 at IPC 10 has an
image_lr of 1e5, which the author calls a misprint without naming the right one (GeorgeCazenavette/mtt-distillation,
issues 16 and 31); the rates that HaBa's code has for the same cell stand in the place of all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.images import ImageData
from .method import SMALL


@dataclass(frozen=True)
class Setting:
    """What the authors choose for a data set and an IPC: the steps of a student, the expert epochs it should span,
    the epochs it may start from (fewer than `starts`), and learning rates. batch_synthetic 0: the whole set."""

    zca: str
    steps: int
    span: int
    starts: int
    image_lr: float
    step_lr: float
    start_lr: float
    batch_synthetic: int = 0
    experts: int = 100


# by IPC; between two of them the larger one's holds
CIFAR10 = {
    1: Setting("absolute", 50, 2, 2, 1e2, 1e-7, 1e-2),
    10: Setting("absolute", 30, 2, 20, 1e2, 1e-5, 1e-3),  # as printed: (..., 1e5, 1e-4, 1e-2)
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

Tables = Mapping[str, Mapping[int, Any]]
MTT: Tables = {
    "digits": DIGITS, "own": OWN, "imagenet": IMAGENET, "kinetics": KINETICS, "subsets": SUBSETS, "tiny": TINY,
    "cifar100": CIFAR100, "cifar10": CIFAR10,
}  # fmt: skip


def setting(tables: Tables, data: ImageData, ipc: int) -> Any:
    """The data set's own; of a small folder ours; else that of the data set most like it in classes, pixels.

    tables : settings by IPC for each kind of data; between two IPCs the larger one's holds.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.mtt_settings import MTT, setting
    >>> own = setting(MTT, load("digits").train, ipc=1)
    >>> own.steps, own.span, own.experts
    (10, 2, 5)
    """
    if data.named == "digits":
        kinds = ["digits"]
    elif not data.named and len(data) * data.positions <= SMALL:
        kinds = ["own"]
    elif min(data.shape[1:]) >= 64 or data.num_classes >= 400:
        many = ["imagenet"] * (data.num_classes >= 1000) + ["kinetics"] * (400 <= data.num_classes < 1000)
        kinds = [*many, *["subsets"] * (min(data.shape[1:]) >= 128), "tiny"]
    else:
        kinds = ["cifar100"] * (data.num_classes >= 100) + ["cifar10"]
    table = tables[next(kind for kind in kinds if kind in tables)]
    return table[min((known for known in table if known >= ipc), default=max(table))]
