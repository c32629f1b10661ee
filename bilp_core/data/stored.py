"""Images that stay on the disk: read by index when they are asked for, so that a run holds only what it touches."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .rows import layout, runs

GPU_SHARE = 0.4  # of a GPU's free memory that images may take to be kept there: a subset of them is a copy


class Stored:
    """Images [N, C, H, W] of a file, which are read where a tensor would be indexed; never all of them at once.

    path : an .npy, uint8 [M, C, H, W]. rows : which of its images, int64 [N]; None: all, in order.
    device : where images go that have been read.
    It has of a tensor what `ImageData` needs. The file is read and not mapped: what was read does not stay in the
    memory of the process, and a file that became shorter is an error and no dead process.
    Raises InputError for a file that is damaged, or of something else.

    >>> import numpy as np
    >>> import torch
    >>> from bilp_core.data import Stored
    >>> np.save("images.npy", np.arange(5, dtype=np.uint8).repeat(12).reshape(5, 3, 2, 2))
    >>> images = Stored("images.npy")
    >>> images.shape, images[torch.tensor([4, 0])][:, 0, 0, 0].tolist()
    (torch.Size([5, 3, 2, 2]), [4, 0])
    >>> few = images.take(torch.tensor([1, 3]))  # a list of rows, no copy
    >>> [part[:, 0, 0, 0].tolist() for part in few.split(1)]
    [[1], [3]]
    """

    dtype, ndim = torch.uint8, 4

    def __init__(
        self,
        path: str | Path,
        rows: Annotated[Tensor, "int64 [N]"] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.path, self.rows, self.device = Path(path), rows, torch.device(device)
        shape, kind, self._start = layout(self.path)
        if kind != np.uint8 or len(shape) != 4:
            raise InputError(f"{path} holds {kind} {list(shape)}: must be uint8 [N, C, H, W]")
        self._file, self._lock = self.path.open("rb", buffering=0), Lock()
        weakref.finalize(self, self._file.close)
        self.shape = torch.Size((shape[0] if rows is None else len(rows), *shape[1:]))

    @property
    def nbytes(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Tensor | slice) -> Annotated[Tensor, "uint8 [n, C, H, W]"]:
        """The images at indices, int64 [n], or of a slice."""
        rows = self._rows(key)
        found = torch.empty(len(rows), *self.shape[1:], dtype=torch.uint8)
        pixels = found.view(-1).numpy().data
        size = self.shape[1:].numel()
        with self._lock:
            for place, row, count in runs(rows):
                self._read(row * size, pixels[place * size : (place + count) * size])
        return found.to(self.device)

    def split(self, size: int) -> Iterator[Annotated[Tensor, "uint8 [n, C, H, W]"]]:
        """All images in their order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def take(self, indices: Annotated[Tensor, "int64 [n]"]) -> Stored:
        """Some of the images, on the disk as they are."""
        return Stored(self.path, torch.from_numpy(self._rows(indices)), self.device)

    def to(self, device: torch.device | str) -> Tensor | Stored:
        """For a GPU with room for all of them, a tensor there; else the same images, read for another device."""
        device = torch.device(device)
        if device.type != "cuda" or self.nbytes > GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            return Stored(self.path, self.rows, device)
        whole, done = torch.empty(self.shape, dtype=torch.uint8, device=device), 0
        for part in Stored(self.path, self.rows).split(1000):
            whole[done : done + len(part)] = part.to(device)
            done += len(part)
        return whole

    def _rows(self, key: Tensor | slice) -> np.ndarray:
        if isinstance(key, slice):
            picked = np.arange(*key.indices(len(self)))
        else:
            picked = key.cpu().numpy().astype(np.int64)
            if len(picked) and not (-len(self) <= picked.min() and picked.max() < len(self)):
                raise IndexError(f"index out of range for {len(self)} images")
            picked = np.where(picked < 0, picked + len(self), picked)
        return picked if self.rows is None else self.rows.numpy()[picked]

    def _read(self, start: int, into: memoryview) -> None:
        self._file.seek(self._start + start, os.SEEK_SET)
        while len(into):
            count = self._file.readinto(into)
            if not count:
                raise InputError(f"{self.path} became shorter while it was read: it is damaged")
            into = into[count:]
