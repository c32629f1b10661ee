"""Clips from videos: which frames, exactly; every container; and what cannot be read, with the reason."""

import re
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from bilp_core.data import video
from bilp_core.errors import InputError

from .videos import noise, write

pytest.importorskip("av")
FRAMES = noise(80)


def which(path, frames=8):
    """The numbers of the frames of a clip, each of which has to be one of FRAMES, exactly."""
    found = video.clip(path, frames)
    assert not isinstance(found, str), found
    return [next(k for k, one in enumerate(FRAMES) if np.array_equal(one, np.asarray(image))) for image in found]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264rgb"), ("a.mov", "libx264rgb"), ("a.mkv", "ffv1"), ("a.avi", "ffv1"), ("a.webm", "libvpx-vp9")],
)
def test_every_container_gives_the_same_frames(name, codec, tmp_path):
    """Of 2 s, a clip of 2 s: 1/4 s apart, in the middle. mkv and webm declare no number of frames."""
    assert which(write(tmp_path / name, FRAMES[:16], codec=codec)) == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize(
    ("count", "rate", "frames", "expected"),
    [
        (80, 8, 8, [26, 30, 34, 38, 42, 46, 50, 54]),  # 10 s: 1/2 s apart, from 3.25 s
        (32, 8, 8, [2, 6, 10, 14, 18, 22, 26, 30]),  # 4 s
        (24, 8, 8, [5, 7, 9, 11, 13, 15, 17, 19]),  # 3 s: 1/4 s apart
        (12, 8, 8, [2, 3, 4, 5, 6, 7, 8, 9]),  # 1.5 s: 1/8 s apart, from 5/16 s: the earlier of two as near
        (18, 24, 8, [2, 4, 6, 8, 10, 12, 14, 16]),  # 3/4 s: 1/12 s apart
        (80, 8, 4, [28, 36, 44, 52]),  # 10 s, four frames over the same 4 s
        (32, 8, 16, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31]),
    ],
)
def test_which_frames(count, rate, frames, expected, tmp_path):
    assert which(write(tmp_path / "a.mp4", FRAMES[:count], rate), frames) == expected


def test_frames_go_by_their_times_and_not_by_their_numbers(tmp_path):
    """Nine frames in half a second, seven at the end of three: of the gap between there are none."""
    path = write(tmp_path / "a.mp4", FRAMES[:16], rate=16, times=[*range(9), *range(40, 47)])
    start, end, count, _ = video._times(video.reader(), path)
    assert (start, end, count) == (0, Fraction(47, 16), 16)
    assert which(path) == [8, 8, 8, 8, 9, 9, 9, 9]


def test_odd_sizes(tmp_path):
    odd = noise(16, 47, 63)
    found = video.clip(write(tmp_path / "a.mkv", odd, codec="ffv1"))
    assert all(np.array_equal(image, odd[k]) for image, k in zip(found, range(1, 16, 2), strict=True))


def test_a_turned_video_is_turned(tmp_path):
    """As a telephone writes it that is held upright: the matrix of the track says a quarter to the right."""
    content = bytearray(write(tmp_path / "a.mp4", FRAMES[:16]).read_bytes())
    place = content.find(b"tkhd") + 44
    assert struct.unpack(">9i", content[place : place + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(content)
    turned = [np.asarray(frame) for frame in video.clip(tmp_path / "b.mp4")]
    assert turned[0].shape == (64, 48, 3)
    assert np.array_equal(turned[0], np.rot90(FRAMES[1], -1))


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def sound(path):
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        for packet in [*stream.encode(frame), *stream.encode()]:
            file.mux(packet)
    return path


def text(path, content):
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda p: text(p / "a.mp4", ""), "the file is empty"),
        (lambda p: text(p / "a.mp4", "no video at all\n" * 20), "Invalid data found"),
        (lambda p: sound(p / "a.mp4"), r"no pictures in it \(only sound\)"),
        (lambda p: write(p / "a.mp4", FRAMES[:1]), r"too short: 1 frames in 0.12 s; at least 8 in 0.67 s"),
        (lambda p: write(p / "a.mp4", FRAMES[:7], rate=4), r"too short: 7 frames in 1.8 s"),
        (lambda p: write(p / "a.mp4", FRAMES[:16], rate=30), r"too short: 16 frames in 0.53 s"),
        (lambda p: cut(write(p / "a.mp4", FRAMES[:16]), 0.5), "Invalid data found"),
        (lambda p: cut(write(p / "a.mp4", FRAMES[:16], movflags="faststart"), 0.5), "after 1 s of the 2 s .* cut off"),
        (lambda p: cut(write(p / "a.mkv", FRAMES[:16], codec="ffv1"), 0.5), "of the 2 s that it declares: it was cut"),
        # what names other files is not opened
        (lambda p: text(p / "a.mp4", f"#EXTM3U\n#EXTINF:2,\n{write(p / 'b.mp4', FRAMES[:16])}\n#EXT-X-ENDLIST\n"), "."),
        (lambda p: text(p / "a.mp4", f"ffconcat version 1.0\nfile {write(p / 'b.mp4', FRAMES[:16]).name}\n"), "."),
    ],
)  # fmt: skip
def test_what_cannot_be_read(made, message, tmp_path):
    found = video.clip(made(tmp_path))
    assert isinstance(found, str)
    assert re.search(message, found)
    assert str(tmp_path) not in found


def test_who_lacks_the_extra_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r'not installed: pip install "bilp-book\[video\]"'):
        video.clip(tmp_path / "a.mp4")
