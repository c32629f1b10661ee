"""K networks of one architecture, trained side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..errors import InputError
from . import speed
from .compiling import compiled
from .memory import split
from .networks import initialise, network

STACK_BELOW = 2048  # positions a step under which stacking wins on a CPU


class Samples(Protocol):
    """What can be trained on: labels, and normalised images by index. `ImageData` and `TensorSamples` can.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.nets import Samples
    >>> def first_two(samples: Samples) -> torch.Tensor:
    ...     return samples.batch(torch.tensor([0, 1]))
    >>> tuple(first_two(load("digits").train).shape)
    (2, 1, 8, 8)
    """

    @property
    def labels(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def batch(self, indices: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class Epochs(Protocol):
    """Samples that are others in every epoch, counted from 0, but as many."""

    def at(self, epoch: int) -> Samples: ...


@dataclass(frozen=True, eq=False)
class TensorSamples:
    """Float images [N, C, H, W] and labels, int64 [N] or soft [N, classes].

    >>> import torch
    >>> from bilp_core.nets import TensorSamples
    >>> samples = TensorSamples(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
    >>> len(samples), tuple(samples.batch(torch.tensor([0, 3])).shape)
    (4, (2, 1, 8, 8))
    """

    images: Annotated[Tensor, "float [N, C, H, W]"]
    labels: Annotated[Tensor, "int64 [N] or float [N, classes]"]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Annotated[Tensor, "[n]"] | None = None) -> Annotated[Tensor, "float [n, C, H, W]"]:
        return self.images if indices is None else self.images[indices]


def stacks(device: torch.device | str, batch: int, shape: tuple[int, ...]) -> bool:
    """Whether an ensemble that trains on batches of images [C, H, W] = `shape` is stacked."""
    return torch.device(device).type == "cuda" or batch * shape[1] * shape[2] <= STACK_BELOW


def _channel_by_channel(images: Tensor) -> Tensor:
    """The same images laid out in the usual order: before torch 2.14, group norm under vmap refuses any other."""
    usual = torch.empty(images.shape, dtype=images.dtype, device=images.device)
    return images if images.stride() == usual.stride() else usual.copy_(images)


class Ensemble:
    """K networks of one architecture.

    seeds   : one for each network; its initial weights, batch order and augmentation follow from it.
    shape   : (C, H, W) of the images.
    batch   : images a training step, from which stacking or looping is chosen unless `stacked` says so.
    positions : images x height x width of the whole training and testing, see `compiled`.
    mixed   : whether bfloat16 is good enough where the user wants it, see `speed`.
    Raises InputError where there is no seed, and as `network` does.

    >>> import torch
    >>> from bilp_core.nets import Ensemble
    >>> ensemble = Ensemble("convnet:depth=1,width=4", (1, 8, 8), 10, seeds=[0, 1, 2])
    >>> len(ensemble), tuple(ensemble.logits(torch.zeros(5, 1, 8, 8)).shape)  # [K, B, classes]
    (3, (3, 5, 10))
    >>> tuple(ensemble.weights()["classifier.weight"].shape)
    (3, 10, 64)
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
        self.shape = shape
        self._start: Any = None
        self.stacked = stacks(self.device, batch, shape) if stacked is None else stacked
        # BatchNorm sees the batch as one: no chunks, and no compiling of its running statistics
        self.whole = any(True for _ in self.base.buffers())
        if self.stacked:
            self.parameters, self.buffers = stack_module_state(members)
            self._call = vmap(self._single, in_dims=(0, 0, 0), randomness="error")
            self._call_shared = vmap(self._single, in_dims=(0, 0, None), randomness="error")
        else:
            self.members = members
            own = (spec, shape, num_classes, batch)
            self._run = self._member if self.whole else compiled(self._member, positions, self.device, own)

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

    def relate(self) -> list[Tensor]:
        """From now on `logits` are less what the networks say as they are now. Returns copies of their leaves.

        >>> import torch
        >>> from bilp_core.nets import Ensemble
        >>> ensemble = Ensemble("convnet:depth=1,width=4", (1, 8, 8), 10, seeds=[0, 1])
        >>> _ = ensemble.relate()
        >>> ensemble.logits(torch.ones(5, 1, 8, 8)).abs().max().item()
        0.0
        """
        self._start = deepcopy((self.parameters, self.buffers)) if self.stacked else deepcopy(self.members)
        return [leaf.detach().clone() for leaf in self.leaves()]

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Logits as they run without torch.compile, which gives no second derivatives.

        >>> import torch
        >>> from bilp_core.nets import Ensemble
        >>> ensemble = Ensemble("convnet:depth=1,width=4", (1, 8, 8), 10, seeds=[0])
        >>> with ensemble.uncompiled():
        ...     ensemble.logits(torch.ones(5, 1, 8, 8)).shape
        torch.Size([1, 5, 10])
        """
        if self.stacked:
            yield
            return
        before, self._run = self._run, self._member
        try:
            yield
        finally:
            self._run = before

    def train(self, mode: bool = True) -> None:
        """Training mode (BatchNorm uses the batch), or evaluation mode."""
        for member in [self.base] if self.stacked else self.members:
            member.train(mode)

    def logits(
        self, images: Annotated[Tensor, "float [K, B, C, H, W] or float [B, C, H, W]"]
    ) -> Annotated[Tensor, "float32 [K, B, classes]"]:
        """images [K, B, C, H, W], or [B, C, H, W] shared by all networks -> logits [K, B, classes]."""
        with speed.autocast(self.device, self.mixed):
            logits = self._logits(images, shared=images.ndim == 4)
            if self._start is not None:
                logits = logits - self._start_logits(images, shared=images.ndim == 4)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _logits(self, images: Tensor, shared: bool) -> Tensor:
        if self.stacked:
            call = self._call_shared if shared else self._call
            return call(self.parameters, self.buffers, _channel_by_channel(images))
        members = enumerate(self.members)
        return torch.stack([self._chunked(member, images if shared else images[k]) for k, member in members])

    @torch.no_grad()
    def _start_logits(self, images: Tensor, shared: bool) -> Tensor:
        if self.stacked:
            call, (parameters, buffers) = self._call_shared if shared else self._call, self._start
            return call(parameters, buffers, _channel_by_channel(images))
        return torch.stack([self._chunked(net, images if shared else images[k]) for k, net in enumerate(self._start)])

    def _chunked(self, member: nn.Module, images: Tensor) -> Tensor:
        if self.whole:
            return member(images)
        parts = split(images)
        # a shorter last part runs as it is, so that only one shape is ever compiled
        runs = [self._run if len(part) == len(parts[0]) else self._member for part in parts]
        return torch.cat([run(member, part) for run, part in zip(runs, parts, strict=True)])
