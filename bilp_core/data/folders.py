"""A folder of images, decoded into arrays."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..utils.files import atomic
from ..utils.progress import Report
from .cache import cache_home
from .decoding import Picture, decoded, depth_of, scaled
from .images import measured
from .listing import LEAST, VIDEOS, Listing, listing, shared
from .video import USUAL, reader

READER = 2  # raised when the same files would give other pixels
SETTLED = 2_000_000_000  # nanoseconds after which a change would show in a file's times
SHOWN = 5  # unreadable files that a message names


@dataclass(frozen=True)
class Reading:
    """How a folder is read.

    size : pixels; short side resized to it, centre cropped. None: all images have one size already.
    depth : bits of the samples of 16-bit images; None: as the files declare, else the fewest that hold all values.
    recursive : take images in sub-folders of a class. skip_bad : leave out images that cannot be read.
    test_share, seed : make a test half of so large a share of each class, where the folder has none.
    frames : of the clip that is taken of a video, see `bilp_core.data.video`; None: 8.
    """

    size: int | None = None
    depth: int | None = None
    recursive: bool = False
    skip_bad: bool = False
    test_share: float = 0.0
    seed: int = 0
    frames: int | None = None

    def listed(self, root: Path) -> Listing:
        found = listing(root, recursive=self.recursive)
        return shared(found, self.test_share, self.seed) if self.test_share else found

    def check(self, found: Listing) -> None:
        """Raise InputError for what cannot be done with videos, or with images."""
        if not found.videos:
            if self.frames is not None:
                raise InputError(f"frames = {self.frames}: is of videos, and {found.root} holds images")
            return
        reader()
        if self.size is None:
            raise InputError(f"{found.root} holds videos: give the size of their clips in pixels, such as --size 64")
        if self.frames is not None and not 2 <= self.frames <= 64:
            raise InputError(f"frames = {self.frames}: must be from 2 to 64")

    def length(self, found: Listing) -> int:
        """Frames of a sample."""
        return (self.frames or USUAL) if found.videos else 1


def folder_identity(root: Path, reading: Reading) -> str:
    """Stands for the content of a folder's files, their places, and how they are read: 64 hexadecimal digits."""
    return _identity(reading.listed(root), reading)


def read_folder(
    root: Path, reading: Reading, need: Sequence[str] = (), progress: Report | None = None
) -> tuple[str, Callable[[], dict[str, Any]]]:
    """The identity of the folder and the function that decodes it.

    need : the halves that must be there, 'train', 'test' or both.
    Raises InputError for a missing half, an empty class, a class in one half only; the function raises it for
    unreadable images, unless they are to be skipped, and for mixed sizes when no size is given.
    """
    found = reading.listed(root)
    reading.check(found)
    for half in need:
        if not getattr(found, half):
            remedy = "add test/<class>/*, or make one of training images: --test-share 0.2"
            raise InputError(f"{root} has no {half} half: {remedy if half == 'test' else 'add train/<class>/*'}")
    if found.train and not reading.skip_bad:
        _check_counts(found)
    identity = _identity(found, reading)

    def decode() -> dict[str, Any]:
        made = _decode(found, reading, progress)
        if _identity(found, reading) != identity:  # else it would be kept as what it no longer is
            raise InputError(f"{root} was changed while it was read: run the command again")
        return made

    return identity, decode


def _check_counts(found: Listing) -> None:
    for name, files in found.train.items():
        if len(files) < LEAST:
            raise InputError(
                f"{found.root / 'train' / name} holds {'one image' if files else 'no image that can be read'}: a class "
                f"needs at least {LEAST} to train on"
            )


def _identity(found: Listing, reading: Reading) -> str:
    digests = _digests(found.root, found.files())
    halves = {
        label: {name: [(file, digests[file]) for file in files] for name, files in half.items()}
        for label, half in (("train", found.train), ("test", found.test))
    }
    settings = {k: v for k, v in asdict(reading).items() if k not in ("test_share", "seed", "recursive", "frames")}
    if found.videos:
        settings["frames"] = reading.length(found)
    return hashlib.sha256(json.dumps([READER, settings, halves]).encode()).hexdigest()


def _digests(root: Path, files: list[str]) -> dict[str, str]:
    """SHA-256 of each file; computed again only where size, times or inode changed since the last time."""
    known_path = cache_home() / "digests" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.json"
    try:
        known = json.loads(known_path.read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        known = {}

    def digest(file: str) -> tuple[str, list[Any]]:
        try:
            about = (root / file).stat()
            mark = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
            before = known.get(file)
            if before and before[:-1] == mark:
                return file, before
            with (root / file).open("rb") as opened:
                return file, [*mark, hashlib.file_digest(opened, "sha256").hexdigest()]
        except OSError as error:  # what it is, is said when it is decoded
            return file, [0, 0, 0, 0, f"unreadable: {error.strerror}"]

    begin = time.time_ns()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        now = dict(pool.map(digest, files))
    # a file that was changed just now could be changed again without a sign of it: clocks of file systems are coarse
    settled = {file: row for file, row in now.items() if row[2] < begin - SETTLED}
    if settled != known:
        with atomic(known_path) as path:
            path.write_text(json.dumps(settled), "utf-8", "surrogateescape")
    return {file: row[-1] for file, row in now.items()}


def survey(
    root: Path, reading: Reading, progress: Report | None = None
) -> tuple[Listing, dict[str, Picture], dict[str, str]]:
    """The listing of a folder, its pictures, and the reasons why others cannot be read, by file."""
    found = reading.listed(root)
    reading.check(found)
    files = found.files()
    results, _ = decoded([root / file for file in files], reading.size, progress, reading.length(found))
    pictures = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, Picture)}
    bad = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, str)}
    return found, pictures, bad


def _decode(found: Listing, reading: Reading, progress: Report | None) -> dict[str, Any]:
    files = found.files()
    results, _ = decoded([found.root / file for file in files], reading.size, progress, reading.length(found))
    pictures = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, Picture)}
    bad = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, str)}
    if bad and not reading.skip_bad:
        raise InputError(unreadable(found.root, bad))
    return assembled(found.without(bad), pictures, reading, bad)


def unreadable(root: Path, bad: Mapping[str, str]) -> str:
    """What to say of images that cannot be read."""
    if len(bad) == 1:
        ((file, why),) = bad.items()
        kind = "a video" if Path(file).suffix.lower() in VIDEOS else "an image"
        return f"{root / file} cannot be read as {kind} ({why}): repair or remove it, or leave it out (--skip-bad)"
    lines = [f"  {file}: {why}" for file, why in list(bad.items())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more: `bilp data check` lists all")
    return "\n".join(
        [f"{len(bad)} images in {root} cannot be read: repair or remove them, or leave them out (--skip-bad)", *lines]
    )


def assembled(
    found: Listing, pictures: Mapping[str, Picture], reading: Reading, bad: Mapping[str, str]
) -> dict[str, Any]:
    """Arrays of both halves, the names of their files, and what was decided."""
    if found.train:
        _check_counts(found)
    for label, half in (("train", found.train), ("test", found.test)):
        for name, files in half.items():
            if not files:
                raise InputError(f"{found.root}: class {name!r} has no readable image in its {label} half")
    used = found.files()
    _check_sizes(found.root, {file: pictures[file].pixels.shape[:2] for file in used})
    depth = depth_of([pictures[file] for file in used], reading.depth)
    channels = max(pictures[file].pixels.shape[2] if pictures[file].pixels.ndim == 3 else 1 for file in used)
    made: dict[str, Any] = {"classes": list(found.classes), "depth": depth, "skipped_bad": len(bad)}
    height, width = pictures[used[0]].pixels.shape[:2]
    for label, half in (("train", found.train), ("test", found.test)):
        names = [file for files in half.values() for file in files]
        stack = np.empty((len(names), channels, height, width), np.uint8)
        for row, name in zip(stack, names, strict=True):
            pixels = scaled(pictures[name], depth)
            row[:] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
        counts = [len(half.get(name, ())) for name in found.classes]
        made[f"{label}_images"] = stack
        made[f"{label}_labels"] = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        made[f"{label}_names"] = names
    frames, shown = reading.length(found), made["train_images"] if found.train else made["test_images"]
    each = measured(shown.reshape(-1, channels // frames, height, width))
    made |= {"frames": frames, "mean": each[0] * frames, "std": each[1] * frames}
    return made


def _check_sizes(root: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
    first: dict[tuple[int, int], str] = {}
    for file, shape in shapes.items():
        first.setdefault(shape, file)
    if len(first) > 1:
        (a, i), (b, j), *_ = first.items()
        raise InputError(
            f"images in {root} differ in size: {i} is {a[1]}x{a[0]}, {j} is {b[1]}x{b[0]}; give a size in pixels "
            "(--size) to bring all to one"
        )
