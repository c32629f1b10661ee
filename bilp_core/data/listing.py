"""The files of a folder of images: halves, classes, and what is left out and why. Reads names, not pixels."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError

EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif",
)  # fmt: skip
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
TEST_HALVES = ("test", "val", "valid", "validation")
ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet: file, class, box
CLASSES = "classes.txt"
LEAST = 2  # samples a class must have for training


@dataclass(frozen=True)
class Listing:
    """train, test : class -> files, relative to `root`; classes in their final order, files by name.

    skipped : why -> the files and folders that were not taken, relative to `root`.
    notes   : what was decided, in sentences.
    videos  : whether the files are videos, as they are where there is no image.
    """

    root: Path
    train: dict[str, list[str]]
    test: dict[str, list[str]]
    skipped: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    videos: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.train or self.test)

    def files(self) -> list[str]:
        """All of them: training first, class by class."""
        return [name for half in (self.train, self.test) for names in half.values() for name in names]

    def without(self, bad: Iterable[str]) -> Listing:
        """The same without some files; a class that loses all of them stays, empty."""
        bad = set(bad)
        halves = (
            {c: [name for name in names if name not in bad] for c, names in half.items()}
            for half in (self.train, self.test)
        )
        train, test = halves
        return replace(self, train=train, test=test)


def natural(name: str) -> tuple:
    """Sorts as people count: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p), "") if p.isascii() and p.isdecimal() else (1, 0, p) for p in parts if p)


def listing(root: Path, *, recursive: bool = False) -> Listing:
    """What lies in `root`: train/<class>/* and test/<class>/* (or val/), or only <class>/*.

    recursive : take images in sub-folders of a class, too. A file classes.txt in `root`, one name a line, fixes the
    classes and their order; otherwise they are in natural order (2 before 10).
    Names that look alike and differ in their encoding (NFC and NFD) are one class.
    Where class folders hold videos and no image at all, the videos are listed.
    Raises InputError for a folder without images, fewer than two classes, an empty class, or halves whose classes
    differ.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder")
    skipped: dict[str, list[str]] = {}
    notes: list[str] = []
    train_folder = root / "train"
    test_folder = next((root / name for name in TEST_HALVES if (root / name).is_dir()), None)
    wanted, kinds = _wanted(root), VIDEOS if _videos_alone(root) else EXTENSIONS
    test: dict[str, list[str]] = {}
    if not train_folder.is_dir() and test_folder is None:
        train = _half(root, root, recursive, skipped, wanted, kinds)
        notes.append("there is neither train/ nor test/: its folders are classes, all of them training images")
    else:
        train = _half(root, train_folder, recursive, skipped, wanted, kinds) if train_folder.is_dir() else {}
        if test_folder is not None:
            if test_folder.name != "test":
                notes.append(f"there is no test/: {test_folder.name}/ is taken as the test half")
            if (test_folder / ANNOTATIONS).is_file():
                test = _annotated(root, test_folder, set(train))
                notes.append(f"the classes of {test_folder.name}/ are read from {ANNOTATIONS}")
            else:
                test = _half(root, test_folder, recursive, skipped, wanted, kinds)
        elif train:
            notes.append("there is no test half")
    if train and test:
        _same_classes(root, train, test, test_folder.name if test_folder else "test")
        test = {name: test[name] for name in train}
    for label, half in (("train", train), ("test", test)):
        if half and len(half) < 2:
            raise InputError(f"{root}: the {label} half has one class, {next(iter(half))!r}: at least 2 are needed")
    return Listing(root, train, test, skipped, tuple(notes), kinds is VIDEOS)


def shared(found: Listing, share: float, seed: int) -> Listing:
    """A listing whose test half is a random share of each class of the training half, at least one file.

    share : of each class, in (0, 1). Which files, follows from `seed` and the files' names.
    Raises InputError where there is a test half already, or a class too small to be divided.
    """
    import numpy as np

    if not 0 < share < 1:
        raise InputError(f"test_share = {share}: must be between 0 and 1, such as 0.2")
    if found.test:
        raise InputError(f"test_share = {share}: {found.root} has a test half; leave test_share out, or move it away")
    rng = np.random.default_rng(seed)
    train, test = {}, {}
    for name, files in found.train.items():
        count = max(1, round(share * len(files)))
        if len(files) - count < LEAST:
            raise InputError(
                f"test_share = {share}: class {name!r} has {len(files)} images, which would leave "
                f"{len(files) - count} to train on; at least {LEAST} are needed"
            )
        picks = set(rng.permutation(len(files))[:count].tolist())
        train[name] = [file for i, file in enumerate(files) if i not in picks]
        test[name] = [file for i, file in enumerate(files) if i in picks]
    note = f"a random {share:.0%} of each class (seed {seed}) is the test half"
    notes = (*(n for n in found.notes if n != "there is no test half"), note)
    return replace(found, train=train, test=test, notes=notes)


def _videos_alone(root: Path) -> bool:
    """Whether the sub-folders of `root` hold videos, and no image."""
    found = False
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        kinds = {_suffix(name) for name in files if not name.startswith(".")} if place != str(root) else set()
        if kinds & {*EXTENSIONS}:
            return False
        found = found or bool(kinds & {*VIDEOS})
    return found


def _wanted(root: Path) -> list[str] | None:
    """The classes that classes.txt names, None where there is none."""
    path = root / CLASSES
    if not path.is_file():
        return None
    names = [_spelt(line.strip()) for line in path.read_text("utf-8").splitlines() if line.strip()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} names {twice[0]!r} twice")
    if len(names) < 2:
        raise InputError(f"{path} names {len(names)} class: at least 2 are needed, one a line")
    return names


def _spelt(name: str) -> str:
    """One spelling (NFC) for names that look the same."""
    return unicodedata.normalize("NFC", name)


def _half(
    root: Path,
    folder: Path,
    recursive: bool,
    skipped: dict[str, list[str]],
    wanted: list[str] | None,
    kinds: tuple[str, ...],
) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    loose: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        here = Path(entry.path)
        if not entry.is_dir():
            if folder != root or here.suffix.lower() in kinds:
                loose.append(_relative(root, here))
            continue
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            _note(skipped, "hidden or of another system", root, here)
            continue
        name = _spelt(entry.name)
        if wanted is not None and name not in wanted:
            _note(skipped, f"not named in {CLASSES}", root, here)
            continue
        files, left_out = _images(root, here, recursive, kinds)
        for why, names in left_out.items():
            skipped.setdefault(why, []).extend(names)
        if not files:
            sub = sum(len(names) for why, names in left_out.items() if why == "in a sub-folder")
            hint = "; --recursive takes those in its sub-folders" if sub else ""
            others = len(left_out.get("of another type", ()))
            only = f" ({others} files of other kinds)" if others else ""
            kind = "video" if kinds is VIDEOS else "image"
            raise InputError(f"{here} holds no {kind}{only}; allowed: {', '.join(kinds)}{hint}")
        if name in classes:
            raise InputError(f"{folder} has two folders for class {name!r}, spelt in two encodings: join them")
        classes[name] = files
    if loose:
        skipped.setdefault("beside the class folders", []).extend(loose)
    if not classes:
        where = f"{root} has no folder 'train', nor any class folder" if folder == root else f"{folder} is empty"
        raise InputError(f"{where}: put images in train/<class>/ and test/<class>/ (see README, own data)")
    if wanted is not None:
        absent = [name for name in wanted if name not in classes]
        if absent:
            raise InputError(f"{root / CLASSES} names {absent[0]!r}, but there is no folder {folder / absent[0]}")
        return {name: classes[name] for name in wanted}
    return {name: classes[name] for name in sorted(classes, key=natural)}


def _images(
    root: Path, folder: Path, recursive: bool, kinds: tuple[str, ...]
) -> tuple[list[str], dict[str, list[str]]]:
    """Images of a class, and what was left out by reason."""
    found: list[str] = []
    left: dict[str, list[str]] = {}
    subs: list[Path] = []
    here = _relative(root, folder)
    for item in sorted(os.scandir(folder), key=lambda e: e.name):
        name = f"{here}/{item.name}"
        if item.name.startswith((".", "__MACOSX")):
            left.setdefault("hidden or of another system", []).append(name)
        elif item.is_dir():
            subs.append(Path(item.path))
        elif item.is_symlink() and not Path(item.path).exists():
            left.setdefault("a broken link", []).append(name)
        elif _suffix(item.name) not in kinds:
            left.setdefault("of another type", []).append(name)
        elif item.is_file():
            found.append(name)
    for sub in subs:
        inner, inner_left = _images(root, sub, True, kinds)
        if recursive or (sub.name == "images" and not found):  # as Tiny ImageNet has them
            found += inner
            for why, names in inner_left.items():
                left.setdefault(why, []).extend(names)
        elif inner:
            left.setdefault("in a sub-folder", []).extend(inner)
    return found, left


def _annotated(root: Path, folder: Path, classes: set[str]) -> dict[str, list[str]]:
    """Tiny ImageNet's validation half: images in one folder, their classes in a file."""
    home = folder / "images" if (folder / "images").is_dir() else folder
    test: dict[str, list[str]] = {}
    for number, line in enumerate((folder / ANNOTATIONS).read_text("utf-8").splitlines(), 1):
        parts = line.split("\t") if "\t" in line else line.split()
        if len(parts) < 2:
            raise InputError(f"{folder / ANNOTATIONS}: line {number} is no 'file class'")
        if classes and parts[1] not in classes:
            continue
        test.setdefault(parts[1], []).append(_relative(root, home / parts[0]))
    return {name: sorted(test[name]) for name in sorted(test, key=natural)}


def _same_classes(root: Path, train: dict[str, list[str]], test: dict[str, list[str]], label: str) -> None:
    for here, there, a, b in (("train", label, train, test), (label, "train", test, train)):
        absent = [name for name in a if name not in b]
        if absent:
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise InputError(
                f"{root}: class {absent[0]!r}{more} is in {here}/ but not in {there}/; add it, remove it, or name the "
                f"classes to use in {CLASSES}"
            )


def _note(skipped: dict[str, list[str]], why: str, root: Path, path: Path) -> None:
    skipped.setdefault(why, []).append(_relative(root, path))


def _suffix(name: str) -> str:
    """With its dot; a name without one is none that is known."""
    return "".join(name.rpartition(".")[1:]).lower()


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
