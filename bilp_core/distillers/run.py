"""The state of one distillation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets import augment
from ..nets.compiling import compiled
from ..nets.memory import split
from ..nets.networks import check_frames, initialise, network
from ..pruning.adaptive import Adaptive
from ..pruning.representative import Representative
from ..synthetic.set import SyntheticSet, middle_grey
from .batches import ClassBatches

if TYPE_CHECKING:
    from .method import Distiller

GRAIN = 16  # sizes that are compiled are multiples of it
SIZES = 6  # of parts smaller than a chunk, at most; beside the chunk itself, since torch compiles eight of a function


def filled(count: int, chunk: int) -> int:
    """The size up to which `count` images, fewer than a chunk, are filled up: one of few, and no more than a chunk.

    >>> from bilp_core.distillers.run import filled
    >>> [filled(count, 64) for count in (1, 16, 17, 63)], [filled(count, 256) for count in (1, 49, 255)]
    ([16, 16, 32, 64], [48, 96, 256])
    """
    grain = GRAIN * math.ceil(chunk / (GRAIN * SIZES))
    return min(grain * math.ceil(count / grain), chunk)


class Run:
    """The state of one distillation: what a method's `step` works on.

    method, data : with every setting filled in (`resolved`); as the method sees them (`seen`).
    start : the synthetic set before the first round. spec : the network. rng : on the data's device.
    own : the classes whose images are distilled, all if None; see `Part`.
    Of it a method uses images, float32 [classes x ipc, C, H, W] with their gradient, labels, net, batches, data,
    optimizer, rng and host (for draws on the host), state and stage (its own).

    >>> import torch
    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import Run
    >>> train, _ = load("digits")
    >>> method, spec = make("dm", iterations=1), "convnet:depth=1,width=4"
    >>> rng = torch.Generator().manual_seed(0)
    >>> run = Run(method, train, method.start(train, 2, "real", rng, spec), spec, rng)
    >>> run.images.shape, run.images_of(9).shape, run.batches(9).shape
    (torch.Size([20, 1, 8, 8]), torch.Size([2, 1, 8, 8]), torch.Size([135, 1, 8, 8]))
    >>> run.fresh_network()
    >>> before = run.images.detach().clone()
    >>> loss = method.step(run)
    >>> bool(loss > 0), torch.equal(before, run.images)
    (True, False)
    """

    def __init__(
        self,
        method: Distiller,
        data: ImageData,
        start: SyntheticSet,
        spec: str,
        rng: Generator,
        adaptive: Adaptive | None = None,
        represent: Representative | None = None,
        own: range | None = None,
    ) -> None:
        self.method, self.data, self.start, self.rng = method, data, start, rng
        self.stage: Any = None  # what the method's `first_stage` gave
        self.ipc = len(start.images) // data.num_classes
        self.own = own or range(data.num_classes)
        here = slice(self.own.start * self.ipc, self.own.stop * self.ipc) if own else slice(None)
        self.images = start.images[here].clone().requires_grad_()
        self.labels = start.labels[here]
        self.classes = torch.arange(data.num_classes, device=data.device)
        # augmentation is drawn on the host, so that a GPU need not wait
        self.host = rng if rng.device.type == "cpu" else torch.Generator().manual_seed(rng.initial_seed())
        check_frames(spec, data.frames)
        self.spec, self.net = spec, network(spec, data.shape, data.num_classes).to(data.device)
        self.batchnorms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)]
        self.batches = ClassBatches(data, method.batch, rng, adaptive, represent, self.features)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            [self.images], lr=method.image_lr, momentum=method.image_momentum
        )
        self.state: Any = None  # the method's own, see `prepare`
        self.strategy = method.strategy(data)
        if data.frames > 1 and self.strategy != "none":
            raise InputError(
                f"{method.name}: augmentation {self.strategy!r}: must be none on clips, of which none is defined"
            )
        self.grey = middle_grey(data.mean, data.std).to(data.device)
        positions = method.iterations * method.passes(self.ipc) * data.num_classes * self.batches.size
        self._positions = 0 if self.batchnorms else positions * data.positions
        self._compiled: dict[Callable, Callable] = {}
        # images of a pass, such that the largest batch falls into equal parts: one shape is compiled
        full = min(self.batches.size, max(map(len, self.batches.members)))
        self.chunk = math.ceil(full / len(split(data.images[:full])))

    def fresh_network(self) -> None:
        """New random weights, in place."""
        initialise(self.net, self.rng)
        self.net.train()

    def images_of(self, label: int) -> Tensor:
        """The synthetic images of one class, [ipc, C, H, W]."""
        place = label - self.own.start
        return self.images[place * self.ipc : (place + 1) * self.ipc]

    def features(self, picks: Tensor) -> Tensor:
        """Of real samples, by the present network: [n, E], detached."""
        with torch.no_grad():
            return torch.cat([self.net.embed(part) for part in split(self.data.batch(picks))])

    def siamese(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """The same augmentation, one draw, on all of them."""
        if self.strategy == "none":
            return batches
        drawn = augment.draw(self.strategy, 1, self.data.shape[1:], self.host)
        return tuple(augment.apply(batch, drawn) for batch in batches)

    def pass_over(self, label: int) -> None:
        """The draws of a class that is another part's, so that those of ours are as they were with all classes."""
        self.batches.indices(label)
        self.siamese()

    def augmented(self, images: Tensor) -> Tensor:
        """One operation for the batch, its parameters drawn for each image: as in training a network."""
        if self.strategy == "none":
            return images
        return augment.apply(images, augment.draw(self.strategy, len(images), self.data.shape[1:], self.host))

    def in_chunks(self, function: Callable[..., Any], images: Tensor, *args: Any) -> Iterator[Any]:
        """function(net, chunk, *args) for one chunk of real images after the other, compiled where that pays.

        `function` sums over images, and takes weights for them as a last argument.
        """
        call = self.compiled(function, self._positions)
        for part in images.split(self.chunk):
            size = filled(len(part), self.chunk)
            if len(part) == self.chunk or call is function:
                yield call(self.net, part, *args)
            elif self.batches.adaptive or size == self.chunk:
                # any number survives, and classes may differ by a little; each size is compiled once
                missing = size - len(part)
                weights = torch.cat([part.new_ones(len(part)), part.new_zeros(missing)])
                yield call(self.net, torch.cat([part, part[:1].expand(missing, -1, -1, -1)]), *args, weights)
            else:  # the rest of a batch: seldom enough to run as it is
                yield function(self.net, part, *args)

    def rows(
        self,
        function: Callable[..., Tensor],
        images: Tensor,
        net: nn.Module | None = None,
        positions: float | None = None,
    ) -> Tensor:
        """function(net, chunk), which gives each image a row: of all images, [N, ...], compiled where that pays.

        net : the run's own if None. positions : as `compiled` has them; as many as batches of all classes have if None.
        """
        call, net = self.compiled(function, self._positions if positions is None else positions), net or self.net
        parts = split(images) if call is function else images.split(self.chunk)
        return torch.cat([(call if len(part) == self.chunk else function)(net, part) for part in parts])

    def compiled(self, function: Callable, positions: float, size: int = 0) -> Callable:
        """`function` of a network of this run and `size` images (0: a chunk), compiled where that pays.

        positions : images x height x width that go through it in all.
        """
        if function not in self._compiled:
            own = (self.spec, self.data.shape, self.data.num_classes, size or self.chunk)
            self._compiled[function] = compiled(function, positions, self.images.device, own)
        return self._compiled[function]

    @property
    def draws(self) -> list[Tensor]:
        """Where all generators are; set again, the same is drawn once more."""
        return [generator.get_state() for generator in (self.rng, self.host)]

    @draws.setter
    def draws(self, states: Sequence[Tensor]) -> None:
        for generator, state in zip((self.rng, self.host), states, strict=True):
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """All that the next rounds depend on, between two rounds."""
        return {
            "images": self.images.detach(),
            "labels": self.labels.detach(),
            "optimizer": self.optimizer.state_dict(),
            "generators": self.draws,
            "batches": self.batches.state_dict(),
            "method": self.state.state_dict() if self.state else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.images.copy_(state["images"])
            self.labels.copy_(state["labels"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state_dict(state["batches"])
        if self.state:
            self.state.load_state_dict(state["method"])
        self.draws = state["generators"]

    def descend(self) -> None:
        """One step on the synthetic images along the gradients gathered so far."""
        self.optimizer.step()
        self.optimizer.zero_grad()
