"""What a user should know of a data set before using it: everything at once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..utils.progress import Report
from .complete import damaged, left_out, opened, remedy
from .films import films
from .folders import Reading, assembled, check_counts, survey
from .images import ImageData, Splits, pieces
from .listing import Listing
from .stored import Stored


@dataclass(frozen=True)
class Sample:
    """half : 'train' or 'test'. file : its path, or half and index. digest : of pixels. constant : of one colour."""

    half: str
    file: str
    label: str
    digest: bytes
    constant: bool


def check(splits: Splits) -> dict[str, Any]:
    """What a user should know of a data set before using it; JSON values only.

    Counts per class, shape, mean and std, chance, images without contrast, exact duplicates (harmless ones and those
    with two labels) and images in both halves (leaks), by file where there are files.

    >>> from bilp_core.data import check, load
    >>> report = check(load("digits"))
    >>> report["shape"], report["classes"]["0"], report["duplicates_in_train"], report["constant_images_in_train"]
    ([1, 8, 8], {'train': 134, 'test': 44}, 0, 0)
    """
    for half, data in zip(("train", "test"), splits, strict=True):
        _as_written(half, data)
    samples = [sample for half, data in zip(("train", "test"), splits, strict=True) for sample in _samples(half, data)]
    known = splits.train if len(splits.train) else splits.test
    images = known.images
    about = opened(images.path.parent) if isinstance(images, Stored) and known.named else None
    counts = {
        name: {"train": a, "test": b}
        for name, a, b in zip(known.classes, splits.train.counts().tolist(), splits.test.counts().tolist(), strict=True)
    }
    return {**_described(known), **_analysed(samples, counts), **(_left_out(about) if about else {})}


def check_folder(root: Path, reading: Reading, progress: Report | None = None) -> dict[str, Any]:
    """`check` of a folder, which reads every file: also what was skipped and why, what cannot be read and why, files
    with odd metadata or several frames, sizes, the depth that was taken, what was decided, a verdict and what to do
    next.

    Raises InputError only for a folder that is no data set at all.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bilp_core.data import check_folder
    >>> from bilp_core.data.folders import Reading
    >>> for name in ("dark/1", "dark/2", "light/1", "light/2"):
    ...     file = Path("own", "train", f"{name}.png")
    ...     file.parent.mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (8, 8), 50 if "dark" in name else 200).save(file)
    >>> report = check_folder(Path("own"), Reading())
    >>> report["notes"], report["duplicates"][0]
    (['there is no test half'], ['train/dark/1.png', 'train/dark/2.png'])
    """
    found = reading.listed(root)
    reading.check(found)
    look = _clips if found.videos else _images
    facts, samples, bad, problem = look(found, reading, progress)
    good = found.without(bad)
    counts = {
        name: {"train": len(good.train.get(name, ())), "test": len(good.test.get(name, ()))} for name in good.classes
    }
    report = {
        "name": root.resolve().name,
        "folder": str(root),
        **facts,
        **_analysed(samples, counts),
        "notes": list(found.notes),
        "skipped": {why: sorted(names) for why, names in found.skipped.items()},
        "unreadable": bad,
    }
    return {**report, **_verdict(root, reading, found, report, problem)}


Look = tuple[dict[str, Any], list[Sample], dict[str, str], str]  # facts, samples, unreadable files, what is wrong


def _images(found: Listing, reading: Reading, progress: Report | None) -> Look:
    """What is known of a folder of images; they are not kept."""
    pictures, bad = survey(found, reading, progress)
    good, problem = found.without(bad), ""
    samples = [
        Sample(half, file, name, _digest(pictures[file].pixels), _constant(np.atleast_3d(pictures[file].pixels)))
        for half, classes in (("train", good.train), ("test", good.test))
        for name, files in classes.items()
        for file in files
    ]
    sizes = sorted({picture.size for picture in pictures.values()})
    facts: dict[str, Any] = {
        "odd_metadata": {file: picture.remark for file, picture in pictures.items() if picture.remark},
        "several_frames": [file for file, picture in pictures.items() if picture.frames > 1],
        "sizes": {"different": len(sizes), "smallest": list(sizes[0]), "largest": list(sizes[-1])} if sizes else {},
        "enlarged": [file for file, p in pictures.items() if reading.size and min(p.size) < reading.size],
    }
    try:
        arrays = assembled(good, pictures, reading, bad)
        shown = arrays["train_images"] if len(arrays["train_images"]) else arrays["test_images"]
        facts |= {
            "shape": list(shown.shape[1:]),
            "mean": [round(v, 4) for v in arrays["mean"]],
            "std": [round(v, 4) for v in arrays["std"]],
            "depth": arrays["depth"],
        }
        flat = [c for c in range(shown.shape[1]) if np.ptp(shown[:, c]) == 0]
        if len(flat) == shown.shape[1]:
            problem = "all images are the same single colour"
        elif flat:
            facts["channels_without_contrast"] = flat
    except InputError as error:
        problem = str(error)
    return facts, samples, bad, problem


def _clips(found: Listing, reading: Reading, progress: Report | None) -> Look:
    """What is known of a folder of videos, whose clips are decoded and stay."""
    try:
        splits, bad = films(found, reading, progress)
    except InputError as error:
        return {}, [], {}, str(error)
    facts, problem = _described(splits.train if found.train else splits.test), ""
    try:
        check_counts(found.without(bad))
    except InputError as error:
        problem = str(error)
    samples = [sample for half, data in zip(("train", "test"), splits, strict=True) for sample in _samples(half, data)]
    if samples and len({sample.digest for sample in samples}) == 1 and samples[0].constant:
        problem = "all images are the same single colour"
    return facts, samples, bad, problem


def _as_written(half: str, data: ImageData) -> None:
    """Raise InputError where images on the disk are not what was decoded."""
    folder = data.images.path.parent if isinstance(data.images, Stored) else Path()
    if (folder / f"{half}_prints.npy").is_file() and len(bad := damaged(folder, half)):
        first = np.load(folder / f"{half}_names.npy", allow_pickle=False)[bad[0]]
        raise InputError(
            f"{len(bad)} images of {data.name}'s {half} half are damaged, the first {first}; {remedy(folder)}"
        )


def _described(data: ImageData) -> dict[str, Any]:
    return {
        "name": data.name,
        "shape": list(data.shape),
        **({"frames": data.frames} if data.frames > 1 else {}),  # all of them with the same mean and std
        "mean": [round(v, 4) for v in data.mean[: data.shape[0] // data.frames]],
        "std": [round(v, 4) for v in data.std[: data.shape[0] // data.frames]],
    }


def _left_out(about: Mapping[str, Any]) -> dict[str, Any]:
    """Of a decoded data set: what was not taken of its source. Files that cannot be read are left out, no fault."""
    skipped = [f"{file}: {why}" for files in about.get("skipped", {}).values() for file, why in files.items()]
    unlisted = [file for files in about["source"].get("unlisted", {}).values() for file in files]
    lists = {"they cannot be read": skipped, "they are in no list of labels": unlisted}
    return {"notes": left_out(about), "skipped": {why: files for why, files in lists.items() if files}}


def _samples(half: str, data: ImageData) -> Iterable[Sample]:
    images = (image for part in pieces(data.images) for image in part.cpu().numpy())
    for index, (image, label) in enumerate(zip(images, data.labels.tolist(), strict=True)):
        file = f"{half} {index}" if data.files is None else str(data.files[index])
        yield Sample(half, file, data.classes[label], _digest(image), _constant(image.transpose(1, 2, 0)))


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def _constant(pixels: np.ndarray) -> bool:
    """Whether an image [H, W, C] has one colour."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    return bool((flat.max(0) == flat.min(0)).all())


def _analysed(samples: list[Sample], counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    groups = defaultdict(list)
    for sample in samples:
        groups[sample.digest].append(sample)
    same = [group for group in groups.values() if len(group) > 1]
    in_train = [[s for s in group if s.half == "train"] for group in same]
    across = [[a.file, b.file] for group in same for a in group if a.half == "train" for b in group if b.half == "test"]
    two_labels = [[[s.file, s.label] for s in group] for group in same if len({s.label for s in group}) > 1]
    tested = sum(c["test"] for c in counts.values())
    largest = max((c["test" if tested else "train"] for c in counts.values()), default=0)
    return {
        "classes": counts,
        "chance": round(largest / max(sum(c["test" if tested else "train"] for c in counts.values()), 1), 4),
        "duplicates_in_train": sum(len(group) - 1 for group in in_train if group),
        "duplicates": [[s.file for s in group] for group in in_train if len(group) > 1],
        "duplicates_with_two_labels": two_labels,
        "test_images_also_in_train": len({pair[1] for pair in across}),
        "leaks": across,
        "constant_images_in_train": sum(s.constant for s in samples if s.half == "train"),
        "constant_images": [s.file for s in samples if s.constant],
    }


def _verdict(root: Path, reading: Reading, found: Listing, report: dict[str, Any], problem: str) -> dict[str, Any]:
    """verdict : one sentence. next : the command to try."""
    size = f" --size {reading.size}" if reading.size else ""
    share = f" --test-share {reading.test_share:g}" if reading.test_share else ""
    quoted = f"'{root}'" if " " in str(root) else str(root)
    if problem:
        smallest = min(report.get("sizes", {}).get("smallest", [32]))
        again = f"bilp data check {quoted} --size {min(smallest, 64)}" if "--size" in problem else ""
        return {"verdict": f"it cannot be used as it is: {problem}", "next": again}
    bad = len(report["unreadable"])
    if bad:
        return {
            "verdict": f"{bad} files cannot be read: repair or remove them, or leave them out with --skip-bad",
            "next": f"bilp score {quoted}{size}{share} --skip-bad --out scores.npz",
        }
    worries = [
        text
        for text, seen in (
            ("the same image with two labels", report["duplicates_with_two_labels"]),
            ("test images that are also training images", report["leaks"]),
            ("images of one colour", report["constant_images"]),
            ("files that were not taken", {k: v for k, v in report["skipped"].items() if not k.startswith("hidden")}),
        )
        if seen
    ]
    usable = "it can be used" + (f", but look at: {'; '.join(worries)}" if worries else "")
    if not found.test:
        usable += "; to evaluate, it needs a test half (--test-share 0.2 makes one)"
    if not found.train:
        command = f"bilp evaluate s.safetensors {quoted}{size}"
        return {"verdict": "a test half alone: sets can be evaluated on it", "next": command}
    return {"verdict": usable, "next": f"bilp score {quoted}{size}{share} --out scores.npz"}
