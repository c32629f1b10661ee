"""A large data set that is made up, slowly: for processes that are killed in the middle of decoding it."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilp_core.data.large import BLOCK, Half, Source

SHAPE = (3, 2, 2)


def image(index: int) -> np.ndarray:
    return ((np.arange(12) * 7 + index * 13) % 251).astype(np.uint8).reshape(SHAPE)


@dataclass(frozen=True)
class Slow:
    """A `Part` that notes each block it gives out in a file. every : so manieth image cannot be read; 0: all can."""

    rows: np.ndarray
    log: str
    seconds: float
    every: int = 0

    def read(self, blocks):
        for block in blocks:
            time.sleep(self.seconds)
            with Path(self.log).open("a") as file:
                file.write(f"{self.rows[0]} {block}\n")
            rows = self.rows[block * BLOCK : (block + 1) * BLOCK]
            bad = {f"made/{row}": "it is made up" for row in rows.tolist() if self.every and row % self.every == 1}
            pixels = [np.zeros(SHAPE, np.uint8) if f"made/{row}" in bad else image(row) for row in rows.tolist()]
            yield block, np.stack(pixels), bad


def source(log: str, seconds: float = 0.0, count: int = 20 * BLOCK + 17, every: int = 0) -> Source:
    def half(size: int) -> Half:
        names = np.array([f"made/{index}" for index in range(size)])
        parts = [Slow(rows, log, seconds, every) for rows in np.array_split(np.arange(size), 3)]
        return Half(np.arange(size) * 2 // size, names, parts)

    return Source(("a", "b"), SHAPE, half(count), half(10), {"from": "a formula"}, skips=bool(every))
