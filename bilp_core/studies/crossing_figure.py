"""Heat maps of sets that every network distilled and every network judged."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import report
from .crossing import changes, short_names


def crossed_figure(values: pd.DataFrame) -> Figure:
    """Heat maps of one method and IPC: accuracy from full data, and for each ratio the change to it.

    values : see `slots`. Changes have one scale, whose centre is 0, and their standard error below; a frame is around
             those beyond two of them. What was not run is left white.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies.crossing_figure import crossed_figure
    >>> rows = [(judge, ratio, 20.0 + ratio) for judge in ("mlp", "lenet") for ratio in (0, 0.9)]
    >>> values = pd.DataFrame(rows, columns=["judge", "ratio", "value"])
    >>> figure = crossed_figure(values.assign(method="dc", ipc=1, network="mlp", error=0.1))
    >>> [axis.get_title() for axis in figure.axes[:2]]
    ['full data: accuracy (%)', '90% removed: change (points)']
    >>> plt.close(figure)
    """
    report.figures.style()
    changed = changes(values)
    whole = _square(values[values["ratio"] == 0], "value", values)
    maps = [(ratio, part) for ratio, part in changed.groupby("ratio")]
    across = min(2, len(maps) + 1)
    rows = -(-(len(maps) + 1) // across)
    height = (0.45 * len(whole) + 1.3) * rows
    figure, axes = plt.subplots(rows, across, figsize=(7.2, height), squeeze=False, sharey=True)
    for axis in axes.flat[len(maps) + 1 :]:
        axis.set_visible(False)
    looks = {"annot_kws": {"size": 7}, "linewidths": 0.5}
    sns.heatmap(whole, cmap="cividis", annot=True, fmt=".1f", ax=axes.flat[0], **looks)
    axes.flat[0].set_title("full data: accuracy (%)", fontsize="medium")
    limit = max(float(changed["value"].abs().max()), 0.1) if len(changed) else 1.0
    for axis, (ratio, part) in zip(axes.flat[1:], maps, strict=False):
        pairs = zip(part["value"], part["error"], strict=True)
        told = part.assign(cell=[f"{v:+.1f}" + ("" if pd.isna(e) else f"\n±{e:.1f}") for v, e in pairs])
        sns.heatmap(
            _square(part, "value", values), cmap="vlag_r", vmin=-limit, vmax=limit, ax=axis,
            annot=_square(told, "cell", values), fmt="", **looks,
        )  # fmt: skip
        for down, right in np.argwhere(_square(part, "far", values).eq(True).to_numpy()):
            corner = (right + 0.04, down + 0.04)
            axis.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="black", linewidth=1.6))
        axis.set_title(f"{ratio:.0%} removed: change (points)", fontsize="medium")
    for axis in axes.flat:
        axis.set(xlabel="", ylabel="")
        axis.tick_params(length=0)
        plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
        plt.setp(axis.get_yticklabels(), rotation=0)
    figure.supxlabel("network that distils", fontsize="medium")
    figure.supylabel("network that judges", fontsize="medium")
    return figure


def _square(values: pd.DataFrame, what: str, among: pd.DataFrame) -> pd.DataFrame:
    """Judges down, networks across, by short names in the order in which they appear `among` all."""
    wide = values.pivot(index="judge", columns="network", values=what)
    judges, networks = short_names(list(among["judge"])), short_names(list(among["network"]))
    return wide.reindex(index=list(judges), columns=list(networks)).rename(index=judges, columns=networks)
