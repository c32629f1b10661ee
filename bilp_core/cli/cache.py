"""What is kept between runs: list it, clean it."""

import argparse
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..trials.keeping import Item

LINES = 20  # of a kind


def show(_: argparse.Namespace) -> None:
    from ..trials.keeping import KINDS, RESULTS, kept

    _print(kept([*KINDS, *RESULTS]), {**KINDS, **RESULTS}, lines=KINDS)
    print("`bilp cache clean --older 30d --dry-run` says what would go")


def clean(args: argparse.Namespace) -> None:
    from ..trials.keeping import KINDS, RESULTS, chosen, kept, remove

    if args.older is None and args.larger is None and args.kind is None:
        raise InputError("say what is to go: --older 30d, --larger 1GB or --kind unfinished; --dry-run removes nothing")
    gone, failed = [], []
    for item in chosen(kept(args.kind or tuple(KINDS)), args.older or 0.0, args.larger or 0.0):
        try:
            if not args.dry_run:
                remove(item)
            gone.append(item)
        except OSError as error:
            failed.append(f"{item.path}: {error.strerror or error}")
    named = {kind: what for kind, what in {**KINDS, **RESULTS}.items() if kind in (args.kind or KINDS)}
    _print(gone, named, lines=named)
    print(f"{len(gone)} {'would go' if args.dry_run else 'removed'}, {_size(sum(item.size for item in gone))}")
    if failed:
        raise RuntimeError("\n".join([f"{len(failed)} could not be removed", *failed]))


def _print(items: Sequence["Item"], kinds: Mapping[str, str], lines: Container[str]) -> None:
    """How much there is of each kind, and of the kinds in `lines` each item."""
    for kind, what in kinds.items():
        own = [item for item in items if item.kind == kind]
        print(f"{kind}: {len(own)}, {_size(sum(item.size for item in own))}; {what}")
        if kind in lines:
            for item in own[:LINES]:
                print(f"    {_line(item)}")
            if len(own) > LINES:
                print(f"    and {len(own) - LINES} more, not so old")


def _line(item: "Item") -> str:
    return f"{_size(item.size):>8}  {_age(item.age):>8}  {item.path}" + (f" ({item.about})" if item.about else "")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or unit == "min":
            return f"{seconds / length:.0f} {unit}"
    raise AssertionError
