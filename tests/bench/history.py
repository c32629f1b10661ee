"""Rows of the benchmark: what is made of pairs of times, and what changed since the last row of the same name."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rows import read, write
from scipy.stats import wilcoxon

FIELDS = (
    "name", "ours_seconds", "reference_seconds", "ratio", "spread", "p", "units", "units_spread", "runs", "clock",
    "command", "device", "date", "versions", "commit",
)  # fmt: skip
TOLD = 0.1  # a change of units by more is said, where it is beyond the spreads

Pair = Sequence[tuple[float, float]]  # of each side: seconds of the work, and of the unit before it


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def summary(times: Sequence[Pair]) -> dict[str, Any]:
    """Medians, ratio and spread of pairs of runs; the second side of a pair may be missing."""
    sides = list(zip(*times, strict=True))
    units = [work / unit for work, unit in sides[0]]
    found: dict[str, Any] = {
        "ours_seconds": f"{statistics.median(work for work, _ in sides[0]):.4g}",
        "reference_seconds": "", "ratio": "", "spread": "", "p": "",
        "units": f"{statistics.median(units):.4g}", "units_spread": span(units), "runs": len(times),
    }  # fmt: skip
    if len(sides) == 2:
        ratios = [ours / theirs for (ours, _), (theirs, _) in times]
        logs = [math.log(ratio) for ratio in ratios]
        found |= {
            "reference_seconds": f"{statistics.median(work for work, _ in sides[1]):.4g}",
            "ratio": f"{statistics.median(ratios):.3f}",
            "spread": span(ratios),
            "p": f"{wilcoxon(logs).pvalue:.2g}" if any(logs) else "1",
        }
    return found


def span(values: Sequence[float]) -> str:
    """The quartiles, as text."""
    return " to ".join(f"{value:.4g}" for value in quartiles(values))


def check(path: Path, fields: Sequence[str] = FIELDS) -> None:
    """End the program where a file has rows of other columns: before more are measured, and before it is written."""
    if other := [name for name in next(iter(read(path)), {}) if name not in fields]:
        names = ", ".join(map(repr, other))
        raise SystemExit(f"--out {path}: has other rows than these, with {names}: name another file")


def add(path: Path, row: Mapping[str, Any], fields: Sequence[str] = FIELDS) -> None:
    """A row more at the end of a file; rows from before a column was there have it empty."""
    check(path, fields)
    write(path, [*read(path), row], fields)


def verdict(row: Mapping[str, Any], known: Sequence[Mapping[str, str]]) -> str:
    """A row beside the last one of its name, clock and device that has units: a change, or none that can be told."""
    same = [
        old for old in known
        if old.get("units") and all(old[key] == str(row[key]) for key in ("name", "clock", "device"))
    ]  # fmt: skip
    if not same:
        return f"{row['name']}: {row['units']} units, nothing to compare with"
    old = same[-1]
    change = float(row["units"]) / float(old["units"]) - 1
    (low, high), (old_low, old_high) = (map(float, r["units_spread"].split(" to ")) for r in (row, old))
    apart = low > old_high or high < old_low
    said = f"{row['name']}: {row['units']} units, {old['units']} in {old['commit']} ({old['date'][:10]})"
    if abs(change) > TOLD and apart:
        return f"{said}: {abs(change):.0%} {'SLOWER' if change > 0 else 'faster'}"
    return f"{said}: no change beyond noise"


def command(arguments: Sequence[str]) -> str:
    """How a row was asked for, without the folders of a machine."""
    return "make bench ARGS='" + re.sub(r"(?<=\s)(/|\.\./|~)\S*", "DIR", " ".join(arguments)) + "'"
