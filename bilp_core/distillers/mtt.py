"""Dataset distillation by matching training trajectories, MTT (Cazenavette et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .trajectory import Trajectory


@dataclass(frozen=True)
class MTT(Trajectory):
    """A student starts where an expert was after some epoch, trains on the synthetic set, and should end where the
    expert was `span` epochs later.

    steps : SGD steps of the student. starts : the epoch it starts from is below. batch_synthetic : images of a step.
    step_lr : SGD on the step size, which starts at `start_lr` and is learned with the images.
    experts, epochs, expert_* : networks trained on the real data first, and for how long; see
             `bilp_core.distillers.experts`.
    augment : whether students and experts see augmented images (DSA). False on clips, see `check_augment`.
    checkpoint : keep only the student's parameters of each step and compute the rest anew on the way back: about a
                 quarter more time, and the memory of one step instead of all.
    0 and 'auto' stand for the authors' choice for the data set and the IPC (see `setting`).
    iterations are BiLP's (supplement Sec. 6.3); on ImageNet and Kinetics it runs 5000 (Sec. 6.6). The loss
    is no sum over real samples: adaptive pruning is refused.
    Raises InputError for a value out of range, for starts and span beyond the experts' epochs, and for a graph too
    large for the memory; Diverged as soon as the learned step size is not above 0.
    Source: Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022, Eq. 2.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("mtt", iterations=2, steps=3, span=1, starts=1, experts=2, epochs=1)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", home="experts")
    >>> made.images.shape, made.meta["lr"] > 0, len(made.meta["experts"])
    (torch.Size([10, 1, 8, 8]), True, 16)
    """

    name: ClassVar[str] = "mtt"
    summary: ClassVar[str] = "trajectory matching: students trained on the set end where experts do"
    learns: ClassVar[str] = "images, step size"
    # experts as long as they are used, in batches small enough for hundreds of steps
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 150, "experts": 4, "epochs": 8, "expert_batch": 16, "expert_lr": 0.02, "image_lr": 30.0,
        "step_lr": 1e-6,
    }  # fmt: skip

    checkpoint: bool = False

    def way(self) -> str:
        return "checkpointed" if self.checkpoint else "unrolled"
