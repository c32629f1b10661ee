"""What moves a row of Table 1: the luck of a random draw, and what the network that chooses had learned."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..report.figures import style
from ..report.tables import plus_minus


def told(table: pd.DataFrame) -> str:
    """What the measurements say, in Markdown.

    table : as `tests/bench/draws.py` writes it; accuracies are fractions.

    >>> import pandas as pd
    >>> from bilp_core.studies import draws
    >>> rows = [("draw", "random", s, 0.2 + s / 100, 0.004, 50 - s, 1.0 + s / 50) for s in range(4)]
    >>> rows += [("1", "gradmatch", 0, 0.25, 0.004, 60.0, 1.1), ("30", "gradmatch", 0, 0.15, 0.004, 92.0, 1.2)]
    >>> names = ["study", "criterion", "seed", "accuracy", "std", "percentile", "diversity"]
    >>> print(draws.told(pd.DataFrame(rows, columns=names)))  # doctest: +ELLIPSIS
    **The draw.** 4 random draws reach 20.0 to 23.0%, with a deviation of 1.1 points; ...
    <BLANKLINE>
    **What had been learned.** *gradmatch*: after 1 epoch 25.0% (percentile 60), after 30 epochs 15.0% (percentile 92).
    """
    lines, random = [], table[table["study"] == "draw"]
    if len(random) > 1:
        ranks = random[["accuracy", "percentile", "diversity"]].corr("spearman")["accuracy"]
        lines.append(
            f"**The draw.** {len(random)} random draws reach {100 * random['accuracy'].min():.1f} to "
            f"{100 * random['accuracy'].max():.1f}%, with a deviation of {100 * random['accuracy'].std(ddof=0):.1f} "
            f"points; networks trained on one and the same set differ by {100 * random['std'].mean():.1f}. The rank "
            f"correlation of the accuracy is {ranks['percentile']:+.2f} with the mean loss percentile of what was "
            f"drawn and {ranks['diversity']:+.2f} with its diversity."
        )
    ages = _ages(table)
    parts = [
        f"*{name}*: "
        + ", ".join(
            f"after {_epochs(age)} {100 * accuracy:.1f}% (percentile {percentile:.0f})"
            for age, accuracy, percentile in part[["age", "accuracy", "percentile"]].itertuples(index=False)
        )
        for name, part in ages.groupby("criterion", sort=False)
    ]
    if parts:
        lines.append(f"**What had been learned.** {'; '.join(parts)}.")
    return "\n\n".join(lines)


def against_random(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """Coresets of the youngest and the oldest network less the mean of the random draws, beside the same published.

    table : as for `told`. published : columns criterion and value (%), of the same ratio.

    >>> import pandas as pd
    >>> from bilp_core.studies import draws
    >>> rows = [("draw", "random", s, 0.2 + s / 100) for s in range(3)]
    >>> rows += [("0", "craig", 0, 0.22), ("5", "craig", 0, 0.15)]
    >>> theirs = pd.DataFrame({"criterion": ["random", "craig"], "value": [25.6, 26.5]})
    >>> print(draws.against_random(pd.DataFrame(rows, columns=["study", "criterion", "seed", "accuracy"]), theirs))
    **Against random removal**, in points: *craig* +1.0 after 0 epochs and -6.0 after 5 epochs, published +0.9.
    """
    base, ages = 100 * table[table["study"] == "draw"]["accuracy"].mean(), _ages(table)
    values = dict(zip(published["criterion"], published["value"], strict=True))
    parts = []
    for name, part in ages.groupby("criterion", sort=False):
        if {name, "random"} <= values.keys() and len(part) > 1:
            ends = [
                f"{100 * accuracy - base:+.1f} after {_epochs(age)}"
                for age, accuracy in part[["age", "accuracy"]].iloc[[0, -1]].itertuples(index=False)
            ]
            parts.append(f"*{name}* {' and '.join(ends)}, published {values[name] - values['random']:+.1f}")
    return f"**Against random removal**, in points: {'; '.join(parts)}." if parts else ""


def _epochs(age: Any) -> str:
    return f"{age} epoch{'s' if age != 1 else ''}"


def beside(table: pd.DataFrame) -> str:
    """What the code of others gave from the same photographs, in Markdown.

    table : as `tests/bench/beside.py` writes it: a row a criterion and side (ours, theirs); accuracies are fractions.

    >>> import pandas as pd
    >>> from bilp_core.studies import draws
    >>> rows = [("random", "ours", 0.213, 0.012, None, None), ("random", "theirs", 0.224, 0.008, None, None)]
    >>> rows += [("craig", "ours", 0.2, 0.01, 0.25, 64.0), ("craig", "theirs", 0.24, 0.01, 0.25, 50.0)]
    >>> names = ["criterion", "side", "accuracy", "std", "common", "percentile"]
    >>> print(draws.beside(pd.DataFrame(rows, columns=names)))  # doctest: +ELLIPSIS
    **The training.** From the samples of one random draw our DC reaches 21.3 ± 1.2%, the authors' 22.4 ± 0.8%.
    <BLANKLINE>
    **The selection.** *craig*: 25% of what CORDS takes is ...24.0% (percentile 50), ours 20.0% (percentile 64).
    """
    sides = {(row["criterion"], row["side"]): row for row in table.to_dict("records")}
    lines, parts = [], []
    for name in table["criterion"].unique():
        if (name, "ours") not in sides or (name, "theirs") not in sides:
            continue
        ours, theirs = sides[name, "ours"], sides[name, "theirs"]
        if name == "random":
            each = [plus_minus(100 * side["accuracy"], 100 * side["std"]) for side in (ours, theirs)]
            lines.append(
                f"**The training.** From the samples of one random draw our DC reaches {each[0]}%, "
                f"the authors' {each[1]}%."
            )
        else:
            reached = [
                f"{100 * side['accuracy']:.1f}% (percentile {side['percentile']:.0f})" for side in (theirs, ours)
            ]
            parts.append(
                f"*{name}*: {theirs['common']:.0%} of what CORDS takes is what ours takes; distilled by us, theirs "
                f"gives {reached[0]}, ours {reached[1]}"
            )
    return "\n\n".join([*lines, *([f"**The selection.** {'; '.join(parts)}."] if parts else [])])


def figure(table: pd.DataFrame) -> Figure:
    """Accuracy against the mean loss percentile of what was kept: a point a draw, a line a coreset along the epochs.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import draws
    >>> rows = [("draw", "random", 0, 0.25, 0.01, 50.0), ("1", "craig", 0, 0.2, 0.01, 70.0)]
    >>> names = ["study", "criterion", "seed", "accuracy", "std", "percentile"]
    >>> shown = draws.figure(pd.DataFrame(rows, columns=names))
    >>> [text.get_text() for text in shown.axes[0].get_legend().get_texts()]
    ['random draws', 'craig']
    >>> plt.close(shown)
    """
    style()
    shown, axis = plt.subplots(figsize=(7.2, 3.4))
    random, ages = table[table["study"] == "draw"], _ages(table)
    if len(random):
        _points(axis, random, "random draws", "o")
    for marker, (name, part) in zip("s^vDP", ages.groupby("criterion", sort=False), strict=False):
        _points(axis, part, str(name), marker, "-")
        for age, accuracy, percentile in part[["age", "accuracy", "percentile"]].itertuples(index=False):
            axis.annotate(str(age), (percentile, 100 * accuracy), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="mean loss percentile of what is kept", ylabel="accuracy (%)")
    axis.legend(frameon=False)
    return shown


def _points(axis: plt.Axes, part: pd.DataFrame, label: str, marker: str, line: str = "") -> None:
    deviations = 100 * np.asarray(part["std"])
    axis.errorbar(
        part["percentile"], 100 * part["accuracy"], deviations, label=label, marker=marker, linestyle=line, capsize=2
    )


def _ages(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of coresets with the epochs their network had trained, `age`, the youngest first."""
    ages = pd.to_numeric(table["study"], errors="coerce")
    return table.assign(age=ages)[ages.notna()].astype({"age": int}).sort_values("age", kind="stable")
