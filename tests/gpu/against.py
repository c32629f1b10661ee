"""Our steps beside the references', by the rows of `tests/bench/bench.py` that need a checkout."""

import csv
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1] / "bench/bench.py"
ROWS = {  # the folder of a checkout, and what of it is compared
    "DatasetCondensation": ("--reference", ("dm-step", "dc-step", "evaluate-5-networks")),
    "Efficient-Dataset-Condensation": ("--idc", ("idc-step",)),
    "mtt-distillation": ("--mtt", ("mtt-step",)),
    "cords": ("--cords", ("select-craig", "select-gradmatch", "select-glister")),
}
LEAST = 60.0  # seconds that a row should have


def jobs(
    references: str, device: str, left: Callable[[], float], out: Path
) -> dict[str, Callable[[], dict[str, Any]] | str]:
    """By name of a row: what measures it, or why it is skipped. references : the folder of the checkouts, or empty."""
    found: dict[str, Callable[[], dict[str, Any]] | str] = {}
    for folder, (option, names) in ROWS.items():
        checkout = Path(references, folder)
        for name in names:
            if not references or not checkout.is_dir():
                found[name] = f"no {folder} in {references}" if references else "no --references were given"
            else:
                found[name] = partial(measured, name, [option, checkout], device, left, out)
    return found


def measured(name: str, checkout: list, device: str, left: Callable[[], float], out: Path) -> dict[str, Any]:
    """Medians and the median ratio of a row, after a warm-up; by CUDA events on a GPU."""
    clock = "events" if device == "cuda" else "wall"
    command = [BENCH, *checkout, "--device", device, "--clock", clock, "--only", name, "--out", out]
    try:
        subprocess.run([sys.executable, *map(str, command)], check=True, timeout=left())
        return last(name, out)
    except (subprocess.SubprocessError, OSError, LookupError) as error:
        return {"name": name, "note": f"{type(error).__name__}: {error}"[:200]}


def last(name: str, out: Path) -> dict[str, Any]:
    """The row that was added last under a name: many names, and calls, share the file. LookupError without one."""
    with out.open(newline="") as file:
        if rows := [row for row in csv.DictReader(file) if row["name"] == name]:
            return rows[-1]
    raise LookupError(f"no row {name} in {out.name}")
