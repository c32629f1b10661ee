"""The loop every distiller runs in, and the parts they share.

A method is a frozen dataclass in a file of its own: its fields are its hyper-parameters, `step` is one round of
it. What they share sits in `Run` (network, synthetic images, real batches, optimiser) and `Matching`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from .. import augment, ite, zca
from ..adaptive import Adaptive, RunningNormal
from ..data import ImageData, fingerprint
from ..errors import InputError
from ..files import Unfinished
from ..formation import Formation
from ..networks import initialise, network
from ..synthetic import INITS, SyntheticSet, initial, middle_grey
from ..training import compiled, split
from .state import State

Progress = Callable[[int, int, str], None]

GRAIN = 16  # images by which a part of a batch may grow to meet a size that is compiled


class Diverged(RuntimeError):
    """The matching loss stopped being finite."""


@dataclass(frozen=True)
class Distiller(ABC):
    """Hyper-parameters common to all methods.

    iterations : rounds; each starts from a fresh random network.
    image_lr, image_momentum : SGD on the synthetic images.
    batch : real images a class and step; halved while it is at least twice the largest class (Sec. 6.3).
    zca : whitening of the real data, see `bilp_core.zca`; the synthetic set keeps it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    default_init: ClassVar[str] = "noise"
    inits: ClassVar[tuple[str, ...]] = INITS
    staged: ClassVar[bool] = False  # whether there is a `first_stage`

    iterations: int
    image_lr: float
    image_momentum: float = 0.5
    batch: int = 256
    zca: str = "none"

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool | str):
                continue
            if not math.isfinite(value) or value < 0 or (f.name in ("iterations", "batch") and value < 1):
                raise InputError(f"{self.name}: {f.name} = {value!r} is out of range (finite, not negative)")

    @abstractmethod
    def step(self, run: Run) -> float | Tensor:
        """One round: update `run.images`; returns the mean matching loss a class."""

    def resolved(self, data: ImageData, ipc: int) -> Distiller:  # noqa: ARG002
        """The same method with every setting that depends on the data filled in."""
        return self

    def strategy(self, data: ImageData) -> str:  # noqa: ARG002
        """The augmentation under which it matches."""
        return "none"

    def formation(self) -> Formation:
        """How many training images a stored one stands for."""
        return Formation()

    def needs(self, ipc: int, init: str | None) -> int:
        """Samples that `init` (None: the method's own) takes from each class. Raises InputError for an unknown one."""
        if init is not None and init not in self.inits:
            raise InputError(f"init = {init!r} of {self.name!r}: must be one of {', '.join(self.inits)}")
        return 0 if (init or self.default_init) == "noise" else ipc

    def check(self, net: nn.Module) -> None:  # noqa: B027
        """Raise InputError if the method cannot work with a network like `net`."""

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        """The synthetic set before the first round."""
        return initial(data, ipc, init, rng, network=network)

    def prepare(self, run: Run) -> None:  # noqa: B027
        """Before the first round: put into `run` what the method keeps there, or what it learns but images."""

    def whitened(self, data: ImageData, ipc: int) -> ImageData:
        """`data` as the method wants to see it: call it on all training data, before any is pruned."""
        return zca.whitened(data, self.resolved(data, ipc).zca)

    def stage_key(self, data: ImageData, spec: str) -> str | None:  # noqa: ARG002
        """Stands for what the method makes of real data before its rounds, which other distillations can share."""
        return None

    def stage_size(self) -> int:
        """How much it makes: what a larger size has made serves a smaller one under the same key."""
        return 0

    def first_stage(self, data: ImageData, spec: str, home: Path, progress: Progress | None) -> Any:  # noqa: B027
        """Make that, or find it in the folder `home`; rounds find it as `run.stage`."""

    def learned(self, run: Run) -> dict[str, Any]:  # noqa: ARG002
        """After the last round: JSON values that the synthetic set keeps in its `meta`."""
        return {}

    def state_dict(self, run: Run) -> dict[str, Any]:  # noqa: ARG002
        """Between two rounds: what `prepare` made and rounds changed, beside images, labels and `run.optimizer`."""
        return {}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:  # noqa: B027
        """Put into `run`, after `prepare`, what `state_dict` gave."""

    def passes(self, ipc: int) -> int:  # noqa: ARG002
        """How often a round goes through the real batches; tells whether compiling pays."""
        return 1


class Matching(Distiller):
    """A method whose loss compares a mean over real samples with the same mean over synthetic ones.

    The loss is additively separable in the real samples, which is what ITE and adaptive pruning rest on.
    """

    # whether BatchNorm layers are frozen while matching; where not, a sample has no statistic of its own
    freezes_batchnorm: ClassVar[bool] = False

    @abstractmethod
    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        """The mean over `images` of one class: detached for real images, with its graph for synthetic ones."""

    @abstractmethod
    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:
        """What `statistic` is the mean of: [N, ...] for each of its tensors, detached."""

    @abstractmethod
    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        """How far two such means are apart: a scalar."""

    def class_loss(self, run: Run, label: int) -> Tensor:
        """The matching loss of one class, real and synthetic images under the same augmentation."""
        adaptive = run.batches.adaptive if run.batches.due(label) else None
        picks = run.batches.indices(label)
        if adaptive is None:
            return self.loss_against(run, label, picks)
        treatments = self.treatments(run, label, picks)
        effects = ite.VARIANTS[adaptive.effect](treatments, run.rng)
        kept = run.batches.prune(label, picks, effects)
        share = kept.float() / kept.sum()
        return self.distance(treatments.ours, [torch.einsum("n,n...->...", share, p) for p in treatments.each])

    def loss_against(self, run: Run, label: int, picks: Tensor) -> Tensor:
        """The matching loss of a class against the real samples `picks`."""
        _, synthetic, real = self.pair(run, label, picks)
        ours = self.statistic(run, synthetic, label, real=False)
        return self.distance(ours, self.statistic(run, real, label, real=True))

    def treatments(self, run: Run, label: int, picks: Tensor) -> ite.Treatments:
        """The samples `picks` of a class and its synthetic images, ready for their ITE."""
        stored, synthetic, real = self.pair(run, label, picks)
        ours = self.statistic(run, synthetic, label, real=False)
        return ite.Treatments(stored, ours, self.each(run, real, label), self.distance)

    def pair(self, run: Run, label: int, picks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stored synthetic images of the class, and, under one augmentation, those to match and the real ones."""
        stored = run.images_of(label)
        real, synthetic = run.siamese(run.data.batch(picks), self.decoded(run, stored))
        return stored, synthetic, real

    def decoded(self, run: Run, stored: Tensor) -> Tensor:  # noqa: ARG002
        """The images that the stored ones of a class stand for: themselves."""
        return stored


class ClassBatches:
    """Real batches of one class, drawn without replacement inside a batch. It alone knows about pruning.

    With adaptive pruning, what survives of a batch is handed out again until the next decision is due.
    """

    def __init__(self, data: ImageData, size: int, rng: Generator, adaptive: Adaptive | None = None) -> None:
        self.data, self.rng, self.adaptive = data, rng, adaptive
        self.members = [data.of_class(c) for c in range(data.num_classes)]
        for c, members in enumerate(self.members):
            if not len(members):
                raise InputError(f"class {data.classes[c]!r} has no samples left")
        largest = max(map(len, self.members))
        while size >= 2 * largest:  # supplement Sec. 6.3
            size //= 2
        self.size = size
        self.laws = [RunningNormal() for _ in self.members]
        self.survivors = [torch.empty(0, dtype=torch.int64) for _ in self.members]
        self.uses_left = [0 for _ in self.members]
        self.seen = self.dropped = 0

    def due(self, label: int) -> bool:
        """Whether the next batch of the class has to be pruned. A single sample has no effect against others."""
        alone = min(self.size, len(self.members[label])) < 2
        return self.adaptive is not None and not self.uses_left[label] and not alone

    def indices(self, label: int, size: int | None = None) -> Tensor:
        """Indices of the next batch of the class; a `size` asks for a fresh one of that size."""
        if size is None and self.uses_left[label]:
            self.uses_left[label] -= 1
            return self.survivors[label]
        members = self.members[label]
        order = torch.randperm(len(members), generator=self.rng, device=self.rng.device)
        return members[order[: size or self.size]]

    def prune(self, label: int, picks: Tensor, effects: Tensor) -> Tensor:
        """Decide about a fresh batch by the ITE of its samples: the mask of those to keep, [N].

        Raises Diverged if an effect is not finite.
        """
        assert self.adaptive is not None
        if not torch.isfinite(effects).all():
            raise Diverged(f"an ITE in class {self.data.classes[label]!r} is not finite; lower image_lr")
        self.laws[label].update(effects)
        kept = self.laws[label].inside(effects, self.adaptive.rate, self.adaptive.tails)
        self.survivors[label], self.uses_left[label] = picks[kept], self.adaptive.lazy - 1
        self.seen += len(kept)
        self.dropped += len(kept) - len(self.survivors[label])
        return kept

    def state_dict(self) -> dict[str, Any]:
        """What batches so far have left behind."""
        laws = [[law.mean, law.variance] for law in self.laws]
        survivors = [picks.clone() for picks in self.survivors]  # not the batch that they are a part of
        return {"laws": laws, "survivors": survivors, "uses_left": self.uses_left, "counts": [self.seen, self.dropped]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.laws = [RunningNormal(*law) for law in state["laws"]]
        self.survivors = [picks.to(self.data.device) for picks in state["survivors"]]
        self.uses_left = state["uses_left"]
        self.seen, self.dropped = state["counts"]

    def __call__(self, label: int, size: int | None = None) -> Tensor:
        """Normalised images [n, C, H, W], n = min(size, class size)."""
        return self.data.batch(self.indices(label, size))


class Run:
    """The state of one distillation."""

    def __init__(
        self,
        method: Distiller,
        data: ImageData,
        start: SyntheticSet,
        spec: str,
        rng: Generator,
        adaptive: Adaptive | None = None,
    ) -> None:
        self.method, self.data, self.rng = method, data, rng
        self.stage: Any = None  # what the method's `first_stage` gave
        self.ipc = len(start.images) // data.num_classes
        self.images = start.images.clone().requires_grad_()
        self.labels = start.labels
        self.classes = torch.arange(data.num_classes, device=data.device)
        # augmentation is drawn on the host, so that a GPU need not wait
        self.host = rng if rng.device.type == "cpu" else torch.Generator().manual_seed(rng.initial_seed())
        self.net = network(spec, data.shape, data.num_classes).to(data.device)
        self.batchnorms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)]
        self.batches = ClassBatches(data, method.batch, rng, adaptive)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            [self.images], lr=method.image_lr, momentum=method.image_momentum
        )
        self.state: Any = None  # the method's own, see `prepare`
        self.strategy = method.strategy(data)
        self.grey = middle_grey(data.mean, data.std).to(data.device)
        positions = method.iterations * method.passes(self.ipc) * data.num_classes * self.batches.size
        self._positions = 0 if self.batchnorms else positions * data.shape[1] * data.shape[2]
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
        return self.images[label * self.ipc : (label + 1) * self.ipc]

    def siamese(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """The same augmentation, one draw, on all of them."""
        if self.strategy == "none":
            return batches
        drawn = augment.draw(self.strategy, 1, self.data.shape[1:], self.host)
        return tuple(augment.apply(batch, drawn) for batch in batches)

    def augmented(self, images: Tensor) -> Tensor:
        """One operation for the batch, its parameters drawn for each image: as in training a network."""
        if self.strategy == "none":
            return images
        return augment.apply(images, augment.draw(self.strategy, len(images), self.data.shape[1:], self.host))

    def in_chunks(self, function: Callable[..., Tensor], images: Tensor, *args: Any) -> Iterator[Tensor]:
        """function(net, chunk, *args) for one chunk of real images after the other, compiled where that pays.

        `function` sums over images, and takes weights for them as a last argument.
        """
        if function not in self._compiled:
            self._compiled[function] = compiled(function, self._positions, images.device)
        call = self._compiled[function]
        for part in images.split(self.chunk):
            if len(part) == self.chunk or call is function:
                yield call(self.net, part, *args)
            elif self.batches.adaptive:
                # any number survives; filled up to one of a few, each of which is compiled once
                missing = -len(part) % GRAIN
                weights = torch.cat([part.new_ones(len(part)), part.new_zeros(missing)])
                yield call(self.net, torch.cat([part, part[:1].expand(missing, -1, -1, -1)]), *args, weights)
            else:  # the rest of a batch: seldom enough to run as it is
                yield function(self.net, part, *args)

    def state_dict(self) -> dict[str, Any]:
        """All that the next rounds depend on, between two rounds."""
        return {
            "images": self.images.detach(),
            "labels": self.labels.detach(),
            "optimizer": self.optimizer.state_dict(),
            "generators": [self.rng.get_state(), self.host.get_state()],
            "batches": self.batches.state_dict(),
            "method": self.method.state_dict(self),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.images.copy_(state["images"])
            self.labels.copy_(state["labels"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state_dict(state["batches"])
        self.method.load_state_dict(self, state["method"])
        for generator, kept in zip((self.rng, self.host), state["generators"], strict=True):
            generator.set_state(kept)

    def descend(self) -> None:
        """One step on the synthetic images along the gradients gathered so far."""
        self.optimizer.step()
        self.optimizer.zero_grad()


def check_adaptive(method: Distiller, net: nn.Module) -> None:
    """Raise InputError unless the loss of `method` on `net` is a sum over real samples, as ITE needs."""
    if not isinstance(method, Matching):
        raise InputError(
            f"adaptive pruning needs a loss that is additively separable in the real samples; that of "
            f"{method.name!r} is not (its real data can still be pruned preemptively, by ratio)"
        )
    if not method.freezes_batchnorm and any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        raise InputError(
            f"adaptive pruning with {method.name!r} needs a network without BatchNorm, which mixes the samples of a "
            f"batch: such as convnet"
        )


def stage_home(home: str | Path | None = None) -> Path:
    """Where first stages are kept: `home`, or a folder of the default store."""
    if home is None:
        from ..trials import Store  # which imports this module when it distils

        return Store().stages
    return Path(home)


def distill(
    method: Distiller,
    data: ImageData,
    ipc: int,
    *,
    network: str = "convnet",
    init: str | None = None,
    seed: int = 0,
    adaptive: Adaptive | None = None,
    home: str | Path | None = None,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> SyntheticSet:
    """Distil `data` (already pruned) into `ipc` images a class.

    data : where the method whitens and `data` is not whitened yet, that is done with the samples there are.
    init : where the images start, the method's own default if None; see `inits` and `start` of the method.
    adaptive : prune real batches by ITE as well; only for methods and networks that `check_adaptive` lets pass.
    home : folder for what a first stage makes (experts), which later calls reuse; that of the store if None.
    unfinished : keeps the state once a minute, from which the same call goes on to the same result if it is stopped.
    All randomness follows from `seed`; the same seed on the same machine gives the same set.
    Raises InputError for what cannot work, Diverged when the loss stops being finite.
    """
    data = method.whitened(data, ipc)
    method, needed, init = method.resolved(data, ipc), method.needs(ipc, init), init or method.default_init
    for name, count in zip(data.classes, data.counts().tolist(), strict=True):
        if count < needed:
            raise InputError(f"class {name!r} has {count} samples: init {init!r} with ipc = {ipc} needs {needed}")
    settings = {
        "method": [method.name, asdict(method)],
        "start": [ipc, init, seed],
        "network": network,
        "adaptive": asdict(adaptive) if adaptive else None,
        "device": data.device.type,
    }
    kept = State(unfinished, {**settings, "data": fingerprint(data)} if unfinished else {})
    rng = torch.Generator(data.device).manual_seed(seed)
    start = method.start(data, ipc, init, rng, network)
    run = Run(method, data, start, network, rng, adaptive)
    method.check(run.net)
    if adaptive:
        check_adaptive(method, run.net)
    run.stage = method.first_stage(data, network, stage_home(home), progress)
    method.prepare(run)
    done = 0
    if found := kept.load():
        run.load_state_dict(found["run"])
        done = found["done"]
        if progress:
            progress(done, method.iterations, "goes on")
    every = max(1, method.iterations // 100)
    for iteration in range(done + 1, method.iterations + 1):
        loss = method.step(run)
        if iteration % every == 0 or iteration == method.iterations:
            # only here, since reading the loss makes a GPU wait
            if not math.isfinite(loss):
                remedy = f"lower image_lr = {method.image_lr}"
                raise Diverged(f"{method.name}: the loss is {float(loss)} at iteration {iteration}; {remedy}")
            if progress:
                progress(iteration, method.iterations, f"loss {float(loss):.4g}")
        if kept.due() and iteration < method.iterations:
            kept.save({"done": iteration, "run": run.state_dict()})
    images, labels = run.images.detach(), run.labels.detach()
    if not torch.isfinite(images).all() or not torch.isfinite(labels).all():
        remedy = f"lower image_lr = {method.image_lr}"
        raise Diverged(f"{method.name}: images or labels are not finite after the last step; {remedy}")
    meta = {
        "method": method.name,
        "options": asdict(method),
        "ipc": ipc,
        "init": init,
        "network": network,
        "seed": seed,
        "data": data.name,
        "real_samples": len(data),
        "seconds": round(kept.seconds, 3),
        **method.learned(run),
    }
    if adaptive:
        meta["adaptive"] = {**asdict(adaptive), "dropped": run.batches.dropped / max(run.batches.seen, 1)}
    return SyntheticSet(images, labels, data.classes, data.mean, data.std, meta, method.formation(), data.whitening)
