"""Train one network, or K of them at once, from tensors on the device.

An `Ensemble` holds K networks of one architecture. On a GPU, and for tiny work on a CPU, their parameters are
stacked and one `torch.func.vmap` serves all; on a CPU with real images a plain loop is about twice as fast,
in chunks that fit the cache. Either way network k draws its weights, its batch order and its augmentation from
generator k alone, so K networks trained together give what K separate trainings give.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from . import augment, speed
from .errors import InputError
from .mixing import cutmix
from .networks import initialise, network

CHUNK = 2**16  # positions (images x height x width) a forward pass on a CPU: activations then stay near the cache
STACK_BELOW = 2048  # positions a step under which stacking wins on a CPU
FEW_ENOUGH = 2**19  # positions a step of a whole ensemble on a CPU
BYTES = 4096  # that training holds a position: 2.7 kB in a ConvNet of width 128, and the optimiser's share
COMPILE_ABOVE = 3e7  # positions in a whole run from which compiling (about 20 s, cold) pays on a CPU


class Samples(Protocol):
    """What can be trained on: labels, and normalised images by index."""

    @property
    def labels(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def batch(self, indices: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class TensorSamples:
    """Float images [N, C, H, W] and labels, int64 [N] or soft [N, classes]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor | None = None) -> Tensor:
        return self.images if indices is None else self.images[indices]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def centred(labels: Tensor, classes: int) -> Tensor:
    """int64 [N] -> float32 [N, classes]: one-hot, less its mean 1/classes."""
    return F.one_hot(labels, classes).float() - 1 / classes


def _half_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Hard labels stand for their centred vectors. Source: FRePo."""
    wanted = labels if labels.ndim == 2 else centred(labels, logits.shape[1])
    return (logits - wanted).square().sum(1) / 2


# (logits [N, classes], labels int64 [N] or soft [N, classes]) -> [N], the loss of each sample
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": _cross_entropy, "mse": _half_squared_error}


def cosine(progress: float, least: float) -> float:
    """From 1 to `least` along half a period of a cosine, as `progress` goes from 0 to 1."""
    return least + (1 - least) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: the loss, SGD or Adam, and how the learning rate falls.

    loss       : one of `LOSSES`, of hard or soft labels.
    drop_after : after this epoch (counted from 0) it falls to a tenth and the optimiser starts anew, its momentum
                 lost, as in the reference code of DC, DSA and DM.
    milestones : after so many epochs it falls to a fifth and the optimiser goes on, as in that of IDC.
    cosine_to  : with every step it falls along a cosine, to this share of `lr`, as in that of FRePo.
    warmup     : steps (of more than half of all: that half) in which it rises from 0 before; needs `cosine_to`.
    cutmix     : probability that a batch is mixed, after its augmentation.
    """

    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    optimizer: str = "sgd"
    drop_after: int | None = None
    milestones: tuple[int, ...] = ()
    cosine_to: float | None = None
    warmup: int = 0
    augment: str = "none"
    cutmix: float = 0.0
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("batch", 1)):
            if getattr(self, field) < least:
                raise InputError(f"{field} = {getattr(self, field)}: must be at least {least}")
        for field in ("lr", "weight_decay", "momentum"):
            value = getattr(self, field)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{field} = {value}: must be a finite number, not negative")
        if not 0 <= self.cutmix <= 1:
            raise InputError(f"cutmix = {self.cutmix}: a probability, must be in [0, 1]")
        if self.optimizer not in ("sgd", "adam"):
            raise InputError(f"optimizer = {self.optimizer!r}: must be 'sgd' or 'adam'")
        if self.loss not in LOSSES:
            raise InputError(f"loss = {self.loss!r}: must be one of {', '.join(LOSSES)}")
        if self.cutmix and self.loss == "mse":
            raise InputError(f"cutmix = {self.cutmix}: must be 0 with the loss 'mse', whose labels are no shares")

    def share_of_lr(self, step: int, steps: int) -> float:
        """By what `lr` is multiplied at a step, counted from 0, of `steps` in all, where there is a `cosine_to`."""
        assert self.cosine_to is not None
        rise = min(self.warmup, steps // 2)
        return step / rise if step < rise else cosine((step - rise) / max(steps - rise, 1), self.cosine_to)


@lru_cache(maxsize=1)
def _compiler_works() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def compiled(function: Callable, positions: float, device: torch.device) -> Callable:
    """`function` through torch.compile where that pays: long runs on a CPU that has a C++ compiler.

    positions : images x height x width that will pass through it in all.
    BILP_COMPILE = 0 or 1 overrides the choice, BILP_SPEED = plain forbids it. The result may differ by rounding.
    """
    choice = os.environ.get("BILP_COMPILE", "auto")
    if choice not in ("0", "1", "auto"):
        raise InputError(f"BILP_COMPILE = {choice!r}: must be 0, 1 or auto")
    if speed.mode() == "plain":
        return function
    pays = device.type == "cpu" and positions >= COMPILE_ABOVE and _compiler_works()
    return torch.compile(function, dynamic=False) if choice == "1" or (choice == "auto" and pays) else function


def split(images: Tensor) -> tuple[Tensor, ...]:
    """Images [N, C, H, W] in parts for one pass each: all of them on a GPU, cache-sized parts on a CPU."""
    if images.device.type != "cpu":
        return (images,)
    return images.split(max(1, CHUNK // (images.shape[-2] * images.shape[-1])))


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that can still be allocated: what is free, and what PyTorch holds without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def fitting(positions: int, device: torch.device) -> int:
    """How many networks may train in one ensemble: as many as fit the memory, by a guess that is safe for ConvNets.

    positions : images x height x width of one network's step. On a CPU few gain as much as many.
    """
    if device.type == "cpu":
        return max(1, FEW_ENOUGH // positions)
    return max(1, int(free_memory(device) * 0.8) // (BYTES * positions))


def seeds(purpose: str, seed: int, count: int) -> list[int]:
    """`count` seeds that follow from `seed`; other purposes have others, so that no two share their networks."""
    digests = (hashlib.sha256(f"{purpose} {seed} {k}".encode()).digest() for k in range(count))
    return [int.from_bytes(digest[:7], "big") for digest in digests]


def stacks(device: torch.device | str, batch: int, shape: tuple[int, ...]) -> bool:
    """Whether an ensemble that trains on batches of images [C, H, W] = `shape` is stacked."""
    return torch.device(device).type == "cuda" or batch * shape[1] * shape[2] <= STACK_BELOW


class Ensemble:
    """K networks of one architecture.

    seeds   : one for each network; its initial weights, batch order and augmentation follow from it.
    shape   : (C, H, W) of the images.
    batch   : images a training step, from which stacking or looping is chosen unless `stacked` says so.
    positions : images x height x width of the whole training and testing, see `compiled`.
    mixed   : whether bfloat16 is good enough where the user wants it, see `speed`.
    """

    def __init__(
        self,
        spec: str,
        shape: tuple[int, int, int],
        num_classes: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        batch: int = 64,
        positions: float = 0.0,
        stacked: bool | None = None,
        mixed: bool = False,
    ) -> None:
        if not seeds:
            raise InputError("an ensemble needs at least one seed")
        self.device, self.mixed = torch.device(device), mixed
        self.generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        # augmentation is drawn on the host, so that a GPU need not wait
        on_host = self.device.type == "cpu"
        self.hosts = self.generators if on_host else [torch.Generator().manual_seed(seed) for seed in seeds]
        members = []
        for rng in self.generators:
            member = network(spec, shape, num_classes).to(self.device)
            initialise(member, rng)
            members.append(member)
        self.base = members[0]
        self.size = shape[1:]
        self.stacked = stacks(self.device, batch, shape) if stacked is None else stacked
        # BatchNorm sees the batch as one: no chunks, and no compiling of its running statistics
        self.whole = any(True for _ in self.base.buffers())
        if self.stacked:
            self.parameters, self.buffers = stack_module_state(members)
            self._call = vmap(self._single, in_dims=(0, 0, 0), randomness="error")
            self._call_shared = vmap(self._single, in_dims=(0, 0, None), randomness="error")
        else:
            self.members = members
            self._run = self._member if self.whole else compiled(self._member, positions, self.device)

    def __len__(self) -> int:
        return len(self.generators)

    def _single(self, parameters: dict, buffers: dict, images: Tensor) -> Tensor:
        return functional_call(self.base, (parameters, buffers), (images,))

    @staticmethod
    def _member(member: nn.Module, images: Tensor) -> Tensor:
        return member(images)

    def leaves(self) -> list[Tensor]:
        """The tensors an optimiser updates."""
        if self.stacked:
            return list(self.parameters.values())
        return [p for member in self.members for p in member.parameters()]

    def weights(self) -> dict[str, Tensor]:
        """Copies of the parameters on the CPU, each [K, *shape]."""
        if self.stacked:
            return {name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()}
        rows = [dict(member.named_parameters()) for member in self.members]
        return {name: torch.stack([row[name].detach() for row in rows]).cpu() for name in rows[0]}

    def train(self, mode: bool = True) -> None:
        """Training mode (BatchNorm uses the batch), or evaluation mode."""
        for member in [self.base] if self.stacked else self.members:
            member.train(mode)

    def logits(self, images: Tensor) -> Tensor:
        """images [K, B, C, H, W], or [B, C, H, W] shared by all networks -> logits [K, B, classes]."""
        with speed.autocast(self.device, self.mixed):
            logits = self._logits(images, shared=images.ndim == 4)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _logits(self, images: Tensor, shared: bool) -> Tensor:
        if self.stacked:
            call = self._call_shared if shared else self._call
            return call(self.parameters, self.buffers, images)
        members = enumerate(self.members)
        return torch.stack([self._chunked(member, images if shared else images[k]) for k, member in members])

    def _chunked(self, member: nn.Module, images: Tensor) -> Tensor:
        if self.whole:
            return member(images)
        parts = split(images)
        # a shorter last part runs as it is, so that only one shape is ever compiled
        runs = [self._run if len(part) == len(parts[0]) else self._member for part in parts]
        return torch.cat([run(member, part) for run, part in zip(runs, parts, strict=True)])


def _optimizer(leaves: list[Tensor], recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(leaves, lr=lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(leaves, lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _batches(samples: Samples, recipe: Recipe, ensemble: Ensemble, orders: list[Tensor] | None, start: int):
    """Images [K, B, C, H, W] (or [B, C, H, W] where all networks see the same) and labels of one step."""
    if orders is None:
        images, labels = samples.batch(), samples.labels
    else:
        picks = [order[start : start + recipe.batch] for order in orders]
        images = torch.stack([samples.batch(pick) for pick in picks])
        labels = torch.stack([samples.labels[pick] for pick in picks])
    if recipe.augment != "none":
        k = len(ensemble)
        singles = images if orders is not None else images.expand(k, *images.shape)
        images = torch.stack(
            [
                augment.apply(single, augment.draw(recipe.augment, len(single), single.shape[-2:], rng))
                for single, rng in zip(singles, ensemble.hosts, strict=True)
            ]
        )
    if labels.ndim < 2 or orders is None:
        labels = labels.expand(len(ensemble), *labels.shape)
    if recipe.cutmix:
        soft = labels if labels.ndim == 3 else F.one_hot(labels, ensemble.base.classifier.out_features).float()
        singles = images if images.ndim == 5 else images.expand(len(ensemble), *images.shape)
        pairs = [
            cutmix(image, label, rng) if torch.rand((), generator=rng) < recipe.cutmix else (image, label)
            for image, label, rng in zip(singles, soft, ensemble.hosts, strict=True)
        ]
        images, labels = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return images, labels


def fit(
    ensemble: Ensemble,
    samples: Samples,
    recipe: Recipe,
    *,
    on_step: Callable[[int, list[Tensor] | None, Tensor], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Tensor:
    """Train every network of `ensemble` on `samples`; returns the mean training loss, [epochs, K].

    on_step(epoch, picks, logits) : called after each step with the sample indices of each network (None: all,
        in order) and the logits [K, B, classes] before the update.
    on_epoch(epoch) : called after each epoch.
    Raises FloatingPointError when a loss stops being finite.
    """
    count, lr, loss = len(samples), recipe.lr, LOSSES[recipe.loss]
    leaves = ensemble.leaves()
    optimizer = _optimizer(leaves, recipe, lr)
    history = torch.zeros(recipe.epochs, len(ensemble), device=ensemble.device)
    starts = range(0, count, recipe.batch)
    for epoch in range(recipe.epochs):
        ensemble.train()
        orders = None
        if count > recipe.batch:
            orders = [torch.randperm(count, generator=g, device=g.device) for g in ensemble.generators]
        for step, start in enumerate(starts, epoch * len(starts)):
            if recipe.cosine_to is not None:
                for group in optimizer.param_groups:
                    group["lr"] = lr * recipe.share_of_lr(step, recipe.epochs * len(starts))
            images, labels = _batches(samples, recipe, ensemble, orders, start)
            logits = ensemble.logits(images)
            values = loss(logits.flatten(0, 1), labels.flatten(0, 1)).view(len(ensemble), -1)
            # a sum over networks: each network's gradient is that of its own mean loss
            grads = torch.autograd.grad(values.mean(1).sum(), leaves)
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.grad = grad
            optimizer.step()
            history[epoch] += values.detach().sum(1) / count
            if on_step is not None:
                picks = None if orders is None else [o[start : start + recipe.batch] for o in orders]
                on_step(epoch, picks, logits.detach())
        if epoch == recipe.drop_after:
            lr *= 0.1
            optimizer = _optimizer(leaves, recipe, lr)
        if epoch + 1 in recipe.milestones:
            for group in optimizer.param_groups:
                group["lr"] *= 0.2
        if on_epoch is not None:
            on_epoch(epoch)
    if not torch.isfinite(history).all():
        bad = int((~torch.isfinite(history)).any(1).nonzero()[0])
        raise FloatingPointError(f"training loss is not finite from epoch {bad}: lower lr = {recipe.lr}")
    return history


@torch.no_grad()
def measure(ensemble: Ensemble, samples: Samples, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Accuracy (a fraction) and mean cross-entropy (nats) of each network on `samples`: two tensors [K]."""
    ensemble.train(False)
    correct = torch.zeros(len(ensemble), device=ensemble.device)
    total = torch.zeros(len(ensemble), device=ensemble.device)
    for picks in torch.arange(len(samples), device=ensemble.device).split(chunk):
        labels = samples.labels[picks].expand(len(ensemble), -1)
        logits = ensemble.logits(samples.batch(picks))
        correct += (logits.argmax(-1) == labels).sum(1)
        total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).sum(1)
    return correct / len(samples), total / len(samples)
