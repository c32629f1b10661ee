"""A folder of somebody's own: how it is read, what stands for its content; and images, decoded into arrays."""

from __future__ import annotations

import contextlib
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
EVERY = 60.0  # seconds after which checksums are kept, though there are more to come
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

    @property
    def side(self) -> int:
        """Pixels of a clip, which `check` has seen to be given."""
        assert self.size is not None
        return self.size


def folder_identity(root: Path, reading: Reading) -> str:
    """Stands for the content of a folder's files, their places, and how they are read: 64 hexadecimal digits."""
    return identity_of(reading.listed(root), reading)


def examined(root: Path, reading: Reading, need: Sequence[str] = ()) -> Listing:
    """What there is of a folder, before a file is opened.

    need : the halves that must be there, 'train', 'test' or both.
    Raises InputError for a missing half, an empty class, a class in one half only or with one sample to train on.
    """
    found = reading.listed(root)
    reading.check(found)
    for half in need:
        if not getattr(found, half):
            remedy = "add test/<class>/*, or make one of training images: --test-share 0.2"
            raise InputError(f"{root} has no {half} half: {remedy if half == 'test' else 'add train/<class>/*'}")
    if not reading.skip_bad:
        check_counts(found)
    return found


def read_images(
    found: Listing, reading: Reading, progress: Report | None = None
) -> tuple[str, Callable[[], dict[str, Any]]]:
    """The identity of a folder of images and the function that decodes it.

    The function raises InputError for unreadable images, unless they are to be skipped, and for mixed sizes when no
    size is given.
    """
    identity = identity_of(found, reading, progress)

    def decode() -> dict[str, Any]:
        made = _decode(found, reading, progress)
        if identity_of(found, reading) != identity:  # else it would be kept as what it no longer is
            raise InputError(changed(found.root))
        return made

    return identity, decode


def changed(root: Path) -> str:
    return f"{root} was changed while it was read: run the command again"


def check_counts(found: Listing) -> None:
    """Raise InputError for a class that has too few samples to train on."""
    kind = "video" if found.videos else "image"
    for name, files in found.train.items():
        if len(files) < LEAST:
            raise InputError(
                f"{found.root / 'train' / name} holds {f'one {kind}' if files else f'no {kind} that can be read'}: a "
                f"class needs at least {LEAST} to train on"
            )


def identity_of(found: Listing, reading: Reading, progress: Report | None = None) -> str:
    """`folder_identity` of what was listed."""
    digests = _digests(found.root, found.files(), progress)
    halves = {
        label: {name: [(file, digests[file]) for file in files] for name, files in half.items()}
        for label, half in (("train", found.train), ("test", found.test))
    }
    settings = {k: v for k, v in asdict(reading).items() if k not in ("test_share", "seed", "recursive", "frames")}
    if found.videos:
        settings["frames"] = reading.length(found)
    return hashlib.sha256(json.dumps([READER, settings, halves]).encode()).hexdigest()


def _digests(root: Path, files: Sequence[str], progress: Report | None = None) -> dict[str, str]:
    """SHA-256 of each file; computed again only where size, times or inode changed since the last time, and kept while
    that goes on."""
    kept = cache_home() / "digests" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.json"
    try:
        known = json.loads(kept.read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        known = {}
    home = str(root)

    def mark(file: str) -> list[int]:
        about = os.stat(f"{home}/{file}")  # noqa: PTH116 (a Path for each of many files takes longer than the rest)
        return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]

    def digest(file: str) -> list[Any]:
        try:
            before = mark(file)
            with (root / file).open("rb") as opened:
                return [*before, hashlib.file_digest(opened, "sha256").hexdigest()]
        except OSError as error:  # what it is, is said when it is decoded
            return [0, 0, 0, 0, f"unreadable: {error.strerror}"]

    begin = time.time_ns()

    def keep(rows: Mapping[str, list[Any]]) -> None:
        # what was changed just now could be changed again without a sign of it: clocks of file systems are coarse
        settled = {file: row for file, row in rows.items() if row[2] < begin - SETTLED}
        if settled != known:
            with atomic(kept) as path:
                path.write_text(json.dumps(settled), "utf-8", "surrogateescape")

    now: dict[str, list[Any]] = {}
    for file in files:
        with contextlib.suppress(OSError):
            if (before := known.get(file)) and before[:-1] == mark(file):
                now[file] = before
    new, told = [file for file in files if file not in now], time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (file, row) in enumerate(zip(new, pool.map(digest, new), strict=True), 1):
            now[file] = row
            if progress and done % 500 == 0:
                progress(done, len(new), "reading files")
            if time.monotonic() - told > EVERY:
                keep({**known, **now})
                told = time.monotonic()
    keep(now)
    return {file: now[file][-1] for file in files}


def survey(
    found: Listing, reading: Reading, progress: Report | None = None
) -> tuple[dict[str, Picture], dict[str, str]]:
    """The pictures of a folder, and the reasons why others cannot be read, by file."""
    files = found.files()
    results, _ = decoded([found.root / file for file in files], reading.size, progress)
    pictures = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, Picture)}
    bad = {file: one for file, one in zip(files, results, strict=True) if isinstance(one, str)}
    return pictures, bad


def _decode(found: Listing, reading: Reading, progress: Report | None) -> dict[str, Any]:
    pictures, bad = survey(found, reading, progress)
    if bad and not reading.skip_bad:
        raise InputError(unreadable(found.root, bad))
    return assembled(found.without(bad), pictures, reading, bad)


def unreadable(root: Path, bad: Mapping[str, str]) -> str:
    """What to say of images, or videos, that cannot be read."""
    kind = "video" if Path(next(iter(bad))).suffix.lower() in VIDEOS else "image"
    if len(bad) == 1:
        ((file, why),) = bad.items()
        a = "an" if kind == "image" else "a"
        return f"{root / file} cannot be read as {a} {kind} ({why}): repair or remove it, or leave it out (--skip-bad)"
    lines = [f"  {file}: {why}" for file, why in list(bad.items())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more: `bilp data check` lists all")
    return "\n".join(
        [f"{len(bad)} {kind}s in {root} cannot be read: repair or remove them, or leave them out (--skip-bad)", *lines]
    )


def assembled(
    found: Listing, pictures: Mapping[str, Picture], reading: Reading, bad: Mapping[str, str]
) -> dict[str, Any]:
    """Arrays of both halves, the names of their files, and what was decided."""
    check_counts(found)
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
    made["mean"], made["std"] = measured(made["train_images"] if found.train else made["test_images"])
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
