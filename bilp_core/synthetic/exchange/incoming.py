"""Somebody else's files as a synthetic set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data import whitening
from ...data.images import ImageData, Map
from ...errors import InputError
from ..formation import Formation
from ..set import SyntheticSet
from .layout import Layout, Raw, Stats, Told, without_none
from .layouts import LAYOUTS

# What only the user can say, and how.
ASKED = {
    "zca": "whether its images are whitened: --zca none, or a kind ({kinds}); MTT and DATM whiten by absolute",
    "lr": "the learning rate that was learned with the images: --lr RATE, as the log of the run has it",
    "factor": "how many parts each image was cut into a side: --factor 1 for IDC-I, 2 or more for IDC",
    "method": "which method made it: --method NAME",
    "mean": "by what its images are normalised: --mean and --std, a number a channel, --mean data, or --mean cifar10 "
    "for what that repository has for it",
}
KINDS = {"values": ("pixels", "normalised"), "labels": ("hard", "shares", "logits", "targets")}
SAMPLE = 2000  # real images that a report looks at


def imported(files: Sequence[str | Path], like: str, data: ImageData, told: Told | None = None) -> SyntheticSet:
    """Read a set that another repository saved.

    files : the files or the folder. like : whose layout, one of `LAYOUTS`. data : the training images of the data set
    that it stands for: they give classes, size and, where it is whitened, the whitening.
    told  : what no file says. Nothing is guessed: what is missing is asked for, and what cannot be is refused.
    Labels become hard, shares of the classes, or targets; logits become shares. `meta["imported"]` keeps what was taken
    to be what, and `describe` says it.
    Raises InputError that names file, value and remedy. Nothing in a file is executed.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.synthetic import Told, imported
    >>> train, _ = load("digits")
    >>> torch.save([torch.rand(10, 1, 8, 8), torch.arange(10)], "data.pt")
    >>> made = imported(["data.pt"], "idc", train, Told(factor=2))
    >>> len(made.materialise()[0]), made.meta["method"]
    (40, 'idc')
    >>> imported(["data.pt"], "idc", train)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: data.pt: no file of the layout idc tells how many parts each image was cut into ...
    """
    told = told or Told()
    if like not in LAYOUTS:
        raise InputError(f"layout {like!r} is unknown; there are: {', '.join(LAYOUTS)}")
    layout, paths = LAYOUTS[like], [Path(file) for file in files]
    if absent := [path for path in paths if not path.exists()]:
        raise InputError(f"{absent[0]}: no such file")
    what = ", ".join(path.name for path in paths)
    raw = layout.read(paths, data, told)
    fixed: dict[str, Any] = {
        "values": layout.values,
        "labels": layout.labels,
        "zca": layout.zca(data),
        "factor": None if "factor" in layout.asks else 1,
        "decode": "single",
    }
    known: dict[str, Any] = without_none(fixed) | dict(raw.says) | without_none(vars(told))
    if missing := [name for name in (*layout.asks, "zca") if name not in known]:
        asked = "; nor ".join(ASKED[name] for name in missing).format(kinds=", ".join(whitening.WHITENINGS[1:]))
        raise InputError(f"{what}: no file of the layout {like} tells {asked}")
    for name, allowed in KINDS.items():
        if known[name] not in allowed:
            raise InputError(f"{name} = {known[name]!r}: must be one of {', '.join(allowed)}")
    images = _floats(raw.images, known, told, what)
    if tuple(images.shape[1:]) != data.shape:
        raise InputError(
            f"{what}: images [M, C, H, W] are {list(images.shape)}, those of {data.name} {list(data.shape)}: must "
            "be the same; --size changes a folder's"
        )
    stats, zca = _terms(layout, raw, known, data, what)
    if not zca or known["values"] == "pixels":
        _plausible(images, known["values"], told, what)
    if known["values"] == "pixels":
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in stats)
        images = whitening.of_pixels(zca, images) if zca else (images - mean) / std
    names = known.get("classes", data.classes)
    labels = _labels(raw.labels, known["labels"], len(images), len(names), what)
    meta: dict[str, Any] = {
        **raw.meta,
        **{name: known[name] for name in ("method", "network", "lr") if name in known},
        "data": data.name,
        "named": data.named,
        "flip": data.flip,
        "ipc": max(1, round(len(images) / len(names))),
        "imported": {
            "like": like, "source": layout.source, "files": [path.name for path in paths], "values": known["values"],
            "zca": known["zca"], "labels": known["labels"],
            **({"before": raw.meta["imported"]} if "imported" in raw.meta else {}),
        },
    }  # fmt: skip
    formation = Formation(int(known["factor"]), str(known["decode"]))
    made = SyntheticSet(images, labels, tuple(names), *stats, meta, formation, zca, frames=data.frames)
    made.check(what)
    return _ordered(made, data, what)


def _floats(images: Tensor, known: dict[str, Any], told: Told, what: str) -> Tensor:
    """float32 [M, C, H, W]; bytes are pixels of 0..255."""
    if images.ndim != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise InputError(f"{what}: images are {images.dtype} {list(images.shape)}: must be numbers [M, C, H, W]")
    if not torch.isfinite(images).all():
        raise InputError(f"{what}: some images are not finite (NaN or infinite)")
    if images.dtype != torch.uint8:
        return images.detach().float().contiguous()
    if known["values"] != "pixels" or told.values == "normalised":
        raise InputError(f"{what}: images are bytes, so they are pixels, and not {known['values']}: --values pixels")
    return images.float() / 255


def _terms(layout: Layout, raw: Raw, known: Mapping[str, Any], data: ImageData, what: str) -> tuple[Stats, Map | None]:
    """By what images are normalised, and the whitening, if any."""
    if known["zca"] == "own":
        return raw.stats or (data.mean, data.std), raw.whitening
    whitening.check(known["zca"], data.shape)
    if known["zca"] != "none" and ("mean" in known or "std" in known):
        raise InputError(f"zca = {known['zca']!r} and a mean or deviation: images are whitened or normalised, not both")
    if known["zca"] != "none":
        return (data.mean, data.std), whitening.fit(data, known["zca"]).to("cpu")
    if isinstance(known.get("mean"), str) and "std" not in known:
        return _by_name(layout, known["mean"], data), None
    if "mean" in known or "std" in known:
        mean, std = ([v for v in known.get(name) or () if not isinstance(v, str)] for name in ("mean", "std"))
        if not len(mean) == len(std) == data.shape[0] or not min(std) > 0:
            raise InputError(
                f"mean = {known.get('mean')}, std = {known.get('std')}: must be {data.shape[0]} numbers each, "
                "of pixels in [0, 1], deviations above 0"
            )
        return (tuple(mean), tuple(std)), None
    stats = raw.stats or layout.stats(data.named, data)
    if stats is None and known["values"] == "pixels":
        stats = (data.mean, data.std)  # what networks are shown; the pixels are the same
    if stats is None:
        raise InputError(f"{what}: no file tells {ASKED['mean']}")
    return stats, None


def _by_name(layout: Layout, name: str, data: ImageData) -> Stats:
    """'data', or a known data set: by what the repository normalises it."""
    stats = (data.mean, data.std) if name == "data" else layout.stats(name, None)
    if stats is None:
        raise InputError(f"mean = {name!r}: must be numbers, data, or a data set whose numbers this layout knows")
    return stats


def _plausible(images: Tensor, values: str, told: Told, what: str) -> None:
    """Raise InputError where numbers cannot be what they are taken for, unless the user says so."""
    low, high = float(images.min()), float(images.max())
    if told.values is not None:
        return
    looks = f"{what}: images go from {low:.3g} to {high:.3g}"
    if values == "pixels" and (low < -1 or high > 2):
        raise InputError(f"{looks}, and pixels are in [0, 1]: --values normalised, or --values pixels if they are")
    if values == "normalised" and low >= 0 and high <= 1:
        raise InputError(f"{looks}, as pixels do: --values pixels, or --values normalised if they are")


def _labels(labels: Tensor, kind: str, images: int, classes: int, what: str) -> Tensor:
    """int64 [M], or float32 [M, classes]."""
    labels = labels.detach()
    wanted = (images,) if kind == "hard" else (images, classes)
    if tuple(labels.shape) != wanted:
        remedy = "" if labels.ndim == len(wanted) else "; --labels hard, shares, logits or targets says what they are"
        raise InputError(f"{what}: {kind} labels {list(labels.shape)} must be {list(wanted)}{remedy}")
    if kind == "hard":
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"{what}: labels are {labels.dtype}: hard ones must be whole numbers, of an integer type")
        return labels.long()
    if not torch.isfinite(labels).all():
        raise InputError(f"{what}: some labels are not finite (NaN or infinite)")
    labels = labels.float()
    if kind == "logits":
        return labels.softmax(1)
    if kind == "shares" and (labels.min() < 0 or (labels.sum(1) - 1).abs().max() > 1e-3):
        low, high = float(labels.sum(1).min()), float(labels.sum(1).max())
        raise InputError(
            f"{what}: labels from {float(labels.min()):.3g}, whose rows add up to {low:.3g} to {high:.3g}, are no "
            "shares of classes: --labels logits or targets"
        )
    return labels.contiguous()


def _ordered(made: SyntheticSet, data: ImageData, what: str) -> SyntheticSet:
    """The same set, its classes in the order of the data."""
    if set(made.classes) != set(data.classes):
        theirs, ours = (
            ", ".join(sorted(set(a) - set(b))[:3])
            for a, b in ((made.classes, data.classes), (data.classes, made.classes))
        )
        raise InputError(
            f"{what}: its classes are not those of {data.name}; only it has {theirs or 'none'}, only {data.name} {ours}"
        )
    order = torch.tensor([made.classes.index(name) for name in data.classes])
    labels = order.argsort()[made.labels] if made.labels.ndim == 1 else made.labels[:, order]
    return replace(made, labels=labels, classes=data.classes)


def describe(made: SyntheticSet, data: ImageData) -> list[str]:
    """What an imported set was taken to be, a sentence each, beside the real images as it sees them.

    >>> import numpy as np
    >>> from bilp_core import load
    >>> from bilp_core.synthetic import describe, imported
    >>> train, _ = load("digits")
    >>> np.savez("best.npz", images=train.batch()[:10].numpy(), labels=np.eye(10, dtype=np.float32) - 0.1)
    >>> print(*describe(imported(["best.npz"], "rfad", train), train)[:2], sep="\\n")
    best.npz, as rfad saves it: 10 images of 1x8x8, 10 classes, 1 a class
    images: normalised by mean 0.305, deviation 0.376; labels: targets
    """
    about, counts = made.meta["imported"], torch.bincount(made.hard_labels, minlength=len(made.classes))
    each = str(int(counts.min())) if counts.min() == counts.max() else f"{int(counts.min())} to {int(counts.max())}"
    size = "x".join(map(str, made.images.shape[1:]))
    by = (
        f"whitened ({about['zca']})" if made.whitening
        else f"{about['values']}, {'shown ' * (about['values'] == 'pixels')}normalised by mean {_numbers(made.mean)}, "
        f"deviation {_numbers(made.std)}"
    )  # fmt: skip
    by = by.replace("normalised, normalised", "normalised")
    lines = [
        f"{', '.join(about['files'])}, as {about['like']} saves it: {len(made.images)} images of {size}, "
        f"{len(made.classes)} classes, {each} a class",
        f"images: {by}; labels: {about['labels']}",
    ]
    every = max(1, len(data) // SAMPLE)
    seen = data.images[::every].cpu()
    if made.whitening:
        real = made.whitening.apply(seen)
    else:
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (made.mean, made.std))
        real = (seen.float() / 255 - mean) / std
    for name, values in (("these images", made.images), (f"{data.name}, seen alike", real)):
        lines.append(
            f"{name}: from {float(values.min()):.2f} to {float(values.max()):.2f}, mean {float(values.mean()):.2f}, "
            f"deviation {float(values.std()):.2f}"
        )
    if made.formation.factor > 1:
        lines.append(f"each stands for several: factor {made.formation.factor}, {made.formation.decode}")
    if "lr" in made.meta:
        lines.append(f"learning rate, learned with them: {made.meta['lr']:.4g}")
    shown = made.classes if len(made.classes) <= 10 else (*made.classes[:5], "...", made.classes[-1])
    lines.append(f"label 0, 1, ... taken as: {', '.join(shown)}")
    return lines


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
