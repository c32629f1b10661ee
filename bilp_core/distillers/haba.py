"""Bases, and small networks that turn each into several images, HaBa (Liu et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets.networks import initialise
from ..synthetic.decoders import Hallucinators
from ..synthetic.initial import initial
from ..synthetic.set import SyntheticSet
from .mtt_settings import MTT, Setting, Tables
from .run import Run
from .trajectory import Learning, Trajectory
from .unrolling import Student

PARTS = ("encoder", "encoder_bias", "scale", "shift", "decoder", "decoder_bias")  # of hallucinators


@dataclass(frozen=True)
class Own(Setting):
    """With the rate of hallucinators."""

    style_lr: float = 100.0


PUBLISHED = {  # by the scripts of the authors' code
    "cifar10": {
        1: Own("absolute", 50, 2, 2, 100, 1e-7, 1e-2),
        10: Own("absolute", 30, 2, 20, 100, 1e-5, 1e-3),
        50: Own("absolute", 30, 2, 20, 100, 1e-5, 1e-2),
    }
}


def _beside(kind: str, ipc: int) -> Own:
    """A setting of MTT, in the place of one that is not published, with rates of bases and hallucinators for it."""
    rates = {"image_lr": 3.0, "style_lr": 0.1} if kind in ("digits", "own") else {"image_lr": 100.0}
    return Own(**{**vars(MTT[kind][ipc]), **rates})


@dataclass
class State(Learning):
    """The hallucinators, and the network that tells what two of them make of a base apart."""

    encoder: Tensor
    encoder_bias: Tensor
    scale: Tensor
    shift: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    critic: nn.Module
    critic_optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class HaBa(Trajectory):
    """MTT on images that a few small networks, the hallucinators, make of bases: each of every base.

    The set holds `ipc` bases a class and the hallucinators, so it is larger than `ipc` images a class: 1.9 of CIFAR-10
    at IPC 1. The set's `budget` says it, and random real images to compare with are as many.
    steps, span, starts, batch_synthetic, step_lr, start_lr, experts, epochs, expert_* : as for MTT; in a step one
             hallucinator, drawn anew, makes all images. floor : of the step size.
    hallucinators : how many. single_channel : bases are grey, and as many times more as images have channels.
    image_lr, style_lr, image_momentum : SGD on bases, and on hallucinators. step_momentum : on the step size.
    apart : weight of how alike a critic's features are of what two hallucinators make of a base.
    together, classify, contrast : weights of the critic's own loss: how far those features differ, cross-entropy, and
             the supervised contrastive loss. critic_lr : its SGD, with momentum 0.9.
    0 and 'auto' stand for the authors' choice, MTT's where they have none, but for image_lr.
    The gradient is exact, in the memory of one step. Adaptive pruning is refused: the loss is no sum over real samples.
    Raises as MTT does, and InputError for fewer than two hallucinators and for images under 3x3 pixels.
    Source: Liu et al., Dataset Distillation via Factorization, NeurIPS 2022.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("haba", iterations=2, steps=3, span=1, starts=1, experts=2, epochs=1, hallucinators=3)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4", home="experts")
    >>> made.images.shape, made.decoder.bases.shape, round(made.budget, 2)
    (torch.Size([30, 1, 8, 8]), torch.Size([10, 1, 8, 8]), 1.43)
    """

    name: ClassVar[str] = "haba"
    summary: ClassVar[str] = "trajectory matching on bases and small networks that turn them into images"
    learns: ClassVar[str] = "bases, networks that render them, step size"
    judged_like: ClassVar[str] = "haba"
    tables: ClassVar[Tables] = {
        kind: {**{ipc: _beside(kind, ipc) for ipc in table}, **PUBLISHED.get(kind, {})} for kind, table in MTT.items()
    }
    auto: ClassVar[tuple[str, ...]] = (*Trajectory.auto, "style_lr")
    small: ClassVar[Mapping[str, Any]] = {
        "iterations": 150, "experts": 4, "epochs": 8, "expert_batch": 16, "expert_lr": 0.02, "step_lr": 1e-6,
    }  # fmt: skip

    image_momentum: float = 0.95
    step_momentum: float = 0.9
    floor: float = 0.001
    hallucinators: int = 5
    single_channel: bool = False
    style_lr: float = 0.0
    apart: float = 0.1
    together: float = 0.1
    classify: float = 1.0
    contrast: float = 0.1
    critic_lr: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hallucinators < 2:
            raise InputError(f"haba: hallucinators = {self.hallucinators}: must be at least 2, to be told apart")

    def way(self) -> str:
        return "checkpointed"

    def bases(self, data: ImageData, ipc: int) -> int:
        """Bases a class."""
        return ipc * data.shape[0] if self.single_channel else ipc

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        made = initial(data, self.bases(data, ipc), init, rng, network=network)
        bases = made.images.mean(1, keepdim=True) if self.single_channel else made.images
        decoder = Hallucinators.random(bases, self.hallucinators, data.shape[0], rng)
        return replace(made, images=decoder.decoded(), labels=made.labels.repeat(self.hallucinators), decoder=decoder)

    def prepare(self, run: Run) -> State:
        start: Any = run.start.decoder
        run.images = start.bases.clone().requires_grad_()
        parts = {name: getattr(start, name).clone().requires_grad_() for name in PARTS}
        groups: list[dict[str, Any]] = [{"params": [run.images]}, {"params": list(parts.values()), "lr": self.style_lr}]
        run.optimizer = torch.optim.SGD(groups, lr=self.image_lr, momentum=self.image_momentum)
        critic = deepcopy(run.net)
        initialise(critic, run.rng)
        own = torch.optim.SGD(critic.parameters(), lr=self.critic_lr, momentum=0.9)
        learning = super().prepare(run)
        learning.lr, learning.optimizer = self.step_size(run, self.step_momentum)
        return State(**vars(learning), **parts, critic=critic, critic_optimizer=own)

    def decoder(self, run: Run) -> Hallucinators:
        return Hallucinators(run.images, **{name: getattr(run.state, name) for name in PARTS})

    def student(self, run: Run, labels: Tensor) -> Student:
        """Of every step one hallucinator makes the images."""
        count, decoder, plain = len(run.images), self.decoder(run), super().student(run, labels)
        drawn = torch.randint(self.hallucinators, (len(plain.plan),), generator=run.host).tolist()
        steps = [replace(s, picks=s.picks + j * count) for s, j in zip(plain.plan, drawn, strict=True)]

        def images(picks: Tensor) -> Tensor:
            return decoder.rendered(run.images[picks % count], int(picks[0]) // count)

        return replace(plain, images=images, plan=steps)

    def step(self, run: Run) -> Tensor:
        state: State = run.state
        start, target = self.stretch(run)
        wanted = [run.images, *(getattr(state, name) for name in PARTS)]
        loss, (*found, by_lr) = self.follow(self.student(run, run.labels), start, target, [*wanted, state.lr])
        one, other, _ = self.pair(run)
        alike = (F.cosine_similarity(one, other).mean() + 1) / 2
        pulled = torch.autograd.grad(self.apart * alike, wanted, materialize_grads=True)
        for leaf, a, b in zip(wanted, found, pulled, strict=True):
            leaf.grad = a + b
        state.lr.grad = by_lr
        run.descend()
        state.optimizer.step()
        with torch.no_grad():
            state.lr.clamp_(min=self.floor)
        state.critic_optimizer.zero_grad()
        self.critic_loss(run).backward(inputs=list(state.critic.parameters()))
        state.critic_optimizer.step()
        return loss

    def pair(self, run: Run) -> tuple[Tensor, Tensor, Tensor]:
        """The critic's features of a batch of bases as two hallucinators show them, [B, E] each; labels [B]."""
        count, decoder = len(run.images), self.decoder(run)
        picks = torch.randperm(count, generator=run.host)[: self.batch_synthetic or count].to(run.images.device)
        first, second = torch.randperm(self.hallucinators, generator=run.host)[:2].tolist()
        shown = torch.cat([decoder.rendered(run.images[picks], j) for j in (first, second)])
        one, other = run.state.critic.embed(run.augmented(shown)).flatten(1).chunk(2)
        return one, other, run.labels[picks]

    def critic_loss(self, run: Run) -> Tensor:
        one, other, labels = self.pair(run)
        both, twice = torch.cat([one, other]), labels.repeat(2)
        apart = (1 - F.cosine_similarity(one, other).mean()) / 2
        named = F.cross_entropy(run.state.critic.classifier(both), twice)
        return self.classify * named + self.together * apart + self.contrast * contrastive(both, twice)


def contrastive(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """The supervised contrastive loss: the mean over samples of minus the mean, over others of the same class, of the
    log share that the other has in exp(cosine / temperature) of all others.

    features : [N, E]. labels : int64 [N], each at least twice.
    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020.

    >>> import torch
    >>> from bilp_core.distillers.haba import contrastive
    >>> alike = torch.ones(4, 3)  # the share is 1/3
    >>> round(float(contrastive(alike, torch.tensor([0, 0, 1, 1])).exp()), 3)
    3.0
    """
    z = F.normalize(features, dim=1)
    alone = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(alone, float("-inf"))
    same = (labels[:, None] == labels) & ~alone
    shares = logits.log_softmax(1).masked_fill(~same, 0.0)
    return -(shares.sum(1) / same.sum(1)).mean()
