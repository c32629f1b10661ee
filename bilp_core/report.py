"""Tables and figures of the book: what a chapter shows, made from records and from the paper's numbers.

Two kinds of data frame go around here.
- Records: one row a trial, as `trials.run` returns them; accuracies are fractions.
- Values: some setting columns, then `value` and `std` in per cent, as `book/published/*.csv` holds the
  paper's numbers. `measured` and `max_ratios` turn records into values, so that all three columns of a
  comparison (published, ours at paper scale, this build) have one form.
"""

import base64
import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from html import escape
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bilp_core.comparable import max_pruning_ratio
from bilp_core.errors import InputError
from bilp_core.paths import root
from bilp_core.trials import Trial

NOT_RUN = "not run yet"
ABSENT = "–"
# Files that lie beside the records, but are none; curves/ holds loss curves.
MEASUREMENTS = ("bench", "ite", "selection")


# ---------------------------------------------------------------- reading


def published(name: str | list[str] | None = None, /, **where: Any) -> pd.DataFrame:
    """The paper's numbers: values with a row for each number of Tables 1-12 and of the main paper's table.

    name  : the table or tables, such as "table4"; None reads all.
    where : column=value, or column=list of values, to filter by; None stands for an empty cell.
    Returns columns table, data, method, ipc, network, evaluate_on, init, criterion, ratio, quantity, value,
    std and note. Raises InputError where nothing is left: a misspelt filter is no empty table.
    """
    frame = _read_all(root() / "book" / "published", skip=())
    if frame.empty:
        raise InputError("book/published holds no CSV file")
    if name is not None:
        where = {"table": name, **where}
    chosen = _filter(frame, where)
    if chosen.empty:
        raise InputError(f"no published number with {where}; tables: {sorted(frame['table'].unique())}")
    return chosen


def committed(**where: Any) -> pd.DataFrame:
    """Our records in `book/results/*.csv`, filtered as in `published`; empty where nothing ran yet.

    A setting that did not exist yet when a record was made has the default it then got.
    """
    records = _read_all(root() / "book" / "results", skip=MEASUREMENTS)
    for field in fields(Trial):
        if not records.empty and field.default not in (MISSING, None):
            column = records[field.name] if field.name in records else pd.Series(field.default, records.index)
            records[field.name] = column.where(column.notna(), field.default)
    return _filter(records, where)


def measurements(name: str) -> pd.DataFrame:
    """What we committed as `book/results/{name}.csv`, empty where that was not run yet; names: `MEASUREMENTS`.

    bench : timings. ite : ranking errors of the ITE's variants. selection : what coresets take at full size.
    """
    if name not in MEASUREMENTS:
        raise InputError(f"measurements {name!r}: must be one of {', '.join(MEASUREMENTS)}")
    path = root() / "book" / "results" / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def committed_curves() -> pd.DataFrame:
    """Loss curves of our committed records, `book/results/curves/*.csv`, as `trials.curves` gives them."""
    frame = _read_all(root() / "book" / "results" / "curves", skip=())
    return frame if not frame.empty else pd.DataFrame(columns=["key", "network", "epoch", "split", "loss", "accuracy"])


def _read_all(folder, skip: Iterable[str]) -> pd.DataFrame:
    frames = [pd.read_csv(path) for path in sorted(folder.glob("*.csv")) if path.stem not in skip]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _filter(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    if frame.empty:
        return frame
    keep = pd.Series(True, index=frame.index)
    for column, wanted in where.items():
        if column not in frame.columns:
            raise InputError(f"no column {column!r} to filter by; columns: {', '.join(frame.columns)}")
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        keep &= frame[column].isin([value for value in values if value is not None]) | (
            frame[column].isna() & (None in values)
        )
    return frame[keep].reset_index(drop=True)


# ---------------------------------------------------------------- records to values


def measured(records: pd.DataFrame, by: Sequence[str], what: str = "accuracy") -> pd.DataFrame:
    """Mean and standard deviation of accuracy over the trials of each experiment, in per cent.

    by   : the setting columns that tell experiments apart; the trials of one differ in their seed.
    what : another column in place of accuracy, in its own unit.
    Returns values: `by`, value, std (population; NaN for a single trial), and trials, their number.
    """
    if records.empty:
        return pd.DataFrame(columns=[*by, "value", "std", "trials"])
    groups = records.groupby(list(by), sort=False, dropna=False)
    found = (100 if what == "accuracy" else 1) * groups[what].agg(
        value="mean", std=lambda group: group.std(ddof=0) if len(group) > 1 else np.nan
    )
    return found.assign(trials=groups.size()).reset_index()


def max_ratios(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Maximum pruning ratio of each experiment, in per cent, see `comparable.max_pruning_ratio`.

    by : the setting columns that tell experiments apart, without ratio.
    Experiments without full-data trials, or without pruned ones, are left out.
    """
    nothing = pd.DataFrame(columns=[*by, "value", "std"])
    if records.empty:
        return nothing
    complete = repeat_full(records)
    ratios = complete.groupby(list(by), dropna=False)["ratio"]
    complete = complete[(ratios.transform("min") == 0) & (ratios.transform("max") > 0)]
    if complete.empty:
        return nothing
    found = max_pruning_ratio(complete, list(by))
    return found[list(by)].assign(value=100 * found["max_ratio"], std=np.nan)


def repeat_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Records or values with the rows of full data (ratio 0) repeated for each criterion.

    Full data has no criterion, so it runs once and serves all.
    """
    full, pruned = frame[frame["ratio"] == 0], frame[frame["ratio"] > 0]
    served = [full.assign(criterion=name) for name in pruned["criterion"].unique()]
    return pd.concat([*served, pruned], ignore_index=True)


def name_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Records or values with "full data" for the criterion of what was not pruned."""
    return frame.assign(criterion=frame["criterion"].where(frame["ratio"] > 0, "full data"))


def differences(values: pd.DataFrame, criterion: str, base: str, on: Sequence[str]) -> pd.DataFrame:
    """By how much one criterion is above another, settings `on` being equal: values, whose std is that of a difference
    of independent trials."""
    if values.empty:
        return values
    one, other = (
        values[values["criterion"] == name].set_index(list(on))[["value", "std"]] for name in (criterion, base)
    )
    value, std = one["value"] - other["value"], np.hypot(one["std"], other["std"])
    return pd.DataFrame({"value": value, "std": std}).dropna(subset="value").reset_index()


def mark_comparable(values: pd.DataFrame, same: Sequence[str]) -> pd.DataFrame:
    """Add the column `comparable`: is the mean at least the full-data mean less its standard deviation?

    The full-data value is the one at ratio 0 with equal settings in the columns `same`. Without one, nothing
    there is comparable. Source: supplement Sec. 6.3; a mean above the band counts too.
    """
    full = values[values["ratio"] == 0].drop_duplicates(list(same))
    floor = full[list(same)].assign(_floor=full["value"] - full["std"].fillna(0))
    marked = values.merge(floor, on=list(same), how="left")
    return marked.assign(comparable=marked["value"] >= marked["_floor"]).drop(columns="_floor")


# ---------------------------------------------------------------- tables


def results_table(
    values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str] = ("ratio",), caption: str = ""
) -> Styler:
    """Accuracies as mean ± standard deviation in per cent.

    rows, columns : the setting columns that span the table.
    Bold: the best of each column among the rows that differ in the last of `rows` only. Underlined:
    comparable to full data, where `values` has the column `comparable` (see `mark_comparable`). Both marks
    are of the text, so they need no colour.
    """
    means = _pivot(values, rows, columns, "value")
    spreads = _pivot(values, rows, columns, "std")
    text = means.combine(spreads, lambda mean, std: pd.Series(map(plus_minus, mean, std), index=mean.index))
    underline = None
    if "comparable" in values:
        underline = _pivot(values, rows, columns, "comparable").eq(True)
    rivals = means.groupby(level=list(rows[:-1]), sort=False) if len(rows) > 1 else means.groupby(lambda _: 0)
    return _style(text, caption, bold=means.eq(rivals.transform("max")), underline=underline)


def max_ratio_table(
    values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str] = ("method",), caption: str = ""
) -> Styler:
    """Maximum pruning ratios in the form of the supplement's Tables 3-5: settings down, methods across."""
    return _style(_pivot(values, rows, columns, "value").map(_percent), caption)


def three_columns(
    published: pd.DataFrame,
    paper_scale: pd.DataFrame,
    live: pd.DataFrame,
    on: Sequence[str],
    caption: str = "",
    show: Callable[[float, float], str] | None = None,
) -> Styler:
    """The comparison of the book: published | ours at paper scale | this build, one row for each setting, sorted.

    Three frames of values with the columns `on`. A setting absent from ours at paper scale reads "not run
    yet", one absent elsewhere "–". `show` writes a value and its standard deviation; mean ± std by default.
    """
    show = show or plus_minus
    sources = {"published": published, "ours at paper scale": paper_scale, "this build": live}
    merged = pd.concat([frame[list(on)] for frame in sources.values() if not frame.empty])
    merged = merged.drop_duplicates().sort_values(list(on)).set_index(list(on))
    for name, frame in sources.items():
        empty = NOT_RUN if name == "ours at paper scale" else ABSENT
        cells = {}
        for _, row in frame.iterrows():
            cells[_key(row, on)] = show(row["value"], row["std"])
        merged[name] = [cells.get(key if isinstance(key, tuple) else (key,), empty) for key in merged.index]
    return _style(merged, caption)


def one_by_one(records: pd.DataFrame, published: pd.DataFrame, caption: str = "") -> Styler:
    """Each of our trials beside the published value of its criterion and ratio, if there is one.

    The deviation of a trial is over its evaluation networks; the column score says how it was ranked.
    """
    at = {(row["criterion"], row["ratio"]): row for row in published.to_dict("records")}
    rows = []
    for row in records.sort_values(["ratio", "criterion"], ascending=[False, True]).to_dict("records"):
        theirs = at.get((row["criterion"], row["ratio"]))
        rows.append(
            {
                "criterion": row["criterion"],
                "pruning ratio": f"{row['ratio']:.0%}",
                "published": plus_minus(theirs["value"], theirs["std"]) if theirs else ABSENT,
                "ours": plus_minus(100 * row["accuracy"], 100 * row["std"]),
                "score": row["score"],
            }
        )
    return table(pd.DataFrame(rows), caption)


def percent(value: float, _std: float = np.nan) -> str:
    """A pruning ratio as the paper writes it, for `three_columns(..., show=percent)`."""
    return _percent(value)


def plus_minus(mean: float, std: float, digits: int = 1) -> str:
    """Mean ± standard deviation as the book writes them, to so many decimal places."""
    if pd.isna(mean):
        return ABSENT
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def table(frame: pd.DataFrame, caption: str = "", index: bool = False) -> Styler:
    """Any other frame as a table of the book; its numbers to three digits."""
    styler = _style(frame.map(_three_digits), caption)
    return styler if index else styler.hide(axis="index")


def _key(row: pd.Series, on: Sequence[str]) -> tuple:
    return tuple(row[column] for column in on)


def _pivot(values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], what: str) -> pd.DataFrame:
    """Rows and columns level by level in their order of appearance: a chapter's grid decides its table's order."""
    wide = values.pivot(index=list(rows), columns=list(columns), values=what)
    return wide.reindex(index=_in_order(wide.index, values), columns=_in_order(wide.columns, values))


def _in_order(labels: pd.Index, values: pd.DataFrame) -> list:
    ranks = [{value: place for place, value in enumerate(values[name].unique())} for name in labels.names]
    tuples = labels if len(ranks) > 1 else [(label,) for label in labels]
    ordered = sorted(tuples, key=lambda label: [rank[part] for rank, part in zip(ranks, label, strict=True)])
    return ordered if len(ranks) > 1 else [label for (label,) in ordered]


def _style(
    text: pd.DataFrame, caption: str, bold: pd.DataFrame | None = None, underline: pd.DataFrame | None = None
) -> Styler:
    # Two tables of a page need two identifiers, and the same table the same one in each build.
    digest = hashlib.sha256((caption + text.to_csv()).encode()).hexdigest()[:8]
    text = text.set_axis(_labels(text.index), axis=0).set_axis(_labels(text.columns), axis=1)
    # `dataframe` is the class whose colours the theme sets, for the light and for the dark page.
    styler = (
        Styler(text, uuid=digest, cell_ids=False, escape="html")
        .set_table_attributes('class="dataframe"')
        .format_index(escape="html", axis=0)
        .format_index(escape="html", axis=1)
    )
    if caption:
        styler = styler.set_caption(escape(caption))
    for mask, rule in ((bold, "font-weight: bold"), (underline, "text-decoration: underline")):
        if mask is not None:
            styler = styler.apply(lambda _, m=mask, r=rule: np.where(m.to_numpy(dtype=bool), r, ""), axis=None)
    return styler


def _labels(index: pd.Index) -> pd.Index:
    """Setting values as headings: ratios in per cent, other numbers without trailing zeros."""
    names = ["pruning ratio" if name == "ratio" else name for name in index.names]
    columns = []
    for level, name in enumerate(index.names):
        labels = index.get_level_values(level)
        scale, unit = (100, "%") if name == "ratio" else (1, "")
        columns.append([f"{scale * v:.4g}{unit}" if isinstance(v, float) else str(v) for v in labels])
    if len(names) == 1:
        return pd.Index(columns[0], name=names[0])
    return pd.MultiIndex.from_arrays(columns, names=names)


def _three_digits(value: Any) -> str:
    if isinstance(value, float):
        return ABSENT if np.isnan(value) else f"{value:.3g}"
    return str(value)


def _percent(value: float) -> str:
    return ABSENT if pd.isna(value) else f"{value:.4g}%"


# ---------------------------------------------------------------- figures


@functools.cache
def style() -> None:
    """Set the look of every figure, once: ticks, colours for colour-blind readers, constrained layout."""
    sns.set_theme(style="ticks", palette="colorblind", font_scale=0.8)  # for the text column, 7.2 inches wide
    matplotlib.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            # Opaque: on the dark page a figure is a light card, not black text on black.
            "savefig.facecolor": "white",
        }
    )


def show(figure: Figure, alt: str, dpi: int = 160) -> HTML:
    """The figure as an HTML image with alternative text; closes it, so that it appears once.

    As HTML because myst-nb gives a plain figure no alternative text but one typed into the cell's metadata,
    before the numbers are known. The picture is inside the page: nothing to fetch, and a saved page keeps it.
    Raises InputError on an empty `alt`.
    """
    if not alt.strip():
        raise InputError("alt is empty; say in a sentence what the figure shows")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    width = round(96 * figure.get_figwidth())  # CSS pixels
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    # `dark-light` keeps the theme from changing the picture's brightness and contrast in dark mode.
    return HTML(
        f'<img class="bilp-figure dark-light" alt="{escape(alt)}" src="data:image/png;base64,{data}" '
        # On a telephone it scrolls in its box, rather than shrink until nobody can read it.
        f'style="width: {width}px; max-width: max(100%, 30rem); height: auto; display: block; margin: auto">'
    )


def curves(values: pd.DataFrame, line: str = "criterion", panel: Sequence[str] = ()) -> Figure:
    """Accuracy against the KEPT share on a log axis, with the band mean ± standard deviation of full data.

    values : settings, among them ratio (share removed, a fraction), `line`, `panel`; value, std in per cent.
    line   : the setting with one line each; panel: settings with one panel each.
    The band is drawn where the panel has a value at ratio 0.
    """
    style()
    panels = list(values.groupby(list(panel), sort=False)) if panel else [((), values)]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    size = (4.8 if across == 1 else 7.2, 2.5 * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    looks = _looks(values.loc[values["ratio"] > 0, line])
    kept = sorted({round(100 * (1 - ratio), 6) for ratio in values["ratio"]})
    for axis, (key, group) in zip(axes.flat, panels, strict=False):
        _band(axis, group[group["ratio"] == 0], "full data")
        for name, part in group[group["ratio"] > 0].groupby(line, sort=False):
            part = part.sort_values("ratio")
            _errorbar(axis, 100 * (1 - part["ratio"]), part, looks[name], name)
        axis.set_xscale("log")
        axis.set_xticks(kept, [f"{share:g}" for share in kept])
        axis.minorticks_off()
        names = [value if isinstance(value, str) else f"{name} {value}" for name, value in zip(panel, key, strict=True)]
        axis.set_title(", ".join(names), fontsize="medium")
    figure.supxlabel("kept share of the real data (%)", fontsize="medium")
    figure.supylabel("test accuracy (%)", fontsize="medium")
    legend(figure)
    return figure


def by_stratum(values: pd.DataFrame, line: str, ylabel: str, bands: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """A quantity against the stratum it was measured in: ten, named by their percentiles of the loss.

    values : columns stratum (0 = smallest scores), `line` (one line each), value and std.
    bands  : {label: one row of values} drawn across as mean ± standard deviation.
    """
    style()
    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    for label, row in (bands or {}).items():
        _band(axis, row, label)
    looks = _looks(values[line])
    for name, part in values.groupby(line, sort=False):
        part = part.sort_values("stratum")
        _errorbar(axis, part["stratum"], part, looks[name], name)
    axis.set_xticks(range(10), [percentiles(k) for k in range(10)])
    axis.set_xlabel("percentiles of the loss in each class (left: easy, right: hard)")
    axis.set_ylabel(ylabel)
    legend(figure)
    return figure


def versions(values: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Accuracy of versions of a method, one panel for each method and IPC; the band is the first of `order`.

    values : columns method, ipc, version, value and std in per cent.
    """
    style()
    panels = list(values.groupby(["method", "ipc"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(7.2, 0.3 * len(order) + 1.0), squeeze=False, sharey=True
    )  # fmt: skip
    colour = sns.color_palette("colorblind")[0]
    for axis, ((method, ipc), group) in zip(axes.flat, panels, strict=True):
        rows = group.set_index("version").loc[list(order)]
        first = rows.iloc[0]
        axis.axvspan(first["value"] - first["std"], first["value"] + first["std"], color="0.9", zorder=0)
        axis.errorbar(rows["value"], range(len(order)), xerr=rows["std"], fmt="o", color=colour, capsize=3)
        axis.set_yticks(range(len(order)), order)
        axis.set_title(f"{str(method).upper()}, IPC {ipc}", fontsize="medium")
    axes[0, 0].invert_yaxis()
    figure.supxlabel("test accuracy (%)", fontsize="medium")
    return figure


def percentiles(stratum: int) -> str:
    """The name of a stratum, such as "90–100"; never a bare number, of which two opposite ones are in use."""
    return f"{10 * stratum}–{10 * (stratum + 1)}"


def _looks(names: pd.Series) -> dict[Any, tuple]:
    """A colour and a marker for each name, so that lines differ without colour too."""
    return dict(zip(names.unique(), zip(sns.color_palette("colorblind"), "osD^vP*X<>", strict=True), strict=False))


def _band(axis: Axes, row: pd.DataFrame, label: str) -> None:
    """Mean ± standard deviation of one value, across the axis; nothing where there is no value."""
    if row.empty:
        return
    mean, std = row["value"].iloc[0], row["std"].iloc[0]
    grey = 0.88 - 0.2 * len(axis.patches)  # a second band is darker
    if std > 0:
        axis.axhspan(mean - std, mean + std, color=str(grey), zorder=0, label=f"{label}, mean ± std")
    axis.axhline(mean, color="0.45", linewidth=1, zorder=1, label=None if std > 0 else label)


def _errorbar(axis: Axes, x: pd.Series, values: pd.DataFrame, look: tuple, label: Any) -> None:
    colour, marker = look
    axis.errorbar(x, values["value"], values["std"], color=colour, marker=marker, capsize=3, label=label)


def legend(figure: Figure) -> None:
    """One legend for all panels, above them."""
    found = (axis.get_legend_handles_labels() for axis in figure.axes)
    handles = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)


def image_grid(panels: Mapping[str, Mapping[str, Any]], scale: float = 0.39) -> Figure:
    """Images side by side: one panel a key, in it one labelled row of images a key.

    panels : {panel title: {row label: images [n, C, H, W]}}; uint8, or floats in 0..1. C is 1 or 3.
    scale  : edge of one image in inches.
    """
    style()
    pictures = {title: {label: _rows(images) for label, images in rows.items()} for title, rows in panels.items()}
    widest = [max(len(row) for row in rows.values()) for rows in pictures.values()]
    deepest = max(len(rows) for rows in pictures.values())
    figure, axes = plt.subplots(
        1,
        len(pictures),
        figsize=(scale * (sum(widest) + 1.2 * len(widest)), scale * (deepest + 1)),
        width_ratios=widest,
        squeeze=False,
    )
    for axis, (title, rows) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(_mosaic(list(rows.values())), interpolation="nearest")
        height = next(iter(rows.values())).shape[1]
        axis.set_yticks([(height + 1) * i + (height - 1) / 2 for i in range(len(rows))], list(rows))
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.set_title(title, fontsize="medium")
        sns.despine(ax=axis, left=True, bottom=True)
    return figure


def _rows(images: Any) -> np.ndarray:
    """[n, C, H, W] in any accepted form -> float [n, H, W, 3] in 0..1."""
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise InputError(f"images have the shape {array.shape}; allowed: [n, C, H, W] with C = 1 or 3")
    array = array / 255 if array.dtype == np.uint8 else np.clip(array, 0, 1)
    return np.repeat(array.transpose(0, 2, 3, 1), 3 if array.shape[1] == 1 else 1, axis=3)


def _mosaic(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of pictures on one white sheet, a pixel apart."""
    height, width = rows[0].shape[1:3]
    sheet = np.ones((len(rows) * (height + 1), max(map(len, rows)) * (width + 1), 3))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width] = picture
    return sheet


# ---------------------------------------------------------------- provenance


def provenance(parameters: Mapping[str, Any], records: pd.DataFrame) -> Styler:
    """The box at the end of a page: what its numbers were made with, all of it read from the records.

    parameters : the chapter's parameters, by name.
    """
    lines: dict[str, str] = {name: _plain(value) for name, value in parameters.items()}
    lines["trials"] = str(len(records))
    if not records.empty:
        lines["time in trials"] = f"{records['seconds'].sum():.0f} s in all"
        lines["run"] = _period(records["date"])
        lines["seeds of the trials"] = _plain(sorted(records["seed"].unique().tolist()))
        for name in ("device", "versions", "commit"):
            lines[name] = "; ".join(dict.fromkeys(_plain(value) for value in records[name]))
    box = pd.DataFrame({"value": lines.values()}, index=list(lines))
    return _style(box, "Provenance of the numbers on this page").hide(axis="columns")


def ran_on(records: pd.DataFrame) -> str:
    """Where and when records were made, for a caption; "not run yet" where there are none."""
    if records.empty:
        return NOT_RUN
    return f"{'; '.join(records['device'].unique())}, {_period(records['date'])}"


def _period(dates: pd.Series) -> str:
    """First and last of ISO dates, in UTC to the minute."""
    times = sorted(date[:16].replace("T", " ") for date in dates)
    return (times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}") + " UTC"


def _plain(value: Any) -> str:
    if isinstance(value, str) and value.startswith("{"):  # a mapping, as records hold it
        value = json.loads(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
