"""Efficient dataset condensation, IDC (Kim et al., ICML 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets import augment
from ..nets.mixing import cutmix
from ..synthetic.formation import Formation, mixed
from ..synthetic.initial import initial
from ..synthetic.set import SyntheticSet, middle_grey
from .gradients import GradientMatching, mean_loss
from .method import SMALL
from .run import Run


@dataclass(frozen=True)
class Setting:
    """What the reference's `reproduce` configuration chooses for a data set (digits: what we found to work).

    image_lr is for IPC 10 at `side` pixels; it is taken in proportion to the IPC and to the number of pixels.
    """

    metric: str
    image_lr: float
    side: int
    network_images: int
    pretrain: int = 0
    cutmix: float = 0.5


NATURAL = Setting("mse", 5e-3, 32, 2000)
GREY = Setting("l1", 1e-4, 28, 500)
LARGE = Setting("l1", 3e-3, 224, 500, pretrain=10, cutmix=1.0)
SETTINGS = {
    "cifar10": NATURAL,
    "cifar100": NATURAL,
    "svhn": replace(NATURAL, network_images=500),
    "mnist": GREY,
    "fashion_mnist": GREY,
    # not of the reference: on 8x8 pixels its rule for the learning rate leaves the images where they were
    "digits": Setting("mse", 0.1, 8, 200),
}

OWN_LR = 0.2  # of small folders, whatever their pixels: the reference's are for runs of a hundred times as many steps


def setting(data: ImageData) -> Setting:
    """The data set's own; of a small folder, ours; else that of ImageNet-10 from 128x128 pixels on, of CIFAR for
    colour, of MNIST for grey.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.idc import setting
    >>> setting(load("digits").train)
    Setting(metric='mse', image_lr=0.1, side=8, network_images=200, pretrain=0, cutmix=0.5)
    """
    if data.named in SETTINGS:
        return SETTINGS[data.named]
    if not data.named and len(data) * data.positions <= SMALL:
        return replace(SETTINGS["digits"], image_lr=OWN_LR, side=data.shape[1])
    if min(data.shape[1:]) >= 128:
        return LARGE
    return NATURAL if data.shape[0] > 1 else GREY


@dataclass(frozen=True)
class IDC(GradientMatching):
    """Match the gradients on convolution kernels, with networks trained on real data, and store several training
    images in each synthetic one.

    factor, decode : multi-formation, see `Formation`; factor 1 is called IDC-I.
    inner : rounds with each network; after each the network trains on `network_images` real images.
    metric : 'mse' (sum of squares) or 'l1' (sum of absolute differences) of gradients.
    batch_synthetic : decoded images of a class that are matched at a step, drawn at random if there are more.
    network_* : SGD of the network. pretrain : epochs on the real data before the first round.
    augment : of matching. cutmix : probability that a batch is mixed in training the network.
    0 and 'auto' stand for the reference's choice for the data set (see `setting`; `resolved` fills them in).
    image_lr is of pixels in [0, 1], as published.
    Raises InputError for a value that is not allowed, for ZCA, and for a network without convolutions.
    Source: Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("idc", iterations=2, inner=2, network_images=64)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4")
    >>> images, labels = made.materialise()  # factor 2: four images from each
    >>> made.images.shape, images.shape, labels.bincount().tolist()
    (torch.Size([10, 1, 8, 8]), torch.Size([40, 1, 8, 8]), [4, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    """

    name: ClassVar[str] = "idc"
    parts: ClassVar[str] = "task"
    summary: ClassVar[str] = "gradient matching with multi-formation, under networks trained on real data"
    learns: ClassVar[str] = "images, four on the area of one"
    default_init: ClassVar[str] = "mix"
    inits: ClassVar[tuple[str, ...]] = ("mix", "random", "noise")
    turns: ClassVar[str] = "inner"
    effects: ClassVar[tuple[str, str]] = ("sketch", "sketch:top=4")
    small: ClassVar[Mapping[str, Any]] = {"iterations": 4, "inner": 25}
    tiny: ClassVar[Mapping[str, Any]] = {"factor": 1}  # a quarter of so few pixels shows nothing

    iterations: int = 2000
    image_lr: float = 0.0
    batch: int = 64
    factor: int = 2
    decode: str = "single"
    inner: int = 100
    metric: str = "auto"
    batch_synthetic: int = 128
    network_lr: float = 0.01
    network_momentum: float = 0.9
    network_decay: float = 5e-4
    network_batch: int = 64
    network_images: int = 0
    pretrain: int = 0
    augment: str = "auto"
    cutmix: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.formation()
        if self.zca != "none":
            raise InputError(f"idc: zca = {self.zca!r}: must be none, since its images are limited as pixels")
        for name in ("inner", "batch_synthetic", "network_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"idc: {name} = {getattr(self, name)}: must be at least 1")
        for name, allowed in (("metric", ("auto", "mse", "l1")), ("cutmix", ("auto", "on", "off"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"idc: {name} = {getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if self.augment != "auto":
            augment.operations(self.augment)

    def formation(self) -> Formation:
        return Formation(self.factor, self.decode)

    def resolved(self, data: ImageData, ipc: int) -> IDC:
        own = setting(data)
        plain = data.named == "mnist" and self.factor > 1  # where the reference found cutout and CutMix of no use
        if data.frames > 1:
            if self.cutmix == "on":
                raise InputError("idc: cutmix = 'on': must be 'off' on clips, of which no augmentation is defined")
            return replace(
                self.resolved(replace(data, frames=1), ipc), cutmix="off", augment=self.augment.replace("auto", "none")
            )
        auto_lr = own.image_lr * ipc / 10 * (data.shape[1] / own.side) ** 2
        return replace(
            self,
            image_lr=self.image_lr or auto_lr,
            metric=own.metric if self.metric == "auto" else self.metric,
            network_images=self.network_images or own.network_images,
            pretrain=self.pretrain or own.pretrain,
            augment=("idc:color_crop" if plain else "idc:color_crop_cutout")
            if self.augment == "auto"
            else self.augment,
            cutmix=("off" if plain else "on") if self.cutmix == "auto" else self.cutmix,
        )

    def strategy(self, data: ImageData) -> str:
        return self.resolved(data, 1).augment

    def passes(self, ipc: int) -> int:  # noqa: ARG002
        return self.inner

    def needs(self, ipc: int, init: str | None) -> int:
        return super().needs(ipc, init) * (self.factor**2 if (init or self.default_init) == "mix" else 1)

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        """'random' takes the first images of each class (as the reference does), 'mix' puts the first factor^2
        together in one; 'noise' is normal around grey, in the range of pixels."""
        blank = initial(data, ipc, "noise", rng, network=network)
        if init == "noise":
            low, high = limits(data)
            grey = middle_grey(data.mean, data.std).to(data.device).view(-1, 1, 1)
            images = torch.clamp(blank.images * (high - low) / 4 + grey, low, high)
        else:
            count = self.needs(ipc, init)
            first = [data.batch(data.of_class(c)[:count]) for c in range(data.num_classes)]
            images = torch.cat([mixed(part, self.factor) if init == "mix" else part for part in first])
        return replace(blank, images=images)

    def weights(self, net: nn.Module) -> list[Tensor]:
        """Convolution kernels: the reference leaves out biases, norm layers and the classifier."""
        found: list[Tensor] = [p for p in net.parameters() if p.ndim > 2]
        if not found:
            raise InputError("idc matches gradients of convolutions, and this network has none; choose another one")
        return found

    def check(self, net: nn.Module) -> None:
        self.weights(net)

    def decoded(self, run: Run, stored: Tensor) -> Tensor:
        images, _ = self.formation().decoded(stored, run.grey)
        if len(images) <= self.batch_synthetic:
            return images
        picks = torch.randperm(len(images), generator=run.rng, device=run.rng.device)
        return images[picks[: self.batch_synthetic]]

    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        if self.metric == "mse":
            parts = [(a - b).square().sum() for a, b in zip(synthetic, real, strict=True)]
        else:
            parts = [(a - b).abs().sum() for a, b in zip(synthetic, real, strict=True)]
        return torch.stack(parts).sum()

    def step(self, run: Run) -> Tensor:
        run.fresh_network()
        optimizer = torch.optim.SGD(
            run.net.parameters(), self.network_lr, self.network_momentum, weight_decay=self.network_decay
        )
        for _ in range(self.pretrain):
            self.train_network(run, optimizer, len(run.data))
        low, high = limits(run.data)
        with torch.no_grad():
            run.images.clamp_(low, high)
        # a step of image_lr on pixels is one of image_lr / std^2 on normalised images
        scale = run.data.levels[1] ** -2
        seen = torch.zeros((), device=run.images.device)
        for _ in range(self.inner):
            for label in range(run.data.num_classes):
                loss = self.class_loss(run, label)
                loss.backward(inputs=[run.images])
                assert run.images.grad is not None
                run.images.grad *= scale
                run.descend()  # class by class; the momentum of the others moves on
                seen += loss.detach()
            self.train_network(run, optimizer, self.network_images)
        return seen / (self.inner * run.data.num_classes)

    def train_network(self, run: Run, optimizer: torch.optim.Optimizer, images: int) -> None:
        """At most one epoch on the real data: batches until `images` images have been seen."""
        size = min(self.network_batch, len(run.data))
        # whole batches only, and of them as many as reach the number
        batches = min(-(-images // size), len(run.data) // size)
        order = torch.randperm(len(run.data), generator=run.rng, device=run.rng.device)
        loss = run.compiled(mean_loss, self.iterations * self.inner * batches * size * run.data.positions, size)
        strategy = self.augment.replace("_cutout", "") if self.cutmix == "on" else self.augment
        probability = setting(run.data).cutmix if self.cutmix == "on" else 0.0
        for picks in order[: batches * size].split(size):
            batch, labels = run.data.batch(picks), F.one_hot(run.data.labels[picks], run.data.num_classes).float()
            batch = augment.apply(batch, augment.draw(strategy, len(batch), run.data.shape[1:], run.host))
            if torch.rand((), generator=run.host) < probability:
                batch, labels = cutmix(batch, labels, run.host)
            optimizer.zero_grad()
            loss(run.net, batch, labels).backward()
            optimizer.step()


def limits(data: ImageData) -> tuple[Tensor, Tensor]:
    """Pixels of 0 and 1 in normalised space, [C, 1, 1] each.

    >>> from dataclasses import replace
    >>> from bilp_core import load
    >>> from bilp_core.distillers.idc import limits
    >>> data = replace(load("digits").train, mean=(0.5,), std=(0.25,))
    >>> [float(limit) for limit in limits(data)]
    [-2.0, 2.0]
    """
    mean, std = data.levels
    return -mean / std, (1 - mean) / std
