"""What we found on photographs: what a chapter shows first."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from ..utils.paths import root
from .figures import curves, show, style
from .origin import ran_on
from .tables import ABSENT, plus_minus, table
from .values import measured, named_by_end


def photographs(
    records: pd.DataFrame,
    published: pd.DataFrame | None = None,
    panel: Sequence[str] = ("method",),
    asked: Iterable[tuple[Any, ...]] | None = None,
) -> list[Any]:
    """What our committed records on photographs say: a figure, a table with the published numbers, and a sentence.

    records   : of one data set, with the criteria and ratios to compare, see `committed`.
    published : the paper's values of the same criteria and ratios; they stand beside the first panel alone.
    panel     : the settings that make a panel each.
    asked     : all cells there should be, as tuples of the panel's settings, a criterion and a ratio; None: of each
                panel that there is all criteria and ratios that some panel has.
    Returns what `display` shows: of an empty frame, that nothing was run yet. A cell that is still missing is named.
    Synthetic sets are shown as far as there are pictures of them (`trials.pictures`).

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> rows = [("dc", "random", 0.0, 0, 0.28), ("dc", "random", 0.9, 0, 0.26), ("dc", "loss", 0.9, 0, 0.29)]
    >>> records = pd.DataFrame(rows, columns=["method", "criterion", "ratio", "seed", "accuracy"])
    >>> records = records.assign(data="CIFAR-10 (JPEG)", ipc=1, repeats=5, device="CPU", date="2026-11-26", commit="1")
    >>> figure, numbers, said = report.photographs(records)
    >>> numbers.data.values.tolist()[0]
    ['dc', 'loss', '90%', '–', '29.0', '1']
    >>> print(said.data)
    **dc.** Full data reach 28.0%. With 90% removed, loss reaches 29.0% (+1.0), random 26.0% (-2.0).
    """
    if records.empty:
        return [Markdown("Not run yet.")]
    if records["ipc"].nunique() > 1 and "ipc" not in panel:
        panel, asked = [*panel, "ipc"], None
    by = [*panel, "criterion", "ratio"]
    values = measured(records, by)
    data = ", ".join(records["data"].unique())
    alt = f"Test accuracy on {data} against the kept share of the real data, log axis, with the band of full data; a "
    alt += f"panel for each {' and '.join(panel)}, a line for each criterion. The table below has the numbers."
    sets = set_pictures(named_by_end(records), panel)
    return [
        show(curves(values, panel=panel), alt=alt),
        table(_numbers(values, published, panel), _caption(records, data)),
        Markdown("\n\n".join([*_sentences(values, panel), *_missing(values, panel, asked)])),
        *([show(sets, alt=f"The synthetic sets of {data}, an image a class, by what was removed.")] if sets else []),
    ]


def set_pictures(records: pd.DataFrame, panel: Sequence[str]) -> Figure | None:
    """The sets of which there are pictures: full data, and each criterion at the largest ratio; a row each.

    records : committed ones, see `committed`. panel : the settings that are named beside what was removed.
    None where there is no picture.

    >>> from bilp_core import report
    >>> report.set_pictures(report.committed(preset="none"), ["method"])
    """
    if "preset" not in records or "key" not in records:
        return None
    rows = []
    for record in records.sort_values(["ratio", "criterion"]).to_dict("records"):
        path = root() / "book" / "results" / record["preset"] / "sets" / f"{record['key']}.png"
        if path.is_file() and record["ratio"] in (0, records["ratio"].max()):
            what = f"{record['criterion']}, {record['ratio']:.0%} removed" if record["ratio"] else "full data"
            rows.append((", ".join([*(str(record[name]) for name in panel), what]), plt.imread(path)))
    if not rows:
        return None
    style()
    tall = sum(picture.shape[0] / picture.shape[1] for _, picture in rows)
    figure, axes = plt.subplots(len(rows), 1, figsize=(5.5, 5.5 * tall + 0.24 * len(rows)), squeeze=False)
    for axis, (what, picture) in zip(axes.flat, rows, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(what, fontsize="small", loc="left", pad=2)
    return figure


def _caption(records: pd.DataFrame, data: str) -> str:
    seeds = records["seed"].nunique()
    spread = "± is over seeds" if seeds > 1 else "One seed, so there is no ±"
    networks = records["repeats"].max()
    return f"Test accuracy (%) on {data}, a mean over {networks} networks a set. {spread}. {ran_on(records)}."


def _numbers(values: pd.DataFrame, published: pd.DataFrame | None, panel: Sequence[str]) -> pd.DataFrame:
    theirs = {} if published is None else {_cell(r): r for r in published.to_dict("records")}
    first = tuple(values.iloc[0][list(panel)])
    rows = []
    order = values.sort_values([*panel, "ratio", "criterion"], ascending=[True] * len(panel) + [False, True])
    for row in order.to_dict("records"):
        known = theirs.get(_cell(row))
        known = known if tuple(row[name] for name in panel) == first else None
        rows.append(
            [row[name] for name in panel]
            + [row["criterion"] if row["ratio"] else "full data", f"{row['ratio']:.0%}"]
            + [plus_minus(known["value"], known["std"]) if known else ABSENT]
            + [plus_minus(row["value"], row["std"]), str(int(row["trials"]))]
        )
    return pd.DataFrame(rows, columns=[*panel, "criterion", "removed", "published", "ours", "seeds"])


def _cell(row: Mapping[Any, Any]) -> tuple[str | None, float]:
    """What was removed; with full data no criterion counts."""
    return row["criterion"] if row["ratio"] else None, row["ratio"]


def _sentences(values: pd.DataFrame, panel: Sequence[str]) -> list[str]:
    found = []
    for key, part in values.groupby(list(panel), sort=False):
        full, pruned = part[part["ratio"] == 0], part[part["ratio"] > 0]
        text = f"**{', '.join(map(str, key))}.** "
        base = full["value"].iloc[0] if len(full) else None
        text += f"Full data reach {base:.1f}%. " if base is not None else "Full data were not run yet. "
        if len(pruned):
            top = pruned["ratio"].max()
            best = pruned[pruned["ratio"] == top].sort_values("value", ascending=False)
            parts = [
                f"{name}{' reaches' if number == 0 else ''} {value:.1f}%"
                + (f" ({value - base:+.1f})" if base is not None else "")
                for number, (name, value) in enumerate(best[["criterion", "value"]].itertuples(index=False))
            ]
            text += f"With {top:.0%} removed, {', '.join(parts)}."
        found.append(text.strip())
    return found


def _missing(values: pd.DataFrame, panel: Sequence[str], asked: Iterable[tuple[Any, ...]] | None) -> list[str]:
    """What each panel lacks of what is `asked`, see `photographs`."""
    there = {(*key, *_cell(row)) for key, row in _keyed(values, panel)}
    wanted: dict[tuple, dict[float, list[str]]] = {}
    for *key, criterion, ratio in _usual(values, panel) if asked is None else asked:
        cells = wanted.setdefault(tuple(key), {}).setdefault(ratio, [])
        if (*key, *_cell({"criterion": criterion, "ratio": ratio})) not in there:
            cells += [] if criterion in cells else [criterion]
    begun = {key for key, _ in _keyed(values, panel)}
    lacking = []
    for whose, ratios in wanted.items():
        cells = [
            f"{' and '.join(ratios[ratio])} at {ratio:.0%}" if ratio else "full data"
            for ratio in sorted(ratios, key=lambda ratio: -ratio if ratio else -1)  # full data first
            if ratios[ratio]
        ]
        if cells:
            lacking.append(f"{', '.join(map(str, whose))}: {', '.join(cells) if whose in begun else 'all'}")
    return [f"Not run yet: {'; '.join(lacking)}."] if lacking else []


def _usual(values: pd.DataFrame, panel: Sequence[str]) -> list[tuple[Any, ...]]:
    """Of each panel that there is: full data, and all criteria and ratios that some panel has."""
    pruned = values[values["ratio"] > 0]
    criteria = [name for name in pruned["criterion"].unique() if "(" not in name]  # an end of its own is an extra
    cells = [("random", 0.0), *product(criteria, pruned["ratio"].unique())]
    return [(*key, *cell) for key in dict.fromkeys(key for key, _ in _keyed(values, panel)) for cell in cells]


def _keyed(values: pd.DataFrame, panel: Sequence[str]) -> list[tuple[tuple[Any, ...], dict[Hashable, Any]]]:
    return [(tuple(row[name] for name in panel), row) for row in values.to_dict("records")]
