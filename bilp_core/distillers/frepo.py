"""Dataset distillation using neural feature regression, FRePo (Zhou et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..data.images import ImageData
from ..errors import InputError
from ..nets.recipe import LOSSES, centred, cosine
from .method import Kept
from .pool import Pool, Shuffled
from .regression import OnFeatures, embedded
from .run import Run

FINAL_LR = 0.1  # share of image_lr that is left in the end
FLIP_UP_TO = 500  # synthetic images


@dataclass(frozen=True)
class FRePo(OnFeatures):
    """Learn images and labels from which kernel ridge regression, on the features of a network, predicts real labels.
    The network is drawn from a pool of networks that train on the synthetic images.

    Published with the network `frepo-convnet:norm=batch`, and evaluated on it without norm; any other will do.

    iterations : steps; BiLP runs 500,000 with an image_lr of 0.001 (Sec. 6.3), the authors' own is 0.0003.
    image_lr, image_momentum : LAMB on images and labels, the learning rate falling to a tenth along a cosine.
    batch : real images a step, of all classes together.
    zca : 'auto' whitens as the reference does, but not grey images nor those too large.
    learn_labels : whether labels move from where they start, centred and scaled one-hot vectors.
    ridge : of the regression, in units of the kernel's mean diagonal element.
    flip : whether the regression sees mirrored synthetic images, too: 'on', 'off' or 'auto', which is up to 500 of
           them if the data's labels allow it.
    pool : networks. updates : of a network on the synthetic images, after which it starts anew.
    network_lr, network_batch : Adam of those updates, and how many of the synthetic images they see.
    Labels are learned as float32 [classes x ipc, classes].
    Raises InputError for a value that is not allowed, for fewer than two classes, and for images too alike to be told
    apart (see `regressed`).
    Source: Zhou, Nezhadarya & Ba, Dataset Distillation using Neural Feature Regression, NeurIPS 2022.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> method = make("frepo", iterations=2, batch=64, pool=2)
    >>> made = distill(method, train, ipc=1, network="convnet:depth=1,width=4")
    >>> made.images.shape, made.labels.shape, made.hard_labels.tolist()
    (torch.Size([10, 1, 8, 8]), torch.Size([10, 10]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    name: ClassVar[str] = "frepo"
    summary: ClassVar[str] = (
        "kernel ridge regression on a pool of networks, learned labels; published with frepo-convnet:norm=batch"
    )
    learns: ClassVar[str] = "images, labels"
    default_init: ClassVar[str] = "real"
    small: ClassVar[Mapping[str, Any]] = {"iterations": 1000, "image_lr": 1e-2, "batch": 256}

    iterations: int = 500_000
    image_lr: float = 1e-3
    image_momentum: float = 0.9
    batch: int = 1024
    zca: str = "auto"
    learn_labels: bool = True
    ridge: float = 1e-6
    flip: str = "auto"
    pool: int = 10
    updates: int = 100
    network_lr: float = 3e-4
    network_batch: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flip not in ("auto", "on", "off"):
            raise InputError(f"frepo: flip = {self.flip!r}: must be one of auto, on, off")
        for name in ("pool", "network_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"frepo: {name} = {getattr(self, name)}: must be at least 1")

    def resolved(self, data: ImageData, ipc: int) -> FRePo:
        if self.flip == "on" and data.frames > 1:
            raise InputError("frepo: flip = 'on': must be off on clips, of which no augmentation is defined")
        flip = data.shape[0] > 1 and data.frames == 1 and data.flip and ipc * data.num_classes <= FLIP_UP_TO
        return replace(
            self,
            flip=("on" if flip else "off") if self.flip == "auto" else self.flip,
            zca=self.whitening(data),
        )

    def prepare(self, run: Run) -> State:
        from timm.optim.lamb import Lamb  # slow to import

        classes = run.data.num_classes
        run.labels = centred(run.labels, classes) / math.sqrt(classes / 10)
        learned = [run.images, run.labels.requires_grad_()] if self.learn_labels else [run.images]
        betas = (self.image_momentum, 0.999)
        # as optax has it: nothing clipped, and the length of a step is lr times the norm of what it changes
        run.optimizer = Lamb(learned, self.image_lr, betas=betas, weight_decay=0, max_grad_norm=None, always_adapt=True)
        return State(
            torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda t: cosine(t / self.iterations, FINAL_LR)),
            Pool(run.net, run.rng, size=self.pool, updates=self.updates, lr=self.network_lr, batch=self.network_batch),
            Shuffled(len(run.data), self.batch, run.rng),
        )

    def step(self, run: Run) -> Tensor:
        state: State = run.state
        member = state.pool.pick(run.host)
        run.net = member.net  # type: ignore[assignment]
        loss = self.loss(run, self.chosen(run, lambda: next(state.batches)))
        loss.backward(inputs=run.optimizer.param_groups[0]["params"])
        run.descend()
        state.schedule.step()
        state.pool.advance(member, run.images.detach(), run.labels.detach())
        return loss.detach()

    # The loss: half the squared error of the regression, less the margin of the labels.

    def support(self, run: Run) -> tuple[Tensor, Tensor]:
        images, labels = run.images, run.labels
        if self.flip == "on":
            images, labels = torch.cat([images, images.flip(3)]), torch.cat([labels, labels])
        return embedded(run.net, images), labels

    def targets(self, run: Run, picks: Tensor) -> Tensor:
        return self.real(run, picks, [run.net])

    def losses(self, run: Run, predicted: Tensor, picks: Tensor) -> Tensor:
        return LOSSES["mse"](predicted, run.data.labels[picks])

    def rest(self, run: Run) -> Tensor:
        return -margin(run.labels)


@dataclass
class State(Kept):
    """What FRePo keeps beside images and labels. batches : indices of real images."""

    schedule: torch.optim.lr_scheduler.LRScheduler
    pool: Pool
    batches: Shuffled


def margin(labels: Tensor) -> Tensor:
    """How far the largest label of an image is above the next, at most 1/classes: the mean over images.

    labels : float32 [M, classes]. Returns a scalar, differentiable.

    >>> import torch
    >>> from bilp_core.distillers.frepo import margin
    >>> round(float(margin(torch.tensor([[0.9, 0.0], [0.5, 0.25]]))), 4)  # the first counts as 1/2
    0.375
    """
    largest, second = labels.topk(2).values.T
    return (largest - second).clamp(max=1 / labels.shape[1]).mean()
