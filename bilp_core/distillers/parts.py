"""Distilling a few of the classes at a time: parts that know nothing of each other, joined into one set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets import networks as nets
from ..synthetic.set import SyntheticSet
from .method import Distiller

ALIKE = (
    "method",
    "options",
    "ipc",
    "init",
    "continues",
    "network",
    "seed",
    "early",
    "represent",
    "data",
    "named",
    "flip",
)  # of meta, in all parts


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of `of`: a block of neighbouring classes, blocks as equal as may be.

    Raises InputError for a part that there is not.
    Source: supplement Sec. 6.6; neighbouring classes as in the code of IDC.

    >>> from bilp_core.distillers import Part
    >>> [list(Part(number, 3).classes(10)) for number in (1, 2, 3)]
    [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    >>> Part.read("2/3")
    Part(number=2, of=3)
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InputError(f"part = {self.number}/{self.of}: must be from 1/{self.of} to {self.of}/{self.of}")

    @classmethod
    def read(cls, text: str) -> Self:
        """From words such as 3/10."""
        found = re.fullmatch(r"([0-9]+)/([1-9][0-9]*)", text)
        if not found:
            raise InputError(f"part = {text!r}: must be a number and how many there are, such as 3/10")
        return cls(int(found[1]), int(found[2]))

    def classes(self, count: int) -> range:
        """Labels of this part, of `count` classes. Raises InputError if a part would have fewer than two."""
        if count < 2 * self.of:
            raise InputError(f"{count} classes in {self.of} parts: each needs at least 2, at most {count // 2} parts")
        small, more = divmod(count, self.of)
        start = (self.number - 1) * small + min(self.number - 1, more)
        return range(start, start + small + (self.number <= more))

    def about(self, classes: Sequence[str]) -> dict[str, Any]:
        """What the set of a part says of itself: JSON values."""
        return {"number": self.number, "of": self.of, "classes": list(classes)}


def check_part(method: Distiller, network: str, data: ImageData, chosen: object) -> None:
    """Raise InputError unless a method can distil a part of the classes.

    network : its spec. chosen : what chooses the real batches, where they are not random.
    """
    if not method.parts:
        raise InputError(f"{method.name!r} distils all classes together: it has no parts")
    if method.parts == "task":
        return
    if chosen:
        raise InputError(f"{method.name!r} in parts goes with random real batches only: neither adaptive nor represent")
    net = nets.network(network, data.shape, data.num_classes)
    if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        raise InputError(f"{method.name!r} in parts needs a network without BatchNorm, which mixes classes: {network}")


def only(data: ImageData, labels: range) -> ImageData:
    """The samples of some neighbouring classes, as a data set of these alone.

    >>> from bilp_core import load
    >>> from bilp_core.distillers import only
    >>> few = only(load("digits").train, range(3, 5))
    >>> few.classes, few.counts().tolist()
    (('3', '4'), [138, 136])
    """
    own = ((data.labels >= labels.start) & (data.labels < labels.stop)).nonzero().flatten()
    chosen = data.subset(own)
    return replace(chosen, labels=chosen.labels - labels.start, classes=data.classes[labels.start : labels.stop])


def joined(parts: Sequence[SyntheticSet]) -> SyntheticSet:
    """One set of all classes, of all parts of one distillation, in any order.

    Raises InputError that names what is missing, there twice, or of another distillation.

    >>> from bilp_core import distill, load, make
    >>> from bilp_core.distillers import Part, joined
    >>> train, _ = load("digits")
    >>> method, spec = make("dm", iterations=2), "convnet:depth=1,width=4"
    >>> parts = [distill(method, train, ipc=1, network=spec, part=Part(number, 2)) for number in (1, 2)]
    >>> parts[1].classes
    ('5', '6', '7', '8', '9')
    >>> whole = distill(method, train, ipc=1, network=spec)
    >>> bool((joined(parts).images == whole.images).all())  # so it is with DM
    True
    """
    for made in parts:
        if "part" not in made.meta:
            raise InputError(f"a set of {len(made.classes)} classes is no part of another: nothing to merge it with")
    if not parts:
        raise InputError("there are no parts to merge")
    parts = sorted(parts, key=lambda made: made.meta["part"]["number"])
    first = parts[0]
    about, numbers = first.meta["part"], [made.meta["part"]["number"] for made in parts]
    for number in range(1, about["of"] + 1):
        if (times := numbers.count(number)) != 1:
            raise InputError(f"part {number} of {about['of']} is {'missing' if not times else f'there {times} times'}")
    for made in parts:
        own = {**{name: made.meta.get(name) for name in ALIKE}, "classes": made.meta["part"]["classes"]}
        own["adaptive"] = {name: value for name, value in made.meta.get("adaptive", {}).items() if name != "dropped"}
        own |= {"mean": made.mean, "std": made.std, "formation": made.formation, "parts": made.meta["part"]["of"]}
        own["whitening"] = made.whitening and made.whitening.identity
        if made is first:
            wanted = own
        if other := next((name for name in wanted if own[name] != wanted[name]), None):
            raise InputError(
                f"part {made.meta['part']['number']} is of another distillation than part 1: its {other} is "
                f"{own[other]!r}, not {wanted[other]!r}"
            )
    starts = [sum(len(made.classes) for made in parts[:place]) for place in range(len(parts))]
    labels = torch.cat([made.labels + start for made, start in zip(parts, starts, strict=True)])
    meta = {
        name: value for name, value in first.meta.items() if name not in ("part", "provenance", "evaluation", "rounds")
    }
    meta |= {name: sum(made.meta[name] for made in parts) for name in ("real_samples", "seconds")}
    meta["parts"] = [{name: made.meta.get(name) for name in ("seconds", "rounds", "provenance")} for made in parts]
    full = first.meta["options"]["iterations"]
    if (rounds := max(made.meta.get("rounds", full) for made in parts)) < full:
        meta["rounds"] = rounds  # of the part that ran longest
    if "adaptive" in first.meta:
        shares = [made.meta["adaptive"]["dropped"] for made in parts for _ in made.classes]
        meta["adaptive"] = {**first.meta["adaptive"], "dropped": sum(shares) / len(shares)}
    images = torch.cat([made.images for made in parts])
    return replace(first, images=images, labels=labels, classes=tuple(about["classes"]), meta=meta)
