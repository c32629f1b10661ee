"""Figures about individual treatment effects, from the frames of `ite_variants.measure`."""

from collections.abc import Sequence
from itertools import cycle
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..report.figures import legend, style
from . import ite_variants


def rank_scatter(effects: pd.DataFrame, variant: str, against: str = "exact") -> Figure:
    """Fig. 1 of the supplement: ranks by `variant` against exact ranks, one panel a class, with the line of equality
    and the ranking error in the title.

    effects : of one method and one network, as `ite_variants.measure` gives them.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import ite_figures
    >>> batch = {"method": "dm", "network": 0, "age": 0, "class": "cat", "seconds": 1.0}
    >>> rows = [{**batch, "variant": "exact", "effect": effect} for effect in (1.0, 2.0, 3.0)]
    >>> rows += [{**batch, "variant": "sketch", "effect": effect} for effect in (1.0, 3.0, 2.0)]
    >>> figure = ite_figures.rank_scatter(pd.DataFrame(rows), "sketch")
    >>> figure.axes[0].get_title()  # two of three samples are one rank off: 2 / (3 x 2)
    'cat: 33.3%'
    >>> plt.close(figure)
    """
    style()
    found = ite_variants.errors(effects, against)
    batches = list(effects.groupby("class", sort=False))
    figure, axes = _panels(len(batches), 5, 7.2, 1.6, 0.5)
    for axis, (label, batch) in zip(axes, batches, strict=True):
        exact, other = (batch[batch["variant"] == name]["effect"].rank().to_numpy() for name in (against, variant))
        axis.plot([1, len(exact)], [1, len(exact)], color="0.6", linewidth=1, zorder=0)
        axis.scatter(exact, other, s=4)
        error = found[(found["class"] == label) & (found["variant"] == variant)]["error"].iloc[0]
        axis.set_title(f"{label}: {error:.1%}", fontsize="medium")
        axis.set_aspect("equal")
    figure.supxlabel("rank by exact ITE", fontsize="medium")
    figure.supylabel(f"rank by {variant}", fontsize="medium")
    figure.suptitle(", ".join(method.upper() for method in effects["method"].unique()), fontsize="medium")
    return figure


def normality(values: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """A histogram and a normal Q-Q plot for each set of values, in standard units.

    values : arrays [N], in any unit: each is shown less its mean, over its standard deviation. names : a title each.

    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from bilp_core.studies import ite_figures
    >>> rng = np.random.default_rng(0)
    >>> figure = ite_figures.normality([rng.normal(size=50), rng.exponential(size=50)], ["normal", "skewed"])
    >>> [axis.get_title() for axis in figure.axes]
    ['normal', 'skewed', '', '']
    >>> plt.close(figure)
    """
    style()
    figure, axes = plt.subplots(2, len(values), figsize=(7.2, 4.0), squeeze=False, sharex="row")
    for k, (sample, name) in enumerate(zip(values, names, strict=True)):
        standard = np.sort((sample - sample.mean()) / max(sample.std(), 1e-30))
        normal = NormalDist()
        quantiles = [normal.inv_cdf((i + 0.5) / len(standard)) for i in range(len(standard))]
        histogram, line = axes[:, k]
        histogram.hist(
            np.clip(standard, -4, 4), bins=24, range=(-4, 4), density=True, color="0.8"
        )  # outliers at the edge
        grid = np.linspace(-4, 4, 100)
        histogram.plot(grid, [normal.pdf(x) for x in grid], linewidth=1.5)
        histogram.set_title(name, fontsize="medium")
        line.plot([-3, 3], [-3, 3], color="0.6", linewidth=1, zorder=0)
        line.scatter(quantiles, standard, s=4)
        line.set_xlabel("normal quantile")
    axes[0, 0].set_ylabel("density")
    axes[1, 0].set_ylabel("ITE, standard units")
    return figure


def running(tracks: pd.DataFrame) -> Figure:
    """Mean and spread of the ITE of each batch beside the running law: columns step, mean, std, running_mean,
    low, high (the band of values that is kept).

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import ite_figures
    >>> steps = {"step": [1, 2], "mean": [1.0, 1.2], "std": [0.1, 0.2]}
    >>> tracks = pd.DataFrame({**steps, "running_mean": [1.0, 1.02], "low": [0.8, 0.81], "high": [1.2, 1.23]})
    >>> figure = ite_figures.running(tracks)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('decision', 'ITE norm')
    >>> plt.close(figure)
    """
    style()
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    axis.errorbar(
        tracks["step"], tracks["mean"], tracks["std"], fmt="o", color="0.55", markersize=3, linewidth=1,
        label="batch, mean ± std",
    )  # fmt: skip
    axis.plot(tracks["step"], tracks["running_mean"], label="running mean")
    axis.fill_between(tracks["step"], tracks["low"], tracks["high"], alpha=0.2, label="kept")
    axis.set_xlabel("decision")
    axis.set_ylabel("ITE norm")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def laziness(values: pd.DataFrame, without: pd.DataFrame | None = None) -> Figure:
    """Accuracy by the steps that a decision of adaptive pruning serves; and, where values have it, the time.

    values  : columns lazy, value, std (accuracy, %), and perhaps time: of the distillation, over that without.
    without : a row with value and std of no adaptive pruning, a band in the figure.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import ite_figures
    >>> values = pd.DataFrame({"lazy": [1, 10], "value": [30.1, 30.0], "std": [0.3, 0.2], "time": [1.6, 1.07]})
    >>> figure = ite_figures.laziness(values)
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['test accuracy (%)', 'time / time without']
    >>> plt.close(figure)
    """
    style()
    timed = "time" in values
    figure, axes = plt.subplots(1, 1 + timed, figsize=(7.2 if timed else 4.2, 2.6), squeeze=False)
    axes = axes[0]
    axes[0].errorbar(values["lazy"], values["value"], values["std"].fillna(0), marker="o", capsize=3)
    axes[0].set_ylabel("test accuracy (%)")
    if without is not None and len(without):
        mean, spread = without["value"].iloc[0], without["std"].fillna(0).iloc[0]
        axes[0].axhline(mean, color="0.6", linewidth=1, label="without")
        axes[0].axhspan(mean - spread, mean + spread, color="0.9", zorder=0)
        axes[0].legend(frameon=False)
    if timed:
        axes[1].plot(values["lazy"], values["time"], marker="o")
        axes[1].axhline(1, color="0.6", linewidth=1)
        axes[1].set_ylabel("time / time without")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(values["lazy"], [str(n) for n in values["lazy"]])
        axis.minorticks_off()
        axis.set_xlabel("steps a decision serves")
    return figure


def frontier(mean: pd.DataFrame) -> Figure:
    """What each cheaper effect loses and saves: overlap of what is dropped by relative time, a panel a method, IPC,
    start of the synthetic images and size of the real batch.

    mean : columns method, ipc, init, batch, variant, overlap (0 to 1), time (over that of the exact effects); a row is
    a point.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies import ite_figures
    >>> points = {"variant": ["exact", "sketch"], "overlap": [1.0, 0.94], "time": [1.0, 0.2]}
    >>> figure = ite_figures.frontier(pd.DataFrame({"method": "dc", "ipc": 10, "init": "noise", "batch": 64, **points}))
    >>> figure.axes[0].get_title(), [text.get_text() for text in figure.legends[0].get_texts()]
    ('DC, IPC 10\\nnoise, 64', ['exact', 'sketch'])
    >>> plt.close(figure)
    """
    style()
    panels = list(mean.groupby(["ipc", "method", "init", "batch"]))
    figure, axes = _panels(len(panels), 4, min(7.2, 1.4 + 2.4 * len(panels)), 2.2, 0.7)
    pairs = zip(cycle("osD^vP*X<ph8"), cycle(sns.color_palette()), strict=False)
    looks = dict(zip(mean["variant"].unique(), pairs, strict=False))
    for axis, ((ipc, method, init, batch), points) in zip(axes, panels, strict=True):
        for point in points.itertuples():
            marker, colour = looks[point.variant]
            axis.plot(point.time, point.overlap, marker, color=colour, label=point.variant)
        axis.axhline(0.9, color="0.7", linewidth=1, zorder=0)
        axis.set_title(f"{str(method).upper()}, IPC {ipc}\n{init}, {batch}", fontsize="medium")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    figure.supxlabel("time of a decision, over that of the exact effects", fontsize="medium")
    figure.supylabel("overlap of what is dropped", fontsize="medium")
    legend(figure)
    return figure


def _panels(count: int, across: int, width: float, height: float, more: float) -> tuple[Figure, np.ndarray]:
    """So many panels that share their axes, in rows of at most `across`. Sizes in inches: of the figure, of a row, and
    what the figure has beside its rows."""
    across = min(across, count)
    down = -(-count // across)
    figure, axes = plt.subplots(
        down, across, figsize=(width, height * down + more), squeeze=False, sharex=True, sharey=True
    )  # fmt: skip
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes.flat[:count]
