"""The state of a distillation, kept in a file from which a stopped one goes on."""

import pickle
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from .. import __version__
from ..nets import speed
from ..utils.files import Unfinished, atomic, key
from ..utils.revisions import revision

FORMAT = 3  # raised when a state would no longer lead to what this library gives
EVERY = 60.0  # seconds between two states, at least
SHARE = 0.05  # of the time, at most, for keeping them


class State:
    """Where the state of one distillation is kept.

    unfinished : the place for it; without one nothing is kept.
    settings : all that decides the result, JSON values; a change of one starts anew.
    Several processes may do the same distillation: whatever state is found is one that each of them comes through.
    """

    def __init__(self, unfinished: Unfinished | None, settings: Mapping[str, Any]) -> None:
        versions = [__version__, revision("core"), torch.__version__]
        about = {"format": FORMAT, "versions": versions, "speed": speed.mode(), **settings}
        self.path = unfinished.path(f"distillation-{key(about)}.pt") if unfinished else None
        self.start = self.mark = time.perf_counter()
        self.pause, self.earlier = EVERY, 0.0

    @property
    def seconds(self) -> float:
        """What it has taken so far, with what was done before it was stopped."""
        return self.earlier + time.perf_counter() - self.start

    def load(self) -> dict[str, Any] | None:
        """The state it was stopped in, None if there is none; a damaged file is told of and counts as none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            self.earlier = float(found["seconds"])
            return found["state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            warnings.warn(f"{self.path} is damaged ({error}): the distillation starts anew", stacklevel=3)
            return None

    def due(self) -> bool:
        return self.path is not None and time.perf_counter() - self.mark >= self.pause

    def save(self, state: Mapping[str, Any]) -> None:
        """state : tensors, numbers and texts in lists and mappings."""
        assert self.path is not None
        begin = time.perf_counter()
        with atomic(self.path) as path:
            torch.save({"state": state, "seconds": self.seconds}, path)
        self.mark = time.perf_counter()
        self.pause = max(EVERY, (self.mark - begin) / SHARE)
