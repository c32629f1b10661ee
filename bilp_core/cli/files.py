"""What the command reads and writes."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..utils.files import atomic, check_output
from ..utils.progress import Progress

if TYPE_CHECKING:
    from ..data.folders import Reading
    from ..data.images import Splits


def load(args: argparse.Namespace, need: str = "both") -> "Splits":
    """The data that the command names; `need` says which halves there must be."""
    from ..data import load

    with Progress("reading") as bar:
        return load(args.data, args.root, progress=bar, need=need, flip=flip_of(args), **vars(reading_of(args)))


def reading_of(args: argparse.Namespace) -> "Reading":
    """How the command's options say that a folder is to be read."""
    from ..data.folders import Reading

    return Reading(args.size, args.depth, args.recursive, args.skip_bad, args.test_share, args.split_seed, args.frames)


def flip_of(args: argparse.Namespace) -> bool | None:
    return False if args.no_flip else None


def options_given(pairs: Sequence[Sequence[str]] | None) -> dict[str, Any]:
    """name=value words, the values as text: what they mean, their owner says."""
    found: dict[str, Any] = {}
    for word in [word for group in pairs or [] for word in group]:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"--set {word!r}: write name=value")
        if name in found:
            raise InputError(f"--set {word!r}: {name} is given twice")
        found[name] = text
    return found


def write_json(report: dict[str, Any], where: str) -> None:
    text = json.dumps(report, indent=1)
    if where == "-":
        print(text)
    else:
        with atomic(check_output(where)) as path:
            path.write_text(text + "\n")


def write_lines(names: Iterable[str], where: Path) -> None:
    """Names, one a line; those that are no UTF-8 as the bytes that they are."""
    names = list(names)
    if broken := [name for name in names if "\n" in name]:
        raise InputError(f"{broken[0]!r} has a line break in its name: it cannot be listed one a line in {where}")
    with atomic(where) as path:
        path.write_text("".join(f"{name}\n" for name in names), "utf-8", "surrogateescape")
