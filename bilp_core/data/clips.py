"""Clips from videos, or from folders of their frames, as parts of a large data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .decoding import opened
from .large import BLOCK
from .listing import EXTENSIONS, natural
from .video import clip

AT_ONCE = 1 << 26  # bytes of clips that a process holds: it decodes no more of them together


@dataclass(frozen=True)
class Clips:
    """A `Part`. home : a folder. names : of videos in it, or of folders of as many frames as a clip has.

    frames, side : of a clip, pixels. squeezed : whole frames are made square; else their short side is resized and the
    centre cut out.
    """

    home: str
    names: np.ndarray
    rows: np.ndarray
    frames: int
    side: int
    squeezed: bool

    def read(self, blocks: Sequence[int]) -> Iterator[tuple[int, np.ndarray, dict[str, str]]]:
        for block in blocks:
            names = self.names[block * BLOCK : (block + 1) * BLOCK].tolist()
            pixels, bad = np.zeros((len(names), *shape_of(self.frames, self.side)), np.uint8), dict[str, str]()
            for name, place in zip(names, pixels, strict=True):
                path = Path(self.home, name)
                found = frames_of(path, self.frames) if path.is_dir() else clip(path, self.frames)
                if isinstance(found, str):
                    bad[name] = found
                else:
                    place[:] = np.concatenate([self._fitted(frame) for frame in found])
            yield block, pixels, bad

    def _fitted(self, frame: Image.Image) -> np.ndarray:
        """uint8 [3, side, side]."""
        square = (self.side, self.side)
        if frame.size != square:
            bicubic = Image.Resampling.BICUBIC
            frame = frame.resize(square, bicubic) if self.squeezed else ImageOps.fit(frame, square, bicubic)
        return np.asarray(frame).transpose(2, 0, 1)


def shape_of(frames: int, side: int) -> tuple[int, int, int]:
    """Of a clip in colour, as an image: (C, H, W)."""
    return frames * 3, side, side


def clips(home: Path, names: np.ndarray, frames: int, side: int, *, squeezed: bool) -> list[Clips]:
    """The parts of a half. names : as of `Clips`, in the order of its rows.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> from bilp_core.data.clips import clips
    >>> names = np.array(["run/1.mp4", "run/2.mp4", "walk/1.mp4"])
    >>> [part.rows.tolist() for part in clips(Path("own"), names, 8, 1024, squeezed=False)]  # of 25 MB each
    [[0, 1], [2]]
    """
    each = max(1, min(BLOCK, AT_ONCE // int(np.prod(shape_of(frames, side)))))
    cut = np.split(np.arange(len(names)), range(each, len(names), each)) if len(names) else []
    return [Clips(str(home), names[rows], rows, frames, side, squeezed) for rows in cut]


def frames_of(folder: Path, count: int) -> list[Image.Image] | str:
    """The frames of a clip from a folder that has each as a file, in the order of their names (2 before 10); or why
    there are none."""
    try:
        names = sorted((path.name for path in folder.iterdir() if is_image(path.name)), key=natural)
    except OSError as error:
        return str(error.strerror)
    if len(names) != count:
        return f"{len(names)} frames, not {count}"
    found = []
    for name in names:
        one = opened(folder / name, None)
        if isinstance(one, str) or one.top:
            return f"{name}: {one if isinstance(one, str) else 'more than 8 bits a sample'}"
        found.append(Image.fromarray(one.pixels).convert("RGB"))
    return found


def is_image(name: str) -> bool:
    """By its name."""
    return Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")
