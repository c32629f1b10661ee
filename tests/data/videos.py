"""Small videos of true formats, written by PyAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np


def write(path: Path, frames: np.ndarray, rate: int = 8, codec: str = "libx264rgb", times=None, **options: str) -> Path:
    """frames : uint8 [T, H, W, 3], sides even; x264 and ffv1 lose nothing. times : when each is shown, in 1/rate s."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = {"libx264rgb": "rgb24", "ffv1": "bgr0", "libvpx-vp9": "gbrp", "mpeg4": "yuv420p"}[codec]
        stream.options = {"libx264rgb": {"qp": "0"}, "libvpx-vp9": {"lossless": "1"}}.get(codec, {})
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, rate)
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path


def noise(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def moving(rng: np.random.Generator, direction: int, count: int = 16, side: int = 16) -> np.ndarray:
    """A bright square near the top that goes to the right (1) or to the left (-1) around the edge: a frame alone does
    not tell which."""
    frames = np.full((count, side, side, 3), 40, np.uint8) + rng.integers(0, 20, (count, side, side, 3), dtype=np.uint8)
    top, left, ink = rng.integers(0, 3), rng.integers(0, side), rng.integers(200, 256, 3)
    for t, frame in enumerate(frames):
        columns = (left + direction * t + np.arange(5)) % side
        frame[top : top + 5, columns] = ink
    return frames
