"""What is kept between runs and could go: how much it is, how old, and how to remove it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .store import Store

# What can be made again: these go when they are old or large.
KINDS = {
    "unfinished": "states of jobs that were stopped, and go on from there",
    "scoring": "trials of indicators, from which more trials go on",
    "decoded": "folders of images and named data sets, as arrays",
    "digests": "checksums of the files of folders, so that only changed ones are read again",
    "experts": "first stages in the store (MTT's expert trajectories)",
}
# What runs were made for: it goes only when it is named.
RESULTS = {
    "records": "records of trials in the store",
    "scores": "scores in the store",
    "synthetic": "synthetic sets in the store",
}
MANIFESTS = ("manifest.json", "about.json")  # without it a folder counts as absent, so it goes first
UNITS = {"min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@dataclass(frozen=True)
class Item:
    """A file or folder. size : bytes. age : seconds since it was written, or used where that is noted.

    about : what is known of it, in words.
    """

    kind: str
    path: Path
    size: int
    age: float
    about: str = ""


def kept(kinds: Collection[str] = tuple(KINDS)) -> list[Item]:
    """What there is of these kinds in the cache, the store and beside named data sets; by kind, the oldest first.

    Raises InputError for an unknown kind.

    >>> from pathlib import Path
    >>> from bilp_core import load
    >>> from bilp_core.trials.keeping import kept
    >>> Path("cache/unfinished").mkdir(parents=True)
    >>> _ = Path("cache/unfinished/distillation-1.pt").write_bytes(bytes(1000))
    >>> [(item.kind, item.path.name, item.size) for item in kept()]
    [('unfinished', 'distillation-1.pt', 1000)]
    """
    for kind in kinds:
        if kind not in {**KINDS, **RESULTS}:
            raise InputError(f"kind {kind!r} is unknown; there are: {', '.join([*KINDS, *RESULTS])}")
    found = [_item(kind, path) for kind in {**KINDS, **RESULTS} if kind in kinds for path in _paths(kind)]
    order = [*KINDS, *RESULTS]
    return sorted((item for item in found if item), key=lambda item: (order.index(item.kind), -item.age))


def _paths(kind: str) -> Iterator[Path]:
    from ..data.cache import cache_home
    from ..data.datasets import CACHE, data_root

    cache, store = cache_home(), Store()
    match kind:
        case "unfinished":
            folders = [cache / "unfinished", store.unfinished]
        case "scoring":
            folders = [cache / "scoring", store.scoring]
        case "decoded":
            folders = [cache, data_root() / CACHE]
        case "digests":
            folders = [cache / "digests"]
        case "experts":
            folders = [store.stages]
        case _:
            folders = [store.path / kind]
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if kind != "decoded" or re.fullmatch("[0-9a-f]{16}", path.name):
                yield path


def _item(kind: str, path: Path) -> Item | None:
    size, newest = 0, 0.0
    for file in [path, *path.rglob("*")]:
        with suppress(OSError):  # gone meanwhile
            about = file.lstat()
            size += 0 if file.is_dir() else about.st_size
            newest = max(newest, about.st_mtime)
    return Item(kind, path, size, time.time() - newest, _about(path)) if newest else None


def _about(path: Path) -> str:
    for name in MANIFESTS:
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((path / name).read_text())
            if "files" in about:
                return f"{len(about['files'])} experts, {about['network']} on {about['data']}"
            count, *shape = about["shapes"]["train_images"]
            return f"{count} training images of {'x'.join(map(str, shape))}, {len(about['classes'])} classes"
    return ""


def chosen(items: Collection[Item], older: float = 0.0, larger: float = 0.0) -> list[Item]:
    """The items that are at least so old (seconds) and so large (bytes)."""
    return [item for item in items if item.age >= older and item.size >= larger]


def remove(item: Item) -> None:
    """Remove it, so that at no time a part of it passes for the whole. Raises OSError where that is not allowed."""
    if not item.path.is_dir() or item.path.is_symlink():
        item.path.unlink(missing_ok=True)
        return
    for name in MANIFESTS:
        (item.path / name).unlink(missing_ok=True)
    shutil.rmtree(item.path)


def age(text: str) -> float:
    """Seconds, of a text such as 30d, 12h, 2w or 45min. Raises ValueError for another.

    >>> from bilp_core.trials.keeping import age
    >>> age("2h")
    7200.0
    """
    return _measure(text, UNITS)


def size(text: str) -> float:
    """Bytes, of a text such as 500MB or 1.5GB. Raises ValueError for another.

    >>> from bilp_core.trials.keeping import size
    >>> size("1.5GB")
    1500000000.0
    """
    return _measure(text, SIZES)


def _measure(text: str, units: dict[str, float] | dict[str, int]) -> float:
    found = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?)({'|'.join(units)})", text)
    if not found:
        raise ValueError(f"{text!r} must be a number and one of {', '.join(units)}, such as 30{list(units)[-2]}")
    return float(found[1]) * units[found[2]]
