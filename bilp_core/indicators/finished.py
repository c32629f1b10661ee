"""Finished trials of an indicator, from which the same job goes on where it was stopped, or one with more trials."""

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
Part = Mapping[str, Tensor]


class Finished:
    """The parts of one job, its trials: part k is a few named tensors on the CPU, with the `seconds` they took.

    kept     : the place for them, one file each; without one they are held in memory only.
    settings : all that decides the numbers of a part, JSON values; not how many parts there are to be.
    given    : parts that are there already.
    Several processes may work on the same job; files are written whole, and a damaged one counts as absent.
    """

    def __init__(
        self,
        kept: Unfinished | None = None,
        settings: Mapping[str, Any] | None = None,
        given: Mapping[int, Part] | None = None,
    ) -> None:
        versions = [__version__, revision("core"), torch.__version__]
        about = {"format": FORMAT, "versions": versions, "speed": speed.mode(), **(settings or {})}
        self.key = key(about)
        self.folder = kept.path(self.key) if kept else None
        self.start = self.mark = time.perf_counter()
        self.earlier = 0.0
        self.given, self.parts = given or {}, dict[int, Part]()  # those that were asked for or made
        self.learned: float | None = None  # accuracy on the training data at the end, the mean over parts

    @property
    def seconds(self) -> float:
        """What the job has taken so far, with those parts that were made before, or by another process."""
        return self.earlier + time.perf_counter() - self.start

    def get(self, part: int) -> Part | None:
        if part not in self.parts:
            found = self.given.get(part) or self._read(part)
            if found is None:
                return None
            self.earlier += float(found["seconds"])
            self.parts[part] = found
        return self.parts[part]

    def _read(self, part: int) -> Part | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(self.folder / f"{part}.safetensors") if self.folder else None
        except (OSError, SafetensorError):
            return None
        return found if found and "seconds" in found else None

    def put(self, parts: Mapping[int, Part]) -> None:
        """Parts that were made together, since the last ones."""
        now = time.perf_counter()
        took, self.mark = torch.tensor((now - self.mark) / len(parts)), now
        for part, tensors in parts.items():
            self.parts[part] = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()} | {"seconds": took}
            self._write(part)

    def _write(self, part: int) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self.folder:
            return
        try:
            with atomic(self.folder / f"{part}.safetensors") as path:
                save_file(dict(self.parts[part]), path)
        except (FileNotFoundError, SafetensorError):
            if self.folder.exists():  # else another process has cleared it
                raise
