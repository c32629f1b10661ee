"""Measurements as a table: what is read, written, and said of where a row was made."""

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bilp_core import trials

PROVENANCE = ("device", "date", "versions", "commit")


def destination(text: str) -> Path:
    """A file that `--out` names, for argparse: one that cannot be written is refused before anything is measured."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder; name a CSV file")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder as {path.parent}; make it first")
    return path


def write(path: str | Path, rows: Sequence[Mapping[str, Any]], fields: Sequence[str] = ()) -> None:
    """A CSV file of rows with the same columns, or with some of `fields`, empty where a row has none.

    Raises ValueError for a column besides; what the file held is left then.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fields or list(rows[0]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    Path(path).write_text(text.getvalue(), newline="")


def read(path: Path) -> list[dict[str, str]]:
    """All rows of a file, in the order in which they were written; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def origin(device: str) -> dict[str, Any]:
    """What a row says of where and when it was made."""
    about = trials.provenance(device)
    return {name: about[name] for name in PROVENANCE}
