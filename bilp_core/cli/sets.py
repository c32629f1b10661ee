"""What commands do with a synthetic set: write it with its picture and card, judge it, remember accuracies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import atomic, check_output

if TYPE_CHECKING:
    from ..data.images import ImageData
    from ..evaluation import Protocol
    from ..synthetic import SyntheticSet

READING = ("size", "frames", "depth", "recursive", "no_flip", "skip_bad", "test_share", "split_seed")


def check_set(path: str) -> Path:
    """Where a set can be written, and its picture and card beside it."""
    out = check_output(path, ".safetensors")
    for suffix in (".png", ".md"):
        check_output(out.with_suffix(suffix))
    return out


def start_from(init: str | None) -> str | SyntheticSet | None:
    """A set, if that is what --init names; else the word."""
    if init is None or not (init.endswith(".safetensors") or Path(init).is_file()):
        return init
    from ..synthetic import SyntheticSet

    return SyntheticSet.load(init)


def method_of(synthetic: SyntheticSet, method: str | None = None) -> str:
    """The method whose protocol is asked for, if it is known; None: the set's own."""
    from .. import distillers, evaluation

    assert distillers.METHODS  # whose protocols `evaluation` knows once they are loaded
    return evaluation.known(method or str(synthetic.meta.get("method", "dm")))


def judged(
    synthetic: SyntheticSet, data: ImageData, method: str | None, network: str | None, options: dict[str, Any]
) -> tuple[str, str, Protocol]:
    """Method, network and protocol by which a set is evaluated on data; None: its own."""
    from .. import evaluation

    return evaluation.judged_by(synthetic, data, method_of(synthetic, method), network, **options)


def finished(made: SyntheticSet, out: Path, args: argparse.Namespace, data: ImageData | None) -> None:
    """Write a set, its picture and its card. data : as the set sees them, for the protocol; None: not known."""
    from dataclasses import replace

    meta = dict(made.meta)
    if data is not None:
        _, network, recipe = judged(made, data, None, None, {})
        meta["evaluation"] = {"network": network, "protocol": vars(recipe), "reading": reading(args)}
    made = replace(made, meta=meta)
    made.save(out)
    picture = out.with_suffix(".png")
    with atomic(picture) as path:
        made.grid().save(path)
    written = write_card(made, out)
    print(f"{out}: {len(made.images)} images; {picture} shows them, one row a class; {written} says what they are")


def reading(args: argparse.Namespace) -> list[str]:
    """The options with which a folder was read, as they are typed."""
    words = []
    for name in READING:
        value = getattr(args, name, None)
        if value:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def write_card(synthetic: SyntheticSet, where: Path) -> Path:
    from ..evaluation import card, known_accuracies

    path = where.with_suffix(".md")
    with atomic(path) as temporary:
        temporary.write_text(card(synthetic, where.name, known_accuracies(where, synthetic)), "utf-8")
    return path


def remembered(args: argparse.Namespace, synthetic: SyntheticSet, report: dict[str, Any], method: str) -> None:
    """Keep an accuracy beside the set, and in its card; where nothing can be written there, not."""
    from ..evaluation import remember
    from .files import options_given

    row = {name: report[name] for name in ("mean", "std", "data", "network", "seed", "date", "device", "commit")}
    row |= {"method": method, "repeats": len(report["accuracies"]), "options": options_given(args.set)}
    where = Path(args.file)
    if remember(where, synthetic, row):
        write_card(synthetic, where)
