"""Random feature approximation for distillation, RFAD (Loo et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.images import ImageData
from ..data.whitening import LARGEST
from ..errors import InputError
from ..nets.layers import BIAS, GAIN
from ..nets.networks import initialise, kernel_network
from ..nets.recipe import LOSSES, centred
from ..synthetic.set import SyntheticSet
from .method import Kept
from .regression import OnFeatures, embedded
from .run import Run


@dataclass(frozen=True)
class RFAD(OnFeatures):
    """Learn images from which kernel ridge regression predicts real labels, the kernel being that of an infinitely wide
    network, estimated by the features of a few networks that are drawn anew at each step.

    Published with the network `kernel-convnet:depth=3,width=256`, and evaluated on it with width=1024.

    iterations : steps; the reference ends 1000 steps after the last gain on a validation set, which ours has not.
    image_lr, image_momentum : AdaBelief on the images, and on labels.
    batch : real images a step, of all classes together, without repetition.
    zca   : 'auto' whitens as the reference does, but not grey images nor those too large.
    networks : whose features are taken side by side. ridge : in units of the kernel's mean diagonal element.
    platt : the loss is the cross-entropy of what is predicted times exp(k), k learned; else half
            the mean squared error.
    temperature_lr : AdaBelief on k.
    learn_labels : whether labels move from where they start, centred one-hot vectors.
    transform : whether images are stored ones times a learned square matrix over all their values, a preconditioner:
            'on', 'off' or 'auto', which is on up to 3x64x64 values. transform_lr : AdaBelief on it.
    Labels are float32 [classes x ipc, classes]. `meta["temperature"]` is exp(k).
    Raises InputError for a value that is not allowed, for fewer than two classes, and for images too alike to be told
    apart (see `regressed`).
    Source: Loo, Hasani, Amini & Rus, Efficient Dataset Distillation using Random Feature Approximation, NeurIPS 2022.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("rfad", iterations=2, batch=64, networks=2)
    >>> made = distill(method, train, ipc=1, network="kernel-convnet:depth=1,width=4")
    >>> made.images.shape, made.labels.shape, made.hard_labels.tolist()
    (torch.Size([10, 1, 8, 8]), torch.Size([10, 10]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    name: ClassVar[str] = "rfad"
    summary: ClassVar[str] = (
        "kernel ridge regression on features of fresh networks; published with kernel-convnet:depth=3,width=256"
    )
    learns: ClassVar[str] = "images, a transform of them, temperature"
    default_init: ClassVar[str] = "real"
    judged_like: ClassVar[str] = "rfad"
    small: ClassVar[Mapping[str, Any]] = {"iterations": 200, "image_lr": 1e-2, "batch": 256, "networks": 4}

    iterations: int = 10_000
    image_lr: float = 1e-3
    image_momentum: float = 0.9
    batch: int = 5120
    zca: str = "auto"
    networks: int = 8
    ridge: float = 5e-3
    platt: bool = True
    temperature_lr: float = 1e-2
    learn_labels: bool = False
    transform: str = "auto"
    transform_lr: float = 5e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transform not in ("auto", "on", "off"):
            raise InputError(f"rfad: transform = {self.transform!r}: must be one of auto, on, off")
        if self.networks < 1:
            raise InputError(f"rfad: networks = {self.networks}: must be at least 1")

    def network(self, data: ImageData) -> str:
        return kernel_network(data.shape)

    def resolved(self, data: ImageData, ipc: int) -> RFAD:  # noqa: ARG002
        size = math.prod(data.shape)
        if self.transform == "on" and size > LARGEST:
            raise InputError(
                f"rfad: transform = 'on': images of {list(data.shape)} need a matrix of {size} x {size}; it goes up to "
                f"{LARGEST} values an image (3x64x64)"
            )
        return replace(
            self,
            transform=("on" if size <= LARGEST else "off") if self.transform == "auto" else self.transform,
            zca=self.whitening(data),
        )

    def prepare(self, run: Run) -> State:
        from timm.optim.adabelief import AdaBelief  # slow to import

        place, size = run.images.device, math.prod(run.data.shape) if self.transform == "on" else 0
        run.labels = centred(run.labels, run.data.num_classes)
        matrix = torch.eye(size, device=place).requires_grad_()
        temperature = torch.zeros((), dtype=torch.float64, device=place).requires_grad_()
        nets = nn.ModuleList([deepcopy(run.net) for _ in range(self.networks)])
        state = State(nets, matrix, temperature)
        state.fresh(run)
        groups: list[dict[str, Any]] = [{"params": [run.images]}]
        if self.learn_labels:
            groups[0]["params"].append(run.labels.requires_grad_())
        if size:
            groups.append({"params": [matrix], "lr": self.transform_lr})
        if self.platt:
            groups.append({"params": [temperature], "lr": self.temperature_lr})
        # as the reference has it: neither rectified nor decoupled
        run.optimizer = AdaBelief(groups, self.image_lr, (self.image_momentum, 0.999), eps=1e-16, rectify=False)
        return state

    def step(self, run: Run) -> Tensor:
        state: State = run.state
        state.fresh(run)
        picks = self.chosen(run, lambda: self.drawn(run))
        loss = self.loss(run, picks)
        loss.backward(inputs=[leaf for group in run.optimizer.param_groups for leaf in group["params"]])
        run.descend()
        return loss.detach()

    def drawn(self, run: Run) -> Tensor:
        return torch.randperm(len(run.data), generator=run.rng, device=run.rng.device)[: self.batch]

    @staticmethod
    def features(found: Tensor) -> Tensor:
        """[N, E], of all networks side by side, scaled and with a constant; the inner product is then that of a linear
        layer of endless width on each, K = GAIN <F, F'> / E + BIAS^2."""
        return F.pad(found * math.sqrt(GAIN / found.shape[1]), (0, 1), value=BIAS)

    def support(self, run: Run) -> tuple[Tensor, Tensor]:
        shown = self.shown(run)
        return self.features(torch.cat([embedded(net, shown) for net in run.state.nets], 1)), run.labels

    def targets(self, run: Run, picks: Tensor) -> Tensor:
        return self.features(self.real(run, picks, list(run.state.nets)))

    def losses(self, run: Run, predicted: Tensor, picks: Tensor) -> Tensor:
        wanted = run.data.labels[picks]
        if self.platt:
            return LOSSES["cross_entropy"](run.state.temperature.exp() * predicted, wanted)
        return LOSSES["mean_mse"](predicted, wanted) / 2

    def shown(self, run: Run) -> Tensor:
        """The images that the stored ones stand for."""
        matrix = run.state.matrix
        return (run.images.flatten(1) @ matrix).view_as(run.images) if len(matrix) else run.images

    def learned(self, run: Run) -> dict[str, Any]:
        return {"temperature": float(run.state.temperature.detach().exp())} if self.platt else {}

    def result(self, run: Run, meta: dict[str, Any]) -> SyntheticSet:
        return replace(super().result(run, meta), images=self.shown(run).detach())


@dataclass
class State(Kept):
    """What RFAD keeps beside images and labels."""

    nets: nn.ModuleList
    matrix: Tensor
    temperature: Tensor

    def fresh(self, run: Run) -> None:
        for net in self.nets:
            initialise(net, run.rng)
