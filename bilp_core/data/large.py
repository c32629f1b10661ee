"""Large data sets: decoded once, by several processes, into files that are read where they are needed (`Stored`).

A data set is a folder. Of each half, train and test, it holds `<half>_images.npy` (uint8 [N, C, H, W], sorted by
class), `_labels.npy` (int64 [N]), `_names.npy` (text [N]: where each came from) and `_prints.npy` (uint32 [N]: CRC-32
of each image). `about.json` comes last, when every image has been read back and agrees with its print; until then
`<half>_done` has a byte for each block of images that is written, so that a stopped decoding goes on where it was.
Where a source lets files be skipped, `<half>_bad_<block>` has those of a block that cannot be read, and in the end
`<half>_rows.npy` (int64) names the images there are: the others stay zeros, which nobody sees.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ..engines import InlineEngine, LocalEngine
from ..errors import InputError
from ..utils.files import atomic, key
from ..utils.progress import Report
from .complete import FORMAT, HALVES, damaged, opened
from .rows import layout, runs

BLOCK = 512  # images that are done together
FEW = 4096  # images for which no processes are started
SHOWN = 5  # unreadable files that a message names
FULL = (errno.ENOSPC, errno.EDQUOT)


class Part(Protocol):
    """Images that one job reads, in blocks of BLOCK. rows : int64, where each of them goes in its half."""

    @property
    def rows(self) -> np.ndarray: ...

    def read(self, blocks: Sequence[int]) -> Iterator[tuple[int, np.ndarray, dict[str, str]]]:
        """Some of the blocks: the number of each, with uint8 [n, C, H, W], zeros for the files that cannot be read, and
        the names of these with the reason. Raises InputError where all of the part is damaged."""


@dataclass(frozen=True)
class Half:
    """labels : int64 [N], ascending. names : [N] texts. parts : cover all N."""

    labels: np.ndarray
    names: np.ndarray
    parts: Sequence[Part]


@dataclass(frozen=True)
class Source:
    """What is to be decoded. about : JSON values that stand for the source and how it is read.

    skips : whether files that cannot be read are left out; else they are an error. few : for so many no processes are
    started. elsewhere : how a user names another disk, for messages.
    finish : called with the folder when every image is there, before it counts as a data set: what it returns goes into
    about.json; it may raise InputError.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: Half
    test: Half
    about: Mapping[str, Any]
    skips: bool = False
    few: int = FEW
    elsewhere: str = "--root or $BILP_DATA"
    finish: Callable[[Path], Mapping[str, Any]] | None = None


def decode(
    folder: Path, source: Callable[[], Source], progress: Report | None = None, slots: int | None = None
) -> dict[str, Any]:
    """Decode into `folder` what is not there yet; what its about.json then says. Others that want the same wait.

    source : called only if something is to be done. slots : processes, by default one a core.
    Raises InputError for files that cannot be read, or a class that has no others; and for a disk without the room.
    What is done stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if about := opened(folder):
            return about
        found = source()
        halves = {"train": found.train, "test": found.test}
        _prepare(folder, found, halves)
        try:
            _fill(folder, found, progress, slots or os.cpu_count() or 1)
        except OSError as error:
            if error.errno not in FULL:
                raise
            done, total = _count(folder, halves)
            raise InputError(
                f"the disk of {folder} is full: {done:,} of {total:,} images are decoded and stay; make room, and run "
                "it again"
            ) from None
        skipped = {half: _skipped(folder, found.classes, half, own) for half, own in halves.items()}
        _check(folder, halves, progress)
        about = {
            "format": FORMAT,
            "classes": list(found.classes),
            "shapes": {f"{half}_images": [len(own.labels), *found.shape] for half, own in halves.items()},
            "source": dict(found.about),
            **({"skipped": skipped} if found.skips else {}),
            **(found.finish(folder) if found.finish else {}),
        }
        with atomic(folder / "about.json") as path:
            path.write_text(json.dumps(about))
        for path in [folder / "plan", *(folder / f"{half}_done" for half in HALVES), *folder.glob("*_bad_*")]:
            path.unlink()
        return about


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process that holds it."""
    with (folder / "lock").open("w") as file:
        with contextlib.suppress(OSError):  # some network disks have no locks: then two may write the same
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(folder: Path, source: Source, halves: Mapping[str, Half]) -> None:
    """The files at their full size, empty; unless there are those of the same source, begun before."""
    names = {half: own.names.tolist() for half, own in halves.items()}
    plan = key({"format": FORMAT, "about": dict(source.about), "shape": source.shape, "block": BLOCK, "names": names})
    begun = (folder / "plan").read_text() == plan if (folder / "plan").exists() else False
    size = sum(len(own.labels) for own in halves.values()) * int(np.prod(source.shape))
    held = sum(file.stat().st_blocks * 512 for file in folder.glob("*_images.npy")) if begun else 0
    if not begun:
        for file in folder.glob("*_*"):
            file.unlink()
    if (free := shutil.disk_usage(folder).free) < size - held:
        raise InputError(
            f"decoding takes {(size - held) / 1e9:.3g} GB of disk in {folder}, where {free / 1e9:.3g} GB are free: "
            f"make room, or name another place with {source.elsewhere}"
        )
    if begun:
        return
    for half, own in halves.items():
        np.save(folder / f"{half}_labels.npy", own.labels)
        np.save(folder / f"{half}_names.npy", own.names)
        for name, kind, shape in (("images", np.uint8, source.shape), ("prints", np.uint32, ())):
            path, whole = folder / f"{half}_{name}.npy", (len(own.labels), *shape)
            np.lib.format.open_memmap(path, "w+", kind, whole)  # a hole in the disk, until it is written
        (folder / f"{half}_done").write_bytes(bytes(sum(map(_blocks, own.parts))))
    with atomic(folder / "plan") as path:
        path.write_text(plan)


def _blocks(part: Part) -> int:
    return -(-len(part.rows) // BLOCK)


def _fill(folder: Path, source: Source, progress: Report | None, slots: int) -> None:
    jobs, halves = [], {"train": source.train, "test": source.test}
    for half, own in halves.items():
        first, done = 0, (folder / f"{half}_done").read_bytes()
        for part in own.parts:
            if not all(done[first : first + _blocks(part)]):
                jobs.append((str(folder), half, first, part, source.skips))
            first += _blocks(part)
    few = sum(len(job[3].rows) for job in jobs) <= source.few or len(jobs) < 2
    bad: dict[str, str] = {}
    with contextlib.closing(InlineEngine() if few else LocalEngine(min(slots, len(jobs)))) as engine:
        waiting, running = iter(jobs), set[Future]()
        while True:
            running |= {engine.submit(fill, job) for job in islice(waiting, 2 * engine.slots - len(running))}
            if not running:
                break
            finished, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for job in finished:
                bad |= job.result()
            if progress:
                progress(*_count(folder, halves), "decoding images")
    if bad:
        lines = [f"  {file}: {why}" for file, why in list(bad.items())[:SHOWN]]
        more = [f"  and {len(bad) - SHOWN} more"] * (len(bad) > SHOWN)
        say = f"files cannot be read ({len(bad)} of them): put sound ones there and run it again; the others are done"
        raise InputError("\n".join([say, *lines, *more]))


def _count(folder: Path, halves: Mapping[str, Half]) -> tuple[int, int]:
    """Images that are decoded, to a block, and all."""
    done = 0
    for half, own in halves.items():
        flags = np.frombuffer((folder / f"{half}_done").read_bytes(), np.uint8)
        sizes = [min(BLOCK, len(part.rows) - first) for part in own.parts for first in range(0, len(part.rows), BLOCK)]
        done += int(flags @ np.array(sizes, np.int64)) if sizes else 0
    return done, sum(len(own.labels) for own in halves.values())


def fill(folder: str, half: str, first: int, part: Part, skips: bool = False) -> dict[str, str]:
    """The job of one part: write its blocks that are not done. Returns the files that cannot be read, and why.

    first : the number of its first block in the half. skips : write what can be read beside them, and note them.
    """
    with contextlib.ExitStack() as stack:
        images, prints = (
            (stack.enter_context(path.open("rb+", buffering=0)), layout(path)[2])
            for path in (Path(folder, f"{half}_{name}.npy") for name in ("images", "prints"))
        )
        done = stack.enter_context(Path(folder, f"{half}_done").open("rb+", buffering=0))
        done.seek(first)
        flags = done.read(_blocks(part))
        bad: dict[str, str] = {}
        try:
            for number, pixels, unread in part.read([k for k, flag in enumerate(flags) if not flag]):
                if unread and not skips:
                    bad |= unread
                    continue
                note = Path(folder) / f"{half}_bad_{first + number}"
                note.unlink(missing_ok=True)  # of an earlier try
                if unread:
                    with atomic(note) as path:
                        path.write_text(json.dumps(unread))
                rows = part.rows[number * BLOCK : (number + 1) * BLOCK]
                _write(*images, rows, pixels)
                _write(*prints, rows, np.array([zlib.crc32(image.tobytes()) for image in pixels], np.uint32))
                done.seek(first + number)
                done.write(b"\1")  # after the images: a block that is done is there
        except InputError:  # an archive is known to be damaged when all of it has been read
            done.seek(first)
            done.write(bytes(len(flags)))
            raise
        return bad


def _skipped(folder: Path, classes: Sequence[str], half: str, own: Half) -> dict[str, str]:
    """The files of a half that were skipped, and why; which rows are left is written. Raises InputError for a class
    that has none, whose files will be read again."""
    (folder / f"{half}_rows.npy").unlink(missing_ok=True)
    skipped: dict[str, str] = {}
    notes = list(folder.glob(f"{half}_bad_*"))
    for path in notes:
        skipped |= json.loads(path.read_text())
    if not skipped:
        return {}
    rows = np.flatnonzero(~np.isin(own.names, list(skipped)))
    counts = np.bincount(own.labels[rows], minlength=len(classes))
    if len(absent := np.flatnonzero(counts == 0)):
        names = [name for name in own.names[own.labels == absent[0]].tolist() if name in skipped]
        with (folder / f"{half}_done").open("rb+") as file:
            for path in notes:
                file.seek(int(path.name.rpartition("_")[2]))
                file.write(b"\0")
                path.unlink()
        raise InputError(
            f"class {classes[absent[0]]!r}: none of its {len(names)} files in the {half} half can be read "
            f"({len(absent)} such classes); the first is {names[0]}: {skipped[names[0]]}"
        )
    with atomic(folder / f"{half}_rows.npy") as path, path.open("wb") as file:
        np.save(file, rows)
    return dict(sorted(skipped.items()))


def _write(file: BinaryIO, start: int, rows: np.ndarray, values: np.ndarray) -> None:
    size = values[:1].nbytes
    for place, row, count in runs(rows):
        file.seek(start + row * size)
        left = np.ascontiguousarray(values[place : place + count]).reshape(-1).view(np.uint8).data
        while left:  # a disk that is nearly full takes a part
            left = left[file.write(left) :]


def _check(folder: Path, halves: Mapping[str, Half], progress: Report | None) -> None:
    """Everything to the disk and read again: what a crash of the machine has lost is found here, and decoded again."""
    for half, own in halves.items():
        for name in ("images", "labels", "names", "prints"):
            with (folder / f"{half}_{name}.npy").open("rb+") as file:
                os.fsync(file.fileno())
        if not len(bad := damaged(folder, half, progress)):
            continue
        block, first = np.empty(len(own.labels), np.int64), 0
        for part in own.parts:
            block[part.rows] = first + np.arange(len(part.rows)) // BLOCK
            first += _blocks(part)
        with (folder / f"{half}_done").open("rb+") as file:
            for number in np.unique(block[bad]).tolist():
                file.seek(number)
                file.write(b"\0")
        raise InputError(f"{len(bad)} images in {folder} are not what was written (a crash?): run it again")
