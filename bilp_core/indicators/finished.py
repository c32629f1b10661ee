"""Finished parts of a long job, one file each, so that a stopped job goes on where it was."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..nets import speed
from ..utils.files import Unfinished, atomic, key
from ..utils.revisions import revision

FORMAT = 2  # raised when a part's numbers would no longer be what this library gives


class Finished:
    """The parts of one job: part k is a few named tensors, and the seconds they took.

    unfinished : the place for them; without one nothing is kept.
    settings : all that decides the numbers, JSON values.
    Several processes may work on the same job; files are written whole, and a damaged one counts as absent.
    """

    def __init__(self, unfinished: Unfinished | None = None, settings: Mapping[str, Any] | None = None) -> None:
        versions = [__version__, revision("core"), torch.__version__]
        about = {"format": FORMAT, "versions": versions, "speed": speed.mode(), **(settings or {})}
        self.folder = unfinished.path(key(about)) if unfinished else None
        self.start = self.mark = time.perf_counter()
        self.earlier = 0.0
        self.learned: float | None = None  # accuracy on the training data at the end, the mean over parts

    @property
    def seconds(self) -> float:
        """What the job has taken so far, with those parts that were made before, or by another process."""
        return self.earlier + time.perf_counter() - self.start

    def get(self, part: int) -> dict[str, Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(self.folder / f"{part}.safetensors") if self.folder else None
        except (OSError, SafetensorError):
            return None
        if found is not None:
            self.earlier += float(found.pop("seconds", 0.0))
        return found

    def put(self, part: int, tensors: Mapping[str, Tensor]) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self.folder:
            return
        now = time.perf_counter()
        took, self.mark = torch.tensor(now - self.mark), now
        try:
            with atomic(self.folder / f"{part}.safetensors") as path:
                kept = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
                save_file({**kept, "seconds": took}, path)
        except (FileNotFoundError, SafetensorError):
            if self.folder.exists():  # else another process was quicker with the job, and has cleared it
                raise
