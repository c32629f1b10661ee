"""Figures of the book."""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import InputError
from .tables import MARK, MEANS


@functools.cache
def style() -> None:
    """Set the look of every figure, once: ticks, colours for colour-blind readers, constrained layout.

    >>> import matplotlib
    >>> from bilp_core import report
    >>> report.style()
    >>> matplotlib.rcParams["savefig.facecolor"], matplotlib.rcParams["axes.spines.top"]
    ('white', False)
    """
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
    dpi : dots an inch, of the picture in the page.
    Raises InputError on an empty `alt`.

    >>> import matplotlib.pyplot as plt
    >>> from bilp_core import report
    >>> figure, axis = plt.subplots(figsize=(2, 1))
    >>> shown = report.show(figure, alt="An empty axis.")
    >>> shown.data[:50]
    '<img class="bilp-figure dark-light" alt="An empty '
    >>> plt.fignum_exists(figure.number)
    False
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
    The band is drawn where the panel has a value at ratio 0. What is `outdated` has an open marker.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core import report
    >>> columns = ["criterion", "ipc", "ratio", "value", "std"]
    >>> rows = [("random", 1, 0, 50, 1), ("loss", 1, 0.9, 49, 1), ("loss", 10, 0, 70, 1), ("loss", 10, 0.9, 60, 2)]
    >>> figure = report.curves(pd.DataFrame(rows, columns=columns), panel=["ipc"])
    >>> [axis.get_title() for axis in figure.axes]
    ['ipc 1', 'ipc 10']
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['full data, mean ± std', 'loss']
    >>> plt.close(figure)
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
        axis.set_xticks(kept, _apart(kept))
        axis.minorticks_off()
        names = [value if isinstance(value, str) else f"{name} {value}" for name, value in zip(panel, key, strict=True)]
        axis.set_title(", ".join(names), fontsize="medium")
    figure.supxlabel("kept share of the real data (%)" + _note(values), fontsize="medium")
    figure.supylabel("test accuracy (%)", fontsize="medium")
    legend(figure)
    return figure


def by_stratum(values: pd.DataFrame, line: str, ylabel: str, bands: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """A quantity against the stratum it was measured in: ten, named by their percentiles of the loss.

    values : columns stratum (0 = smallest scores), `line` (one line each), value and std.
    bands  : {label: one row of values} drawn across as mean ± standard deviation.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core import report
    >>> values = pd.DataFrame({"stratum": [0, 9], "method": "dm", "value": [60.0, 40.0], "std": 1.0})
    >>> figure = report.by_stratum(values, line="method", ylabel="test accuracy (%)")
    >>> figure.axes[0].get_ylabel(), figure.axes[0].get_xticklabels()[9].get_text()
    ('test accuracy (%)', '90–100')
    >>> plt.close(figure)
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
    axis.set_xlabel("percentiles of the loss in each class (left: easy, right: hard)" + _note(values))
    axis.set_ylabel(ylabel)
    legend(figure)
    return figure


def versions(values: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Accuracy of versions of a method, one panel for each method and IPC; the band is the first of `order`.

    values : columns method, ipc, version, value and std in per cent; a version that a method lacks leaves a gap.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core import report
    >>> rows = [("dc", 1, "as published", 28.3, 0.5), ("dc", 1, "pruned", 30.0, 0.2)]
    >>> values = pd.DataFrame(rows, columns=["method", "ipc", "version", "value", "std"])
    >>> figure = report.versions(values, order=["as published", "pruned"])
    >>> [axis.get_title() for axis in figure.axes]
    ['DC, IPC 1']
    >>> plt.close(figure)
    """
    style()
    panels = list(values.groupby(["method", "ipc"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(7.2, 0.3 * len(order) + 1.0), squeeze=False, sharey=True
    )  # fmt: skip
    colour = sns.color_palette("colorblind")[0]
    for axis, ((method, ipc), group) in zip(axes.flat, panels, strict=True):
        rows = group.set_index("version").reindex(list(order))
        first = rows.iloc[0]
        if first["std"] > 0:  # not of a single trial
            axis.axvspan(first["value"] - first["std"], first["value"] + first["std"], color="0.9", zorder=0)
        axis.errorbar(rows["value"], range(len(order)), xerr=rows["std"], fmt="o", color=colour, capsize=3)
        _open(axis, rows["value"], pd.Series(range(len(order)), rows.index), rows, (colour, "o"))
        axis.set_yticks(range(len(order)), order)
        axis.set_title(f"{str(method).upper()}, IPC {ipc}", fontsize="medium")
    axes[0, 0].invert_yaxis()
    figure.supxlabel("test accuracy (%)" + _note(values), fontsize="medium")
    return figure


def percentiles(stratum: int) -> str:
    """The name of a stratum, such as "90–100"; never a bare number, of which two opposite ones are in use.

    >>> from bilp_core import report
    >>> report.percentiles(0), report.percentiles(9)
    ('0–10', '90–100')
    """
    return f"{10 * stratum}–{10 * (stratum + 1)}"


def _looks(names: pd.Series) -> dict[Any, tuple]:
    """A colour and a marker for each name, so that lines differ without colour too."""
    return dict(zip(names.unique(), zip(sns.color_palette("colorblind"), "osD^vP*X<>", strict=True), strict=False))


def _apart(shares: Sequence[float]) -> list[str]:
    """Labels of ascending shares on a log axis, none where it would touch the one before."""
    labels, last = [], 0.0
    for share in shares:
        labels.append(f"{share:g}" if share >= 1.6 * last else "")
        last = share if labels[-1] else last
    return labels


def _band(axis: Axes, row: pd.DataFrame, label: str) -> None:
    """Mean ± standard deviation of one value, across the axis; nothing where there is no value."""
    if row.empty:
        return
    mean, std = row["value"].iloc[0], row["std"].iloc[0]
    label += f" {MARK}" if row.get("outdated", pd.Series([False])).iloc[0] else ""
    grey = 0.88 - 0.2 * len(axis.patches)  # a second band is darker
    if std > 0:
        axis.axhspan(mean - std, mean + std, color=str(grey), zorder=0, label=f"{label}, mean ± std")
    axis.axhline(mean, color="0.45", linewidth=1, zorder=1, label=None if std > 0 else label)


def _errorbar(axis: Axes, x: pd.Series, values: pd.DataFrame, look: tuple, label: Any) -> None:
    colour, marker = look
    axis.errorbar(x, values["value"], values["std"], color=colour, marker=marker, capsize=3, label=label)
    _open(axis, x, values["value"], values, look)


def _open(axis: Axes, x: pd.Series, y: pd.Series, values: pd.DataFrame, look: tuple) -> None:
    """Open markers over those of what is outdated."""
    if "outdated" in values and (old := values["outdated"].astype(bool)).any():
        colour, marker = look
        axis.plot(x[old], y[old], marker, markeredgecolor=colour, markerfacecolor="white", zorder=3)


def _note(values: pd.DataFrame) -> str:
    """What open markers mean, as a line of its own; empty where there are none."""
    return f"\nopen markers, {MARK}: {MEANS}" if "outdated" in values and values["outdated"].any() else ""


def legend(figure: Figure) -> None:
    """One legend for all panels, above them.

    >>> import matplotlib.pyplot as plt
    >>> from bilp_core import report
    >>> figure, axes = plt.subplots(1, 2)
    >>> for axis in axes:
    ...     lines = axis.plot([0, 1], label="loss")
    >>> report.legend(figure)
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['loss']
    >>> plt.close(figure)
    """
    found = (axis.get_legend_handles_labels() for axis in figure.axes)
    handles = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    widths = [len(str(label)) + 6 for label in handles]  # letters, with the mark
    across = len(handles) if sum(widths) < 110 else max(1, 110 // max(widths))  # what the width of a page holds
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=across, frameon=False)
