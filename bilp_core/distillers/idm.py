"""Improved distribution matching, IDM (Zhao et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets.networks import initialise
from ..synthetic.formation import Formation, mixed
from ..synthetic.initial import initial
from ..synthetic.set import SyntheticSet
from .dm import DM
from .mtt_settings import Tables, setting
from .run import Run

YOUNG = 3  # networks that the queue starts with


@dataclass(frozen=True)
class Setting:
    """What the authors' commands choose for a data set and an IPC. recount: never is all rounds."""

    ce_weight: float
    batch: int = 256
    every: int = 30
    pool: int = 100
    network_steps: int = 10
    recount: int = 100


CIFAR = Setting(0.5, batch=5000, every=5)
SUBSET = Setting(3.0, batch=128, every=50, pool=50, recount=20_000)
SMALL_DATA = {1: Setting(0.1, batch=64, every=5), 10: Setting(0.02, batch=64, every=5)}  # ours
SETTINGS: Tables = {
    "digits": SMALL_DATA,
    "own": SMALL_DATA,
    "cifar10": {1: CIFAR, 10: Setting(0.5), 50: Setting(0.1, recount=500)},
    "cifar100": {1: CIFAR, 10: Setting(0.1, network_steps=50), 50: Setting(0.1, recount=500)},
    "tiny": {1: Setting(0.5), 10: Setting(0.5, recount=500), 50: Setting(0.8, network_steps=50, recount=1000)},
    "subsets": {10: SUBSET, 50: replace(SUBSET, pool=100)},  # there a hundred classes of ImageNet, 224x224
}


@dataclass(frozen=True)
class IDM(DM):
    """Match mean features under networks of a queue, which are trained on real data, let these networks classify the
    synthetic images, and store several training images in each.

    factor : of the partition, see `Formation`.
    every, pool : after so many rounds a new network enters the queue; at so many the oldest leaves.
    trained, network_steps : after a round so many of the networks take so many steps on real data.
    network_* : SGD of these, without augmentation.
    ce_weight : of the cross-entropy of the synthetic images, which the network's accuracy in training weighs too, in
                per cent: that of its steps since accuracies were counted anew, 0 before any.
    recount : rounds after which they are.
    0 stands for the reference's choice for the data set and the IPC (see `SETTINGS`; `resolved` fills them in).
    Raises InputError for a value out of range.
    Source: Zhao et al., Improved Distribution Matching for Dataset Condensation, CVPR 2023, and their code.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("idm", iterations=2, network_steps=2), train, ipc=1, network="convnet:depth=1,width=4")
    >>> images, _ = made.materialise()  # factor 2: four images from each
    >>> made.images.shape, images.shape
    (torch.Size([10, 1, 8, 8]), torch.Size([40, 1, 8, 8]))
    """

    name: ClassVar[str] = "idm"
    parts: ClassVar[str] = "task"
    summary: ClassVar[str] = "distribution matching and cross-entropy, under a queue of networks trained on real data"
    learns: ClassVar[str] = "images, four on the area of one"
    default_init: ClassVar[str] = "mix"
    inits: ClassVar[tuple[str, ...]] = ("mix", "real", "noise")
    freezes_batchnorm: ClassVar[bool] = True
    effects: ClassVar[tuple[str, str]] = ("sketch", "sketch:top=4")
    small: ClassVar[Mapping[str, Any]] = {"iterations": 300, "network_steps": 5, "network_batch": 64}
    tiny: ClassVar[Mapping[str, Any]] = {"factor": 1}  # a quarter of so few pixels shows little

    image_lr: float = 0.2
    batch: int = 0
    factor: int = 2
    every: int = 0
    pool: int = 0
    trained: int = 2
    network_steps: int = 0
    network_lr: float = 0.01
    network_momentum: float = 0.9
    network_decay: float = 5e-4
    network_batch: int = 256
    ce_weight: float = 0.0
    recount: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.formation()
        for name in ("network_batch", "trained"):
            if getattr(self, name) < 1:
                raise InputError(f"idm: {name} = {getattr(self, name)}: must be at least 1")

    def formation(self) -> Formation:
        return Formation(self.factor)

    def resolved(self, data: ImageData, ipc: int) -> IDM:
        own = setting(SETTINGS, data, ipc)
        return replace(self, **{f.name: getattr(self, f.name) or getattr(own, f.name) for f in fields(own)})

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        """'mix' shrinks random samples and puts factor^2 of them together in one; each part is drawn on its own."""
        if init != "mix":
            return initial(data, ipc, init, rng, network=network)
        parts = [initial(data, ipc, "real", rng) for _ in range(self.factor**2)]
        return replace(parts[0], images=mixed(torch.cat([part.images for part in parts]), self.factor, "bilinear"))

    def decoded(self, run: Run, stored: Tensor) -> Tensor:
        return self.formation().decoded(stored, run.grey)[0]

    # The cross-entropy is a second part of the statistic, in which real samples have no say.

    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        if real:
            return [*super().statistic(run, images, label, real=True), images.new_zeros(1)]
        features = run.net.embed(images)
        wrong = F.cross_entropy(run.net.classifier(features), run.classes[label].expand(len(images)))
        weight = self.ce_weight * 100 * (run.state.accuracy if run.state else 0.0)
        return [features.mean(0), weight * wrong.view(1)]

    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:
        return [*super().each(run, images, label), images.new_zeros(len(images), 1)]

    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        return super().distance(synthetic, real) + synthetic[1].sum()

    def prepare(self, run: Run) -> Queue:
        return Queue(run.net, run.data, run.rng, self)

    def step(self, run: Run) -> Tensor:
        queue: Queue = run.state
        queue.advance()
        run.net.load_state_dict(queue.pick(run.host).net.state_dict())
        run.net.eval()
        seen = torch.zeros((), device=run.images.device)
        for label in range(run.data.num_classes):
            loss = self.class_loss(run, label)
            loss.backward(inputs=[run.images])
            run.descend()  # class by class; the momentum of the others moves on
            seen += loss.detach()
        queue.train(run.host)
        return seen / run.data.num_classes


class Member:
    """A network of the queue, how it is trained, and how often it was right in that."""

    def __init__(self, net: nn.Module, method: IDM) -> None:
        self.net = net
        self.optimizer = torch.optim.SGD(
            net.parameters(), method.network_lr, method.network_momentum, weight_decay=method.network_decay
        )
        self.right = self.seen = 0

    def update(self, images: Tensor, labels: Tensor) -> None:
        self.net.train()
        self.optimizer.zero_grad()
        logits = self.net(images)
        F.cross_entropy(logits, labels).backward()
        self.optimizer.step()
        self.right += int((logits.argmax(1) == labels).sum())
        self.seen += len(labels)

    def state_dict(self) -> dict[str, Any]:
        counts = [self.right, self.seen]
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "counts": counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.right, self.seen = state["counts"]


class Queue:
    """Networks of different ages, the oldest first. accuracy : of the one that was picked, a fraction."""

    def __init__(self, net: nn.Module, data: ImageData, rng: Generator, method: IDM) -> None:
        self.template, self.data, self.rng, self.method = net, data, rng, method
        self.members = [self.fresh() for _ in range(YOUNG)]
        self.rounds, self.accuracy = 0, 0.0

    def fresh(self) -> Member:
        net = deepcopy(self.template)
        initialise(net, self.rng)
        if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
            settle(net, self.data.batch(self.batch()))
        return Member(net, self.method)

    def batch(self) -> Tensor:
        """Indices of real images."""
        order = torch.randperm(len(self.data), generator=self.rng, device=self.rng.device)
        return order[: self.method.network_batch]

    def advance(self) -> None:
        """Before a round: accuracies are counted anew, and a network enters, where it is time."""
        if self.rounds and self.rounds % self.method.recount == 0:
            for member in self.members:
                member.right = member.seen = 0
        if self.rounds % self.method.every == 0:
            self.members = [*self.members[-(self.method.pool - 1) :], self.fresh()]
        self.rounds += 1

    def pick(self, host: Generator) -> Member:
        member = self.members[int(torch.randint(len(self.members), (), generator=host))]
        self.accuracy = member.right / max(member.seen, 1)
        return member

    def train(self, host: Generator) -> None:
        for k in torch.randperm(len(self.members), generator=host)[: self.method.trained].tolist():
            for _ in range(self.method.network_steps):
                picks = self.batch()
                self.members[k].update(self.data.batch(picks), self.data.labels[picks])

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self.members], "rounds": self.rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.members = [Member(deepcopy(self.template), self.method) for _ in state["members"]]
        for member, kept in zip(self.members, state["members"], strict=True):
            member.load_state_dict(kept)
        self.rounds = state["rounds"]


@torch.no_grad()
def settle(net: nn.Module, images: Tensor) -> None:
    """Make the running statistics of BatchNorm those of the images: before any training they are of nothing."""
    norms = {m: m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in norms:
        norm.momentum = None  # of all batches since the network was fresh, alike
    net.train()(images)
    for norm, momentum in norms.items():
        norm.momentum = momentum
