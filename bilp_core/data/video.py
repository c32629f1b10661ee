"""From a video to the frames of one clip, by PyAV (extra `video`): which frames is our own rule, the same for every
container and codec.

The clip lies in the middle of the video. Its frames are the ones nearest, by the time at which they are shown, to times
1/2 s apart; 1/4 s in videos shorter than 4 s, 1/8 s below 2 s, 1/12 s below 1 s. Clips of other than 8 frames span the
same time.
Source: rates and middle as in the code of Wang et al., Dancing with Still Images, CVPR 2024, where the first frame is
wanted at the middle less half the length of the clip; here all are half a step later, evenly about the middle.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError

READ = {  # no container that may name other files, such as a playlist, is opened
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "file",
}
RATES = ((1, 12), (2, 8), (4, 4))  # below so many seconds, frames a second of a clip of 8
USUAL, SLOWEST = 8, 2
CUT = Fraction(9, 10)  # of the length that a file declares: with less it was cut off


def reader() -> Any:
    """PyAV. Raises InputError that says how to get it."""
    try:
        return importlib.import_module("av")
    except ImportError:
        raise InputError('videos are read by PyAV, which is not installed: pip install "bilp-book[video]"') from None


def wanted(start: Fraction, end: Fraction, frames: int) -> list[Fraction]:
    """When the frames of the clip of a video should be shown, in seconds; it is shown from `start` to `end`.

    >>> from fractions import Fraction
    >>> from bilp_core.data.video import wanted
    >>> [float(time) for time in wanted(Fraction(0), Fraction(10), 8)]
    [3.25, 3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75]
    >>> [float(time) for time in wanted(Fraction(0), Fraction(2), 4)]  # half as many a second, over the same 2 s
    [0.25, 0.75, 1.25, 1.75]
    """
    rate = next((rate for most, rate in RATES if end - start < most), SLOWEST) * Fraction(frames, USUAL)
    return [(start + end) / 2 + (k - Fraction(frames - 1, 2)) / rate for k in range(frames)]


def clip(path: Path, frames: int = USUAL) -> list[Image.Image] | str:
    """The frames of the clip of a video, in colour, turned as the file says; or why there are none.

    Raises InputError where PyAV is not installed.
    """
    av = reader()
    try:
        if not path.stat().st_size:
            return "the file is empty"
        times = _times(av, path)
        if isinstance(times, str):
            return times
        start, end, count, cut = times
        shortest = Fraction(USUAL, RATES[0][1])
        if cut:
            return (
                f"it ends after {float(end - start):.3g} s of the {float(cut):.3g} s that it declares: it was cut off"
            )
        if count < frames or end - start < shortest:
            return (
                f"too short: {count} frames in {float(end - start):.2g} s; at least {frames} in {float(shortest):.2g} s"
            )
        return _nearest(av, path, wanted(start, end, frames))
    except Exception as error:  # PyAV's readers raise many kinds on damaged files
        return str(getattr(error, "strerror", "") or error).replace(str(path), "it") or type(error).__name__


def _times(av: Any, path: Path) -> tuple[Fraction, Fraction, int, Fraction | None] | str:
    """Of the pictures in a file: when the first is shown, when the last one ends, and how many there are, without
    decoding any; and the length that it declares, where far less is there. Or why there are none.

    Counts in headers are not used: of mkv and webm they are 0.
    """
    with av.open(str(path), options=READ) as file:
        if not file.streams.video:
            return "no pictures in it" + " (only sound)" * bool(file.streams.audio)
        stream = file.streams.video[0]
        shown = [
            (packet.dts if packet.pts is None else packet.pts, packet.duration or 0)
            for packet in file.demux(stream)
            if packet.size and not packet.is_discard and not (packet.pts is None and packet.dts is None)
        ]
        if not shown:
            return "no pictures in it"
        first, last = min(shown)[0], max(shown)[0]
        gap = Fraction(last - first, max(len(shown) - 1, 1))  # stands for the duration of the last where none is said
        start = first * stream.time_base
        end = (last + (dict(shown)[last] or gap)) * stream.time_base
        declared = None
        if stream.duration:
            declared = stream.duration * stream.time_base
        elif file.duration and len(file.streams) == 1:
            declared = Fraction(file.duration, av.time_base)
        return start, end, len(shown), declared if declared and end - start < CUT * declared else None


def _nearest(av: Any, path: Path, times: Sequence[Fraction]) -> list[Image.Image] | str:
    """The frames shown nearest to ascending times; of two that are as near the earlier."""
    best: list[tuple[Fraction, Any] | None] = [None] * len(times)
    with av.open(str(path), options=READ) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1  # files are read side by side instead
        for frame in file.decode(stream):
            if frame.width * frame.height > (Image.MAX_IMAGE_PIXELS or np.inf):
                return f"more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels"
            if frame.pts is None:
                continue
            now = frame.pts * frame.time_base
            for k, time in enumerate(times):
                before = best[k]
                if before is None or abs(now - time) < before[0]:
                    best[k] = abs(now - time), frame
            if now >= times[-1]:
                break
        found = [one[1] for one in best if one]
        if len(found) < len(times):
            return "none of its pictures can be decoded"
        if any(frame.is_corrupt for frame in found):
            return "some of its pictures are damaged"
        return [_turned(frame) for frame in found]


def _turned(frame: Any) -> Image.Image:
    """As it is to be shown: cameras store the angle by which it is to be turned, counter-clockwise."""
    angle = round(getattr(frame, "rotation", 0)) % 360
    image: Image.Image = frame.to_image()
    return image.rotate(angle, expand=True) if angle in (90, 180, 270) else image
