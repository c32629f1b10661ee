"""Lossless dataset distillation by difficulty-aligned trajectory matching, DATM (Guo et al., ICLR 2024)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from ..data.images import ImageData
from ..errors import InputError
from ..synthetic.initial import INITS, initial
from ..synthetic.set import SyntheticSet
from .datm_settings import DATM as TABLES
from .experts import Training
from .mtt_settings import Tables
from .run import Run
from .teachers import mean_answers, recognised
from .trajectory import Learning, Trajectory


@dataclass
class State(Learning):
    """The labels' optimiser, how many rounds there were, and of how many real images an expert got how many wrong."""

    labels: torch.optim.Optimizer
    rounds: int = 0
    skipped: int = 0
    asked: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class DATM(Trajectory):
    """MTT that matches the part of the experts' way which suits the IPC: early for few images, late for many. Labels
    are learned as logits.

    Published with 100 experts of 100 epochs, 13 GB on disk for CIFAR-10, where a round at IPC 1000
    holds about 3 GB.
    steps : SGD steps of the student. batch_synthetic : images of a step.
    starts_from, starts_early, starts, growth : a student starts in one of the epochs from `starts_from` up to a last
             one, counted from 1, which is the random start; the last one grows from `starts_early` to `starts` in
             `growth` rounds.
    threshold : a round whose loss is above it changes nothing.
    step_lr : SGD on the step size, which starts at `start_lr` and is learned with the images.
    label_lr, label_momentum : SGD on the label logits, which start as the mean over those experts, at their last epoch,
             that classify the image rightly. learn_labels : whether they move.
    exact : differentiate through the student's training, step by step backwards, as DATM does; else to first order, as
             TESLA and BiLP's runs of DATM do. Either holds the memory of one step.
    expert_sharpness : rho of the experts' sharpness-aware steps (FTD's), 0 for plain SGD in half of the time.
    init : 'expert' takes random real images that the first expert classifies rightly at its last epoch; where a class
             has too few, those of least loss besides, with a warning. CIFAR-100 at IPC 50 is published with 'real'.
    0 and 'auto' stand for the authors' choice for the data set and the IPC, see `datm_settings`.
    The set keeps the softmax of its logits. Adaptive pruning is refused: the loss is no sum over real samples.
    Raises as MTT does, and InputError for bounds that leave no start.
    Source: Guo et al., Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("datm", iterations=2, steps=3, span=1, starts=1, starts_early=1, experts=1, epochs=1)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", init="real", home="experts")
    >>> made.images.shape, made.labels.shape, bool((made.labels.sum(1) - 1).abs().max() < 1e-6)
    (torch.Size([10, 1, 8, 8]), torch.Size([10, 10]), True)
    """

    name: ClassVar[str] = "datm"
    summary: ClassVar[str] = "trajectory matching, early or late as the IPC asks for, with learned soft labels"
    learns: ClassVar[str] = "images, labels, step size"
    judged_like: ClassVar[str] = "datm"
    default_init: ClassVar[str] = "expert"
    inits: ClassVar[tuple[str, ...]] = (*INITS, "expert")
    tables: ClassVar[Tables] = TABLES
    auto: ClassVar[tuple[str, ...]] = (
        *Trajectory.auto, "label_lr", "threshold", "starts_from", "starts_early", "growth",
    )  # fmt: skip
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 150, "experts": 4, "epochs": 8, "expert_batch": 16, "expert_lr": 0.02, "image_lr": 30.0,
        "step_lr": 1e-6,
    }  # fmt: skip

    epochs: int = 100
    expert_sharpness: float = 0.01
    starts_from: int = 0
    starts_early: int = 0
    growth: int = 0
    threshold: float = 0.0
    learn_labels: bool = True
    label_lr: float = 0.0
    label_momentum: float = 0.9
    exact: bool = True

    def resolved(self, data: ImageData, ipc: int) -> DATM:
        made = super().resolved(data, ipc)
        if not made.starts_from <= made.starts_early <= made.starts:
            raise InputError(
                f"datm: starts_from = {made.starts_from}, starts_early = {made.starts_early} and starts = "
                f"{made.starts} must rise, for there to be an epoch to start from"
            )
        return made

    def way(self) -> str:
        return "checkpointed" if self.exact else "first-order"

    def training(self, data: ImageData) -> Training:
        return replace(super().training(data), sharpness=self.expert_sharpness)

    def bounds(self, run: Run) -> tuple[int, int]:
        grown = (self.starts - self.starts_early) * run.state.rounds // self.growth
        return self.starts_from - 1, min(self.starts_early + grown, self.starts)

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        made = initial(data, ipc, "real" if init == "expert" else init, rng, network=network)
        return replace(made, meta={"init": init})

    def prepare(self, run: Run) -> State:
        asked = wrong = 0
        if run.start.meta.get("init") == "expert":
            expert = run.stage.parameters(0, run.stage.epochs, run.images.device)
            picks, asked, wrong = recognised(run.net, expert, run.data, run.ipc, run.rng)
            run.images = run.data.batch(picks).requires_grad_()
            run.optimizer = torch.optim.SGD([run.images], lr=self.image_lr, momentum=self.image_momentum)
        run.labels = mean_answers(run.net, run.stage, run.images, run.labels).requires_grad_()
        learning = super().prepare(run)
        labels = torch.optim.SGD([run.labels], lr=self.label_lr * self.learn_labels, momentum=self.label_momentum)
        return State(**vars(learning), labels=labels, asked=asked, wrong=wrong)

    def step(self, run: Run) -> Tensor:
        state: State = run.state
        start, target = self.stretch(run)
        shares = run.labels.softmax(1)
        labels = shares.detach().requires_grad_()
        wanted = (run.images, state.lr, labels)
        loss, (by_images, by_lr, by_labels) = self.follow(self.student(run, labels), start, target, wanted)
        state.rounds += 1
        if loss > self.threshold:
            state.skipped += 1
            return loss
        run.images.grad, state.lr.grad = by_images, by_lr
        (run.labels.grad,) = torch.autograd.grad(shares, run.labels, by_labels)
        run.descend()
        self.move_step_size(run)
        state.labels.step()
        return loss

    def learned(self, run: Run) -> dict[str, Any]:
        state: State = run.state
        if state.skipped > state.rounds / 2:
            warnings.warn(
                f"datm: in {state.skipped} of {state.rounds} rounds the loss was above threshold = {self.threshold}, "
                "so that they changed nothing: a lower label_lr or image_lr, or a higher threshold, may help",
                stacklevel=2,
            )
        return {**super().learned(run), "asked_expert": [state.asked, state.wrong]}

    def result(self, run: Run, meta: dict[str, Any]) -> SyntheticSet:
        made = super().result(run, meta)
        return replace(made, labels=made.labels.softmax(1))
