"""What shortens a distillation of many samples: classes split, an early stop, and part of the data."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .. import report
from ..book.chapter import chapters, settings
from ..book.chapter import named as named_chapter
from ..errors import InputError
from ..trials import Trial, grid

PRUNED = {"loss": "by loss", "random": "at random"}
# By name: the settings of a cell that a version needs, and the criterion where samples go.
VERSIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "all data, unsplit": (("splits",), ""),
    "all data": ((), ""),
    "all data, stopped": (("stop",), ""),
    "all data, to a plateau": (("plateau",), ""),
    "by loss": (("ratio",), "loss"),
    "by loss, stopped": (("ratio", "stop"), "loss"),
    "at random, stopped": (("ratio", "stop"), "random"),
}
CELL = ("data", "method", "ipc", "network", "splits", "ratio", "stop", "plateau", "options", "score", "versions")
TOLD = ("by loss, stopped", "all data, stopped", "at random, stopped")  # beside all data, in words
SAME = ["data", "method", "ipc"]  # what the versions of a cell share


def trials_of(cells: Sequence[Mapping[str, Any]], common: Mapping[str, Any], versions: Sequence[str]) -> list[Trial]:
    """The trials of all cells, each in those of the `versions` that its settings allow.

    cells : of each, `method`, and of `CELL` what is its own. common : fields of a trial that cells share.
    Raises InputError for a cell or a version that there is not.

    >>> from bilp_core.studies.large_data import trials_of
    >>> cells = [{"method": "dm", "splits": 2, "ratio": 0.5, "stop": 10}]
    >>> todo = trials_of(cells, {"data": "digits", "seed": [0]}, ["all data", "by loss, stopped"])
    >>> [(trial.splits, trial.ratio, trial.stop) for trial in todo]
    [(2, 0.0, 0), (2, 0.5, 10)]
    """
    found = []
    for cell in cells:
        if unknown := set(cell) - set(CELL):
            raise InputError(
                f"cells: {', '.join(sorted(unknown))} in {dict(cell)} is unknown; allowed: {', '.join(CELL)}"
            )
        if "method" not in cell:
            raise InputError(f"cells: {dict(cell)} names no method")
        wanted = cell.get("versions", versions)
        if strange := set(wanted) - set(VERSIONS):
            raise InputError(f"versions: {', '.join(sorted(strange))} unknown; there are: {', '.join(VERSIONS)}")
        own = {name: cell[name] for name in ("data", "method", "ipc", "network", "options") if name in cell}
        probe = cell.get("score", common.get("score", {}))
        shared = {name: value for name, value in common.items() if name != "score"}
        for version in wanted:
            needs, criterion = VERSIONS[version]
            if not all(cell.get(name) for name in needs):
                continue
            change = {name: cell[name] for name in needs if name != "splits"}
            change["splits"] = 1 if version == "all data, unsplit" else cell.get("splits", 1)
            if criterion:
                change["criterion"] = criterion
            if criterion == "loss":
                change["score"] = probe
            found += grid(**{**shared, **own, **change})
    if not found:
        raise InputError(f"versions = {list(versions)}: no cell has the settings that one of them needs")
    return found


def named(records: pd.DataFrame) -> pd.DataFrame:
    """Records with a column `version`, one of `VERSIONS`; what none of them is goes."""
    if records.empty:
        return records.assign(version=[])
    split = records.groupby(SAME)["splits"].transform("max") > 1
    names = []
    for row, other in zip(records.to_dict("records"), split, strict=True):
        name = PRUNED.get(row["criterion"], row["criterion"]) if row["ratio"] else "all data"
        name += ", unsplit" if other and row["splits"] == 1 else ""
        name += ", stopped" if row["stop"] else ""
        name += ", to a plateau" if row["plateau"] else ""
        names.append(name)
    found = records.assign(version=names)
    return found[found["version"].isin(VERSIONS)]


def paper_way(records: pd.DataFrame) -> pd.DataFrame:
    """Of the records of `named` those of the paper's two ways: `dm` has all data, `bilp+dm` those by loss, to a stop
    where its cell has one."""
    stops = records.groupby(SAME)["stop"].transform("max") > 0
    best = ["by loss, stopped" if stop else "by loss" for stop in stops]
    ours = records["version"] == best
    chosen = records[ours | (records["version"] == "all data")]
    return chosen.assign(
        method=[("bilp+" if own else "") + m for own, m in zip(ours[chosen.index], chosen["method"], strict=True)]
    )


def compared(records: pd.DataFrame, same: Sequence[str] = SAME, *, timed: bool = True) -> pd.DataFrame:
    """A row a cell and version: accuracy, rounds and time.

    records : of `named`. same : columns that tell cells apart. timed : False leaves out times, of trials that ran while
    the machine had other work, now more and now less.
    Returns these, version, value, std, trials (see `report.measured`), rounds (the most that one
    had), seconds (median over seeds of first stage and distillation, all parts of split classes together), saved
    (their share of the time that "all data" took which is not needed; NaN without it) and ranking (seconds that the
    scores took, once for all that use them).
    """
    timing = records["timing"].map(json.loads)
    resolved = records["resolved"].map(json.loads)
    rows = records.assign(
        spent=timing.map(lambda t: t["distil"] + t["stage"]),
        ranking=timing.map(lambda t: t["score"]),
        rounds=resolved.map(lambda r: r.get("rounds", r["options"]["iterations"])),
    )
    same, on = list(same), [*same, "version"]
    measured = report.measured(rows, on)
    found = measured.merge(
        rows.groupby(on, sort=False).agg(
            seconds=("spent", "median"), ranking=("ranking", "max"), rounds=("rounds", "max")
        ),
        on=on,
    )
    full = found[found["version"] == "all data"].set_index(same)["seconds"]
    whole = [full.get(tuple(row), float("nan")) for row in found[same].values.tolist()]
    found["saved"] = 1 - found["seconds"] / whole
    if not timed:
        found = found.assign(seconds=float("nan"), saved=float("nan"), ranking=0.0)
    found["place"] = found["version"].map(list(VERSIONS).index)
    cells = found[same].apply(tuple, axis=1)
    found["cell"] = cells.map({cell: place for place, cell in enumerate(dict.fromkeys(cells))})
    return found.sort_values(["cell", "place"], ignore_index=True).drop(columns=["cell", "place"])


def shown(found: pd.DataFrame) -> pd.DataFrame:
    """What `compared` returns, as a table of a page."""
    table = found.assign(
        accuracy=[report.plus_minus(*pair) for pair in zip(found["value"], found["std"], strict=True)],
        saved=[f"{share:.0%}" if share == share else "" for share in found["saved"]],
    )
    table["seconds"] = table["seconds"].round(1)
    times = [] if found["seconds"].isna().all() else ["seconds", "saved"]
    return table[[*SAME, "version", "accuracy", "rounds", *times, "trials"]].rename(columns={"saved": "time saved"})


def over_time(found: pd.DataFrame) -> Figure:
    """Accuracy against the time that the distillation took, one panel a cell, one mark a version.

    found : of `compared`.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies.large_data import over_time
    >>> rows = [("digits", "dm", 1, "all data", 80.0, 1.0, 4.0), ("digits", "dm", 1, "by loss", 79.0, 1.0, 1.5)]
    >>> columns = ["data", "method", "ipc", "version", "value", "std", "seconds"]
    >>> figure = over_time(pd.DataFrame(rows, columns=columns))
    >>> [axis.get_title() for axis in figure.axes]
    ['DM, IPC 1']
    >>> plt.close(figure)
    """
    report.style()
    panels = list(found.groupby(SAME, sort=False))
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(7.2, 2.4 * down + 0.8), squeeze=False)
    colours = dict(zip(VERSIONS, sns.color_palette("colorblind", len(VERSIONS)), strict=True))
    marks = dict(zip(VERSIONS, "PosvD^X", strict=True))
    sets = found["data"].nunique() > 1
    for axis, ((data, method, ipc), group) in zip(axes.flat, panels, strict=False):
        for row in group.to_dict("records"):
            name = row["version"]
            axis.errorbar(
                row["seconds"],
                row["value"],
                yerr=row["std"],
                fmt=marks[name],
                color=colours[name],
                capsize=3,
                label=name,
            )
        axis.set_xlim(left=0)
        axis.set_title(f"{data}, " * sets + f"{str(method).upper()}, IPC {ipc}", fontsize="medium")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("time of the distillation (s)", fontsize="medium")
    figure.supylabel("test accuracy (%)", fontsize="medium")
    report.legend(figure)
    return figure


def sentences(found: pd.DataFrame) -> str:
    """What `compared` found, cell by cell, in words."""
    lines = []
    for (data, method, ipc), group in found.groupby(SAME, sort=False):
        at = group.set_index("version")
        said = [f"**{str(method).upper()}, IPC {ipc}, {data}.**"]
        if {"all data", "all data, unsplit"} <= set(at.index):
            change = at["value"]["all data"] - at["value"]["all data, unsplit"]
            said.append(f"Splitting the classes changes the accuracy by {change:+.1f} points.")
        if others := [name for name in TOLD if name in at.index and "all data" in at.index]:
            told = "; ".join(f"{name}: {_effect(at, name)}" for name in others)
            said.append(f"Against all data, {told}.")
        seconds, ranking = at["seconds"], float(group["ranking"].max())
        if ranking and {"all data", "by loss, stopped"} <= set(at.index):
            gained = float(seconds["all data"] - seconds["by loss, stopped"])
            said.append(
                f"The ranking took {ranking:.1f} s, once"
                + (f", the gain of {ranking / gained:.1f} sets." if gained > 0 else ".")
            )
        lines.append(" ".join(said))
    return "\n\n".join(lines)


def _effect(at: pd.DataFrame, version: str) -> str:
    """What a version does to accuracy and, where it was measured, time, against all data."""
    change = f"{at['value'][version] - at['value']['all data']:+.1f} points"
    saved = at["saved"][version]
    return change if saved != saved else f"{change} and {saved:.0%} less time"


def published_savings() -> pd.DataFrame:
    """Time that the main paper's large-scale runs save, beside the share of their rounds that is not run.

    >>> from bilp_core.studies.large_data import published_savings
    >>> published_savings().values.tolist()[0]
    ['imagenet-64', 'dc', 1, 27, 20]
    """
    values = settings(named_chapter("large-data", chapters()), "paper")
    cells = {(cell.get("data", values["data"]), cell["method"], cell["ipc"]): cell for cell in values["cells"]}
    rows = []
    for row in report.published("large-scale", quantity="time_change").to_dict("records"):
        data, method, ipc = row["data"], row["method"].removeprefix("bilp+"), int(row["ipc"])
        cell = cells[data, method, ipc]
        rows.append(
            (data, method, ipc, round(-row["value"]), round(100 * (1 - cell["stop"] / cell["options"]["iterations"])))
        )
    return pd.DataFrame(rows, columns=[*SAME, "time saved (%)", "rounds left out (%)"])
