"""Measurements as a table."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file of rows with the same columns."""
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
