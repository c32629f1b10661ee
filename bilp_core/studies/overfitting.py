"""Do networks overfit a synthetic set? Loss curves measured and drawn: supplement Sec. 4 and Fig. 2."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scipy.stats import spearmanr

from ..errors import InputError
from ..report.figures import legend, style
from ..report.tables import percent

if TYPE_CHECKING:
    from ..evaluation.protocols import Protocol

# What `measure` gives, in words for a table.
QUANTITIES = {
    "rise": "rise of the test loss",
    "gap": "test loss less train loss",
    "lost": "test accuracy lost (%)",
}


def check_curves(protocol: "Protocol") -> None:
    """Raises InputError for an evaluation that leaves no curves: they need tests on the way.

    >>> from bilp_core.evaluation import Protocol
    >>> from bilp_core.studies import overfitting
    >>> overfitting.check_curves(Protocol(epochs=100, test_every=10))
    >>> overfitting.check_curves(Protocol(epochs=100))
    Traceback (most recent call last):
    bilp_core.errors.InputError: test_every = 0 of the evaluation: must be from 1 to its 100 epochs, for the curves
    """
    if not 1 <= protocol.test_every <= protocol.epochs:
        raise InputError(
            f"test_every = {protocol.test_every} of the evaluation: must be from 1 to its {protocol.epochs} epochs, "
            "for the curves"
        )


def measure(curves: pd.DataFrame) -> pd.DataFrame:
    """How much the networks of each trial overfit, on the mean of their curves.

    curves : columns key, network, epoch, split, loss and accuracy, as `trials.curves` gives them.
    Returns a row a trial: key; rise, the test loss (nats) at the last epoch over its smallest; gap, test less train
    loss at the last epoch; lost, the best test accuracy less the last one, in points of per cent. The smallest and
    the best of a curve are chosen after the fact, so rise and lost are never negative.
    Source: the quantities are ours; the curves are those of supplement Sec. 4.

    >>> import pandas as pd
    >>> from bilp_core.studies import overfitting
    >>> columns = ["key", "network", "epoch", "split", "loss", "accuracy"]
    >>> test = [("a", 0, 1, "test", 2.0, 0.25), ("a", 0, 2, "test", 1.0, 0.5), ("a", 0, 3, "test", 1.5, 0.375)]
    >>> train = [("a", 0, epoch, "train", 0.25, None) for epoch in (1, 2, 3)]
    >>> overfitting.measure(pd.DataFrame(test + train, columns=columns)).values.tolist()
    [['a', 0.5, 1.25, 12.5]]
    """
    rows = []
    for key, group in curves.groupby("key", sort=False):
        mean = group.groupby(["split", "epoch"])[["loss", "accuracy"]].mean()
        train, test = mean.loc["train"], mean.loc["test"]
        rows.append(
            {
                "key": key,
                "rise": test["loss"].iloc[-1] - test["loss"].min(),
                "gap": test["loss"].iloc[-1] - train["loss"].iloc[-1],
                "lost": 100 * (test["accuracy"].max() - test["accuracy"].iloc[-1]),
            }
        )
    return pd.DataFrame(rows, columns=["key", *QUANTITIES])


def trend(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Rank correlation of two quantities over trials, and its p-value: the chance of one as large without a relation.

    Both are NaN where all values of one quantity are equal. Raises InputError for fewer than three trials.

    >>> from bilp_core.studies import overfitting
    >>> correlation, chance = overfitting.trend([0.0, 0.5, 0.9, 0.99], [2.0, 1.8, 1.9, 1.1])
    >>> round(correlation, 3), round(chance, 3)
    (-0.8, 0.2)
    """
    if len(x) < 3:
        raise InputError(f"{len(x)} trials: a trend needs at least 3")
    if len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan, math.nan
    found = spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)


def figure(curves: pd.DataFrame, by: str = "ratio") -> Figure:
    """Fig. 2 of the supplement, and the accuracy beside it: a line for each value of `by`, mean ± standard deviation
    over all networks of all trials. Losses have a log axis.

    curves : as `trials.curves` gives them, with the column `by`, which may be numbers or names.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import overfitting
    >>> rows = [(ratio, split, epoch, 2.0 / epoch, 0.5) for ratio in (0, 0.9) for split in ("train", "test")
    ...         for epoch in (1, 2)]
    >>> figure = overfitting.figure(pd.DataFrame(rows, columns=["ratio", "split", "epoch", "loss", "accuracy"]))
    >>> [axis.get_title() for axis in figure.axes]
    ['train loss (nats)', 'test loss (nats)', 'test accuracy (%)']
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['0%', '90%']
    >>> plt.close(figure)
    """
    style()
    panels = {"train loss (nats)": ("train", "loss", 1), "test loss (nats)": ("test", "loss", 1)}
    panels["test accuracy (%)"] = ("test", "accuracy", 100)
    values = sorted(curves[by].unique())
    colours = sns.color_palette("viridis", len(values))  # an order one can see, for the colour-blind too
    dashes = ["-", "--", "-.", ":"]
    drawn, axes = plt.subplots(1, len(panels), figsize=(7.2, 2.6))
    for axis, (title, (split, quantity, scale)) in zip(axes, panels.items(), strict=True):
        for k, value in enumerate(values):
            group = curves[(curves[by] == value) & (curves["split"] == split)].groupby("epoch")[quantity]
            mean, spread = scale * group.mean(), scale * group.std(ddof=0)
            label = percent(100 * value) if by == "ratio" else value
            axis.plot(mean.index, mean, color=colours[k], linestyle=dashes[k % 4], label=label)
            axis.fill_between(mean.index, mean - spread, mean + spread, color=colours[k], alpha=0.15, linewidth=0)
        axis.set_title(title, fontsize="medium")
        if quantity == "loss":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
    drawn.supxlabel("epoch", fontsize="medium")
    legend(drawn)
    return drawn
