"""The contract of a method: a frozen dataclass whose fields are its hyper-parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Generator, Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..evaluation import protocols
from ..nets.augment import dsa_strategy
from ..nets.networks import default_network
from ..synthetic.decoders import Decoder
from ..synthetic.formation import Formation
from ..synthetic.initial import INITS, initial
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report
from .run import Run

SMALL = 2_000_000  # images x height x width up to which data count as small


class Stateful(Protocol):
    """What a method keeps beside the images: it can be stored between two rounds, and brought back."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Kept:
    """A dataclass that is `Stateful` by its fields: each a tensor, a plain value, or stateful itself."""

    def state_dict(self) -> dict[str, Any]:
        found = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {
            name: v.detach() if isinstance(v, Tensor) else v.state_dict() if hasattr(v, "state_dict") else v
            for name, v in found.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, kept in state.items():
            own = getattr(self, name)
            if isinstance(own, Tensor):
                own.data.copy_(kept)
            elif hasattr(own, "load_state_dict"):
                own.load_state_dict(kept)
            else:
                setattr(self, name, kept)


@dataclass(frozen=True)
class Stage:
    """What a method makes of real data before its rounds, and other distillations can share.

    key  : stands for all that decides it. size : how much it makes; what a larger size has made serves a smaller one.
    make : function(folder, progress) that makes it, or finds it there. disk : function() -> the bytes that it takes.

    >>> from bilp_core import load, make
    >>> train, _ = load("digits")
    >>> stage = make("mtt", experts=3).first_stage(train, "convnet:depth=1,width=4")
    >>> len(stage.key), stage.size
    (16, 3)
    """

    key: str
    size: int
    make: Callable[[Path, Report | None], Any]
    disk: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Distiller(ABC):
    """Hyper-parameters common to all methods, and what a method may say beside its mathematics.

    iterations : rounds; each starts from a fresh random network.
    image_lr, image_momentum : SGD on the synthetic images.
    batch : real images a class and step; halved while it is at least twice the largest class (Sec. 6.3).
    zca : whitening of the real data, see `bilp_core.data.whitening`; the synthetic set keeps it.
    Raises InputError for a number that is negative or not finite, and for no iterations or an empty batch.

    A method is its fields and `step`. This one, ours and for the example alone, matches mean pixels:

    >>> from dataclasses import dataclass
    >>> from bilp_core import distill, load
    >>> from bilp_core.distillers import Distiller
    >>> @dataclass(frozen=True)
    ... class Pixels(Distiller):
    ...     name = "pixels"
    ...     def step(self, run):
    ...         means = [(run.images_of(c).mean(0), run.batches(c).mean(0)) for c in range(run.data.num_classes)]
    ...         loss = sum(((ours - real) ** 2).sum() for ours, real in means)
    ...         loss.backward()
    ...         run.descend()
    ...         return loss.detach() / len(means)
    >>> train, _ = load("digits")
    >>> made = distill(Pixels(iterations=30, image_lr=0.2), train, ipc=1)
    >>> bool((made.images[7] - train.batch(train.of_class(7)).mean(0)).abs().max() < 0.01)
    True
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    learns: ClassVar[str] = "images"  # what is optimised, in words
    default_init: ClassVar[str] = "noise"
    inits: ClassVar[tuple[str, ...]] = INITS
    small: ClassVar[Mapping[str, Any]] = {}  # options for small data that no paper has settings for, see `suited`
    tiny: ClassVar[Mapping[str, Any]] = {}  # and over those for images under 16x16 pixels
    parts: ClassVar[str] = ""  # of some of the classes: 'exact', as of all; 'task', as of data with no others; or not
    turns: ClassVar[str] = ""  # the field that sets `passes`, where there is one
    staged: ClassVar[bool] = False  # whether there is a `first_stage`
    judged_like: ClassVar[str] = "dsa"  # the method whose evaluation protocol is its own: dc, dsa, idc, frepo, ...
    inseparable: ClassVar[str] = ""  # why its loss is no sum over real samples, where that needs saying

    iterations: int
    image_lr: float
    image_momentum: float = 0.5
    batch: int = 256
    zca: str = "none"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls):
            protocols.METHODS.setdefault(cls.name, cls.judged_like)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool | str):
                continue
            counts = f.name in ("iterations", "batch") and f.default != 0  # 0 leaves it to the data
            if not math.isfinite(value) or value < 0 or (counts and value < 1):
                raise InputError(f"{self.name}: {f.name} = {value!r} is out of range (finite, not negative)")

    @abstractmethod
    def step(self, run: Run) -> float | Tensor:
        """One round: update `run.images`; returns the mean matching loss a class."""

    # Settings: what depends on the data, and what cannot work.

    def resolved(self, data: ImageData, ipc: int) -> Distiller:  # noqa: ARG002
        """The same method with every setting that depends on the data filled in: clips are not augmented."""
        return for_clips(self, data)

    def strategy(self, data: ImageData) -> str:  # noqa: ARG002
        """The augmentation under which it matches."""
        return "none"

    def network(self, data: ImageData) -> str:
        """The network for images [C, H, W] where none is asked for."""
        return default_network(data.shape, data.frames)

    def check(self, net: nn.Module) -> None:  # noqa: B027
        """Raise InputError if the method cannot work with a network like `net`."""

    def round_bytes(self, data: ImageData, ipc: int, spec: str) -> int:  # noqa: ARG002
        """About the memory that the graph of a round holds, where it is known before anything runs; else 0.

        Settings of the method are those for the data (`resolved`). `distill` refuses what is not free.
        """
        return 0

    def kept_bytes(self, data: ImageData, ipc: int) -> int:  # noqa: ARG002
        """About what the set keeps beside images and labels, where that is much; `distill` refuses what is not free."""
        return 0

    def smaller(self) -> str:
        """What makes `round_bytes` smaller."""
        return "a smaller ipc"

    def passes(self, ipc: int) -> int:  # noqa: ARG002
        """How often a round goes through the real batches; tells whether compiling pays."""
        return 1

    # The synthetic parameters: pixels, unless a method says otherwise.

    def formation(self) -> Formation:
        """How many training images a stored one stands for."""
        return Formation()

    def needs(self, ipc: int, init: str | None) -> int:
        """Samples that `init` (None: the method's own) takes from each class. Raises InputError for an unknown one."""
        if init is not None and init not in self.inits:
            raise InputError(f"init = {init!r} of {self.name!r}: must be one of {', '.join(self.inits)}")
        return 0 if (init or self.default_init) == "noise" else ipc

    def start(self, data: ImageData, ipc: int, init: str, rng: Generator, network: str) -> SyntheticSet:
        """The synthetic set before the first round."""
        return initial(data, ipc, init, rng, network=network)

    # What it keeps beside them: nothing, unless a method says otherwise.

    def first_stage(self, data: ImageData, spec: str) -> Stage | None:  # noqa: ARG002
        """What is made of real data before the rounds, such as experts; rounds find it as `run.stage`."""
        return None

    def prepare(self, run: Run) -> Stateful | None:  # noqa: ARG002
        """Before the first round: what the method keeps beside the images, which rounds find as `run.state`."""
        return None

    def learned(self, run: Run) -> dict[str, Any]:  # noqa: ARG002
        """After the last round: JSON values that the synthetic set keeps in its `meta`."""
        return {}

    def decoder(self, run: Run) -> Decoder | None:  # noqa: ARG002
        """What images are made from, where they are made from fewer numbers."""
        return None

    def result(self, run: Run, meta: dict[str, Any]) -> SyntheticSet:
        """The set that all rounds made. meta : how, for the set to keep."""
        data, images, decoder = run.data, run.images.detach(), self.decoder(run)
        if decoder:
            decoder = decoder.detached()
            images = decoder.decoded()
        made = SyntheticSet(
            images, run.labels.detach(), data.classes, data.mean, data.std, meta, self.formation(), data.whitening,
            decoder, frames=data.frames,
        )  # fmt: skip
        return replace(made, meta={**meta, "budget": made.budget}) if decoder else made


M = TypeVar("M", bound=Distiller)


def for_clips(method: M, data: ImageData) -> M:
    """The same method; on clips without the augmentation that it has by itself."""
    if data.frames > 1 and getattr(type(method), "augment", False) is True:
        return replace(method, augment=False)  # type: ignore[call-arg]
    check_augment(method, ("augment",), data)
    return method


def check_augment(method: Any, given: Container[str], data: ImageData) -> None:
    """Raise InputError where `augment` is among the options that were given, and is true, on clips.

    Of clips no augmentation is defined: the paper uses none on Kinetics-400 (supplement Sec. 6.6), and DSA's contrast
    goes by the mean of an image, of which a clip has several. Where `augment` is true by default it is false there.

    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import check_augment
    >>> train, _ = load("digits")
    >>> check_augment(make("dm"), {"augment": True}, train)  # images
    """
    if "augment" in given and data.frames > 1 and getattr(method, "augment", False) is True:
        raise InputError(f"{method.name}: augment = true: must be false on clips, of which none is defined")


def siamese_strategy(method: Any, data: ImageData) -> str:
    """DSA's augmentation, if `method.augment`; none of clips, see `check_augment`.

    >>> from bilp_core import load, make
    >>> from bilp_core.distillers.method import siamese_strategy
    >>> train, _ = load("digits")
    >>> siamese_strategy(make("dm"), train), siamese_strategy(make("dm", augment=False), train)
    ('color_crop_cutout_scale_rotate', 'none')
    """
    return dsa_strategy(data.flip) if for_clips(method, data).augment else "none"
