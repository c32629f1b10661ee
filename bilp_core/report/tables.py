"""Tables of the book."""

import hashlib
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

NOT_RUN = "not run yet"
ABSENT = "–"
MARK = "†"  # of what is outdated, see `committed`
MEANS = "of an earlier revision of this library, which may now give another number"


def results_table(
    values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str] = ("ratio",), caption: str = ""
) -> Styler:
    """Accuracies as mean ± standard deviation in per cent.

    rows, columns : the setting columns that span the table.
    Bold: the best of each column among the rows that differ in the last of `rows` only. Underlined:
    comparable to full data, where `values` has the column `comparable` (see `mark_comparable`). Both marks
    are of the text, so they need no colour.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> rows = [("dc", "random", 0.5, 28.5, 0.3), ("dc", "loss", 0.5, 30.0, 0.2)]
    >>> values = pd.DataFrame(rows, columns=["method", "criterion", "ratio", "value", "std"])
    >>> table = report.results_table(values, rows=["method", "criterion"], caption="CIFAR-10")
    >>> table.data.to_dict()
    {'50%': {('dc', 'random'): '28.5 ± 0.3', ('dc', 'loss'): '30.0 ± 0.2'}}
    >>> table.to_html().count("font-weight: bold")
    1
    """
    means = _pivot(values, rows, columns, "value")
    spreads = _pivot(values, rows, columns, "std")
    text = means.combine(spreads, lambda mean, std: pd.Series(map(plus_minus, mean, std), index=mean.index))
    text += _marks(values, rows, columns)
    underline = None
    if "comparable" in values:
        underline = _pivot(values, rows, columns, "comparable").eq(True)
    rivals = means.groupby(level=list(rows[:-1]), sort=False) if len(rows) > 1 else means.groupby(lambda _: 0)
    return styled(text, noted(caption, values), bold=means.eq(rivals.transform("max")), underline=underline)


def max_ratio_table(
    values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str] = ("method",), caption: str = ""
) -> Styler:
    """Maximum pruning ratios in the form of the supplement's Tables 3-5: settings down, methods across.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> values = pd.DataFrame({"ipc": [1, 1, 10], "method": ["dc", "dm", "dc"], "value": [90.0, 85.0, 70.0]})
    >>> report.max_ratio_table(values, rows=["ipc"]).data.to_dict("index")
    {'1': {'dc': '90%', 'dm': '85%'}, '10': {'dc': '70%', 'dm': '–'}}
    """
    text = _pivot(values, rows, columns, "value").map(_percent) + _marks(values, rows, columns)
    return styled(text, noted(caption, values))


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

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> columns = ["method", "value", "std"]
    >>> theirs = pd.DataFrame([("dc", 90, float("nan")), ("dm", 85, float("nan"))], columns=columns)
    >>> ours = pd.DataFrame([("dc", 95, float("nan"))], columns=columns)
    >>> table = report.three_columns(theirs, ours.iloc[:0], ours, on=["method"], show=report.percent)
    >>> table.data.values.tolist()
    [['90%', 'not run yet', '95%'], ['85%', 'not run yet', '–']]
    """
    show = show or plus_minus
    sources = {"published": published, "ours at paper scale": paper_scale, "this build": live}
    merged = pd.concat([frame[list(on)] for frame in sources.values() if not frame.empty])
    merged = merged.drop_duplicates().sort_values(list(on)).set_index(list(on))
    for name, frame in sources.items():
        empty = NOT_RUN if name == "ours at paper scale" else ABSENT
        cells = {}
        for _, row in frame.iterrows():
            cells[_key(row, on)] = show(row["value"], row["std"]) + mark(row.get("outdated"))
        merged[name] = [cells.get(key if isinstance(key, tuple) else (key,), empty) for key in merged.index]
    return styled(merged, noted(caption, *sources.values()))


def one_by_one(records: pd.DataFrame, published: pd.DataFrame, caption: str = "") -> Styler:
    """Each of our trials beside the published value of its criterion and ratio, if there is one.

    The deviation of a trial is over its evaluation networks; the column score says how it was ranked.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> setting = {"criterion": "loss", "ratio": 0.99}
    >>> records = pd.DataFrame([{**setting, "accuracy": 0.2832, "std": 0.002, "score": '{"epochs": 5}'}])
    >>> published = pd.DataFrame([{**setting, "value": 29.7, "std": float("nan")}])
    >>> report.one_by_one(records, published).data.values.tolist()
    [['loss', '99%', '29.7', '28.3 ± 0.2', '{"epochs": 5}']]
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
                "ours": plus_minus(100 * row["accuracy"], 100 * row["std"]) + mark(row.get("outdated")),
                "score": row["score"],
            }
        )
    return table(pd.DataFrame(rows), noted(caption, records))


def percent(value: float, _std: float = np.nan) -> str:
    """A pruning ratio as the paper writes it, for `three_columns(..., show=percent)`.

    value : in per cent.

    >>> from bilp_core import report
    >>> report.percent(99.50), report.percent(float("nan"))
    ('99.5%', '–')
    """
    return _percent(value)


def plus_minus(mean: float, std: float, digits: int = 1) -> str:
    """Mean ± standard deviation as the book writes them, to so many decimal places.

    >>> from bilp_core import report
    >>> report.plus_minus(28.34, 0.52), report.plus_minus(28.34, float("nan"), digits=2)
    ('28.3 ± 0.5', '28.34')
    """
    if pd.isna(mean):
        return ABSENT
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def over_seeds(count: int) -> str:
    """What a value ± of so many trials is, for captions.

    >>> from bilp_core import report
    >>> report.over_seeds(3), report.over_seeds(1)
    ('mean ± standard deviation over 3 seeds', 'of one seed')
    """
    return f"mean ± standard deviation over {count} seeds" if count > 1 else "of one seed"


def table(frame: pd.DataFrame, caption: str = "", index: bool = False) -> Styler:
    """Any other frame as a table of the book; its numbers to three digits. Where there is a column `outdated`, it
    becomes a mark in the last one.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> report.table(pd.DataFrame({"variant": ["sketch"], "error": [0.027182]}), "Ranking errors").data.values.tolist()
    [['sketch', '0.0272']]
    """
    text = frame.map(_three_digits)
    if "outdated" in frame:
        text = text.drop(columns="outdated")
        text[text.columns[-1]] += [mark(found) for found in frame["outdated"]]
    styler = styled(text, noted(caption, frame))
    return styler if index else styler.hide(axis="index")


def mark(outdated: Any) -> str:
    """What a number that is outdated has behind it, see `committed`; empty for another.

    >>> from bilp_core.report.tables import mark
    >>> mark(True), mark(None)
    (' †', '')
    """
    return f" {MARK}" if isinstance(outdated, bool | np.bool_) and outdated else ""


def noted(caption: str, *frames: pd.DataFrame) -> str:
    """The caption, and what the mark means where a frame has a number that is outdated.

    >>> import pandas as pd
    >>> from bilp_core.report.tables import noted
    >>> noted("Accuracy.", pd.DataFrame({"outdated": [True]}))
    'Accuracy. † of an earlier revision of this library, which may now give another number.'
    """
    if not any(mark(found) for frame in frames for found in frame.get("outdated", [])):
        return caption
    return f"{caption} {MARK} {MEANS}.".strip()


def _marks(values: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame | str:
    if "outdated" not in values:
        return ""
    return _pivot(values, rows, columns, "outdated").map(mark)


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


def styled(
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
        if np.isnan(value):
            return ABSENT
        short = f"{value:.3g}"
        return f"{float(short):,.0f}" if 1e3 <= abs(float(short)) < 1e6 else short  # 1,120 where :g has 1.12e+03
    return str(value)


def _percent(value: float) -> str:
    return ABSENT if pd.isna(value) else f"{value:.4g}%"
