"""Trajectory matching in constant memory, TESLA (Cui et al., ICML 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..errors import InputError
from ..synthetic.set import SyntheticSet
from .mtt_settings import MTT, Setting, Tables
from .run import Run
from .teachers import answers, mean_answers
from .trajectory import Trajectory
from .unrolling import Parameters


@dataclass(frozen=True)
class Own(Setting):
    """With labels that a teacher gives, or without."""

    teacher: str = "off"


# What the authors publish. Their code gives images half of their gradient, so that their image_lr counts half.
PUBLISHED = {
    "cifar10": {1: Own("absolute", 50, 2, 5, 500, 1e-7, 1e-2)},
    "cifar100": {50: Own("absolute", 80, 2, 40, 500, 1e-5, 1e-2, 125)},
    "imagenet": {1: Own("none", 10, 3, 10, 5000, 1e-4, 1e-2, 100, experts=50, teacher="on")},
}


def _beside(kind: str, ipc: int) -> Own:
    """A setting of MTT, in the place of one that is not published."""
    return Own(**vars(MTT[kind][ipc]), teacher="on" if kind in ("imagenet", "kinetics") else "off")


@dataclass(frozen=True)
class TESLA(Trajectory):
    """MTT with the gradient to first order, and labels that a teacher gives.

    The student's end is its start less the step size times the sum of its slopes; TESLA differentiates each slope for
    itself, as if the parameters where it was taken did not depend on the images. That needs the memory of one step. So
    does the `exact` gradient here, step by step backwards, for about the same time. Both agree for one step; for more,
    they differ by the order of the step size (see `bilp_core.distillers.unrolling`). TESLA's paper calls its own exact.

    steps : SGD steps of the student. starts : the epoch it starts from is below. batch_synthetic : images of a step.
    step_lr : SGD on the step size, which starts at `start_lr` and is learned with the images.
    exact : differentiate through the student's training, as MTT does.
    teacher : 'on' gives students the labels that the expert has for the images where the student should end; the set
              gets those of all experts' last epochs, the softmax of their mean. 'auto' is 'on' from 400 classes on.
    experts, epochs, expert_* : as for MTT, whose experts serve both.
    0 and 'auto' stand for the authors' choice, MTT's where they publish none. Their image_lr is halved: their code
    gives images half of the gradient.
    Adaptive pruning is refused: the loss is no sum over real samples. Raises as MTT does.
    Source: Cui et al., Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("tesla", iterations=2, steps=3, span=1, starts=1, experts=2, epochs=1, teacher="on")
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", home="experts")
    >>> made.images.shape, made.labels.shape, made.meta["teachers"]
    (torch.Size([10, 1, 8, 8]), torch.Size([10, 10]), 2)
    """

    name: ClassVar[str] = "tesla"
    summary: ClassVar[str] = "trajectory matching by the first-order gradient, in the memory of one step"
    learns: ClassVar[str] = "images, step size; labels by teachers"
    tables: ClassVar[Tables] = {
        kind: {**{ipc: _beside(kind, ipc) for ipc in table}, **PUBLISHED.get(kind, {})} for kind, table in MTT.items()
    }
    auto: ClassVar[tuple[str, ...]] = (*Trajectory.auto, "teacher")
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 150, "experts": 4, "epochs": 8, "expert_batch": 16, "expert_lr": 0.02, "image_lr": 30.0,
        "step_lr": 1e-6,
    }  # fmt: skip

    exact: bool = False
    teacher: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher not in ("auto", "on", "off"):
            raise InputError(f"tesla: teacher = {self.teacher!r}: must be one of auto, on, off")

    def way(self) -> str:
        return "checkpointed" if self.exact else "first-order"

    def labels(self, run: Run, target: Parameters) -> Tensor:
        return answers(run.net, target, run.images).softmax(1) if self.teacher == "on" else run.labels

    def result(self, run: Run, meta: dict[str, Any]) -> SyntheticSet:
        made = super().result(run, meta)
        if self.teacher != "on":
            return made
        labels = mean_answers(run.net, run.stage, made.images).softmax(1)
        return replace(made, labels=labels, meta={**made.meta, "teachers": len(run.stage)})
