"""Four goals that were set for one card such as an H100, timed at CIFAR-10's shapes, 50,000 images of random numbers.

Methods and the indicator have their default settings for CIFAR-10, and BILP_SPEED is `auto`, as it is by default. After
a warm-up some rounds (epochs, of the indicator) are timed, from which a whole run follows: its rounds are alike. Where
it takes at most a quarter of the time that is left, it is run and timed instead, from the data on the card to the
result.

On a CPU tiny data rehearse what happens, never a whole run, and no goal is said to hold.
"""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch

from bilp_core.data import ImageData
from bilp_core.distillers import Run, distill, make
from bilp_core.indicators import scored
from bilp_core.nets import speed

LEAST = 60.0  # seconds that a goal should have
SHARE, MARGIN = 0.25, 1.3  # of the time that is left, for a whole run; by which rounds may mislead
WARM = 2


@dataclass(frozen=True)
class Shapes:
    """Of the data, and for how many seconds rounds are timed. network : the default if None."""

    side: int = 32
    classes: int = 10
    each: int = 5000
    seconds: float = 10.0
    share: float = SHARE
    network: str | None = None

    def images(self, device: str) -> ImageData:
        rng = torch.Generator().manual_seed(0)
        labels = torch.arange(self.classes * self.each) % self.classes
        pixels = torch.randint(0, 256, (len(labels), 3, self.side, self.side), generator=rng, dtype=torch.uint8)
        names, grey = tuple(map(str, range(self.classes))), ((0.5,) * 3, (0.25,) * 3)
        return ImageData(pixels, labels, names, *grey, "random", named="cifar10").to(device)


FULL = Shapes()
TINY = Shapes(side=8, classes=2, each=16, seconds=0.1, share=0.0, network="convnet:depth=1,width=4")


class Distilling:
    """Rounds of a method at an IPC."""

    unit = "rounds"

    def __init__(self, data: ImageData, network: str | None, name: str, ipc: int, options: dict[str, Any]) -> None:
        self.data, self.network, self.ipc = data, network, ipc
        self.method = make(name, **options).resolved(data, ipc)
        self.units, rng = self.method.iterations, torch.Generator(data.device).manual_seed(0)
        spec = network or self.method.network(data)
        start = self.method.start(data, ipc, self.method.default_init, rng, spec)
        self.run = Run(self.method, data, start, spec, rng)
        self.run.state = self.method.prepare(self.run)

    def some(self, count: int) -> None:
        for _ in range(count):
            self.method.step(self.run)

    def whole(self) -> None:
        distill(self.method, self.data, self.ipc, network=self.network)


class Scoring:
    """Epochs of the loss indicator, five trials at once."""

    unit, units = "epochs", 5

    def __init__(self, data: ImageData, network: str | None) -> None:
        self.data, self.own = data, {"trials": 5, **({"network": network} if network else {})}

    def some(self, count: int) -> None:
        scored(self.data, "loss", epochs=count, **self.own)

    def whole(self) -> None:
        self.some(self.units)


@dataclass(frozen=True)
class Goal:
    """seconds : the goal. options : of the method, in place of its defaults; none but in tests."""

    name: str
    seconds: float
    method: str = ""
    ipc: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def work(self, data: ImageData, network: str | None) -> Distilling | Scoring:
        return Distilling(data, network, self.method, self.ipc, self.options) if self.method else Scoring(data, network)


GOALS = (
    Goal("loss, 5 trials of 5 epochs", 15.0),
    Goal("dc, IPC 1", 10.0, "dc", 1),
    Goal("dc, IPC 10", 240.0, "dc", 10),
    Goal("dm, IPC 10", 120.0, "dm", 10),  # the goal names no IPC; real images are most of the work
)


def measured(goal: Goal, device: str, left: Callable[[], float], shapes: Shapes | None = None) -> dict[str, Any]:
    """A row: name, goal and seconds, how they were found, and whether the goal holds, None where that says nothing."""
    shapes = shapes or (FULL if device == "cuda" else TINY)
    row: dict[str, Any] = {"name": goal.name, "goal": goal.seconds}
    try:
        with mock.patch.dict(os.environ, BILP_SPEED="auto"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of random data nothing can be learned
            speed.prepare(device)
            seconds, how = _timed(goal.work(shapes.images(device), shapes.network), device, left, shapes)
    except Exception as error:  # the others are still to be timed
        return row | {"note": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    holds = seconds <= goal.seconds if device == "cuda" and shapes == FULL else None
    return row | {"seconds": round(seconds, 3), "how": how, "holds": holds}


def _timed(work: Distilling | Scoring, device: str, left: Callable[[], float], shapes: Shapes) -> tuple[float, str]:
    """Seconds of a whole run, and how they were found."""
    for _ in range(WARM):
        one = _seconds(lambda: work.some(1), device)
    count = max(1, min(work.units, int(shapes.seconds / one)))
    seconds = _seconds(lambda: work.some(count), device) * work.units / count
    if seconds * MARGIN > shapes.share * left():
        return seconds, f"from {count} {work.unit} of {work.units}"
    return _seconds(work.whole, device), "a whole run"


def _seconds(work: Callable[[], object], device: str) -> float:
    """Until the card has done all of it."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun
