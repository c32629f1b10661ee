"""All methods side by side: what each learns, and each beside real images that are judged as it is."""

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure

from .. import report
from ..data.images import ImageData
from ..distillers import METHODS, Separable
from ..evaluation import Protocol, protocols, random_real, stored
from ..trials import Store, Trial


def kinds() -> pd.DataFrame:
    """What each method of the registry is: a row a method, columns as a page shows them.

    >>> from bilp_core.studies.methods import kinds
    >>> kinds().set_index("method").loc["dm", ["learns", "starts from", "adaptive pruning", "judged like"]].tolist()
    ['images', 'real', 'yes', 'dsa']
    """
    rows = [
        {
            "method": name,
            "what it does": method.summary,
            "learns": method.learns,
            "starts from": method.default_init,
            "first stage": "yes" if method.staged else "",
            "adaptive pruning": "yes" if issubclass(method, Separable) else "",
            "judged like": protocols.METHODS[name],
        }
        for name, method in METHODS.items()
    ]
    return pd.DataFrame(rows)


def beside_real(trials: Sequence[Trial], records: pd.DataFrame, train: ImageData, test: ImageData) -> pd.DataFrame:
    """Random real images, as many as a method's set stores, trained on as that set was: a row a method and IPC.

    trials : that were run; of each method and IPC the first on full data counts, else the first. records : theirs, see
             `trials.run`.
    Returns columns method, ipc, images (real ones a class), value and std (of networks, in per cent). Methods without a
    set in the store are left out.

    >>> from bilp_core import load, trials
    >>> from bilp_core.studies.methods import beside_real
    >>> tiny = dict(network="convnet:depth=1,width=4", options={"iterations": 1}, evaluation={"epochs": 1}, repeats=2)
    >>> todo = trials.grid(data="digits", method=["dm"], **tiny)
    >>> records = trials.run(todo, "records", engine="inline", progress=False)
    >>> import os; os.environ["BILP_STORE"] = "records"
    >>> found = beside_real(todo, records, *load("digits"))
    >>> found[["method", "ipc", "images"]].values.tolist()
    [['dm', 1, 1]]
    """
    store, by_key = Store(), records.drop_duplicates("key").set_index("key")
    known: dict[tuple, list[float]] = {}
    rows: dict[tuple[str, int], dict] = {}
    for trial in sorted(trials, key=lambda trial: trial.ratio > 0):
        made = store.synthetic(trial.synthetic_key) if trial.key in by_key.index else None
        if made is None or (trial.method, trial.ipc) in rows:
            continue
        resolved = json.loads(str(by_key.loc[trial.key, "resolved"]))
        network, judged = resolved["evaluate_on"], Protocol(**resolved["evaluation"])
        white = made.whitening is not None
        same = (network, judged, stored(made), white)
        if same not in known:
            settings = {"network": network, "protocol": judged, "repeats": trial.repeats, "seed": trial.seed}
            known[same] = [100 * value for value in random_real(made, train, test, **settings).values]
        values = pd.Series(known[same])
        row = {"method": trial.method, "ipc": trial.ipc, "images": stored(made)}
        rows[trial.method, trial.ipc] = {**row, "value": values.mean(), "std": values.std(ddof=0)}
    return pd.DataFrame(rows.values(), columns=["method", "ipc", "images", "value", "std"])


def what_was_kept(values: pd.DataFrame) -> list[str]:
    """What each row's set was made of, in words: full data, or what was removed.

    values : columns criterion and ratio, see `report.measured`.

    >>> import pandas as pd
    >>> from bilp_core.studies.methods import what_was_kept
    >>> what_was_kept(pd.DataFrame([("random", 0.0), ("loss", 0.9)], columns=["criterion", "ratio"]))
    ['full data', '90% removed, loss']
    """
    told = zip(values["ratio"], values["criterion"], strict=True)
    return [f"{ratio:.0%} removed, {criterion}" if ratio else "full data" for ratio, criterion in told]


def side_by_side(values: pd.DataFrame) -> pd.DataFrame:
    """Accuracies (%) and in brackets of how many seeds, a row a method and IPC, a column a kind of data.

    values : columns method, ipc, what, value and std in per cent, and trials, see `report.measured`. A cell that was
             not run is a dash, one of an earlier revision has a mark.

    >>> import pandas as pd
    >>> from bilp_core.studies.methods import side_by_side
    >>> rows = [("dc", 1, "full data", 28.04, 0.3, 3), ("dc", 1, "99% removed, loss", 27.9, float("nan"), 1)]
    >>> side_by_side(pd.DataFrame(rows, columns=["method", "ipc", "what", "value", "std", "trials"])).values.tolist()
    [['dc', 1, '28.0 ± 0.3 (3)', '27.9 (1)']]
    """
    old = values["outdated"] if "outdated" in values else [False] * len(values)
    told = zip(values["value"], values["std"], values["trials"], old, strict=True)
    cells = [
        f"{report.plus_minus(mean, std)} ({count}){f' {report.MARK}' if was else ''}" for mean, std, count, was in told
    ]
    wide = values.assign(cell=cells).pivot(index=["method", "ipc"], columns="what", values="cell")
    wide = wide[values["what"].unique()].fillna(report.ABSENT).reset_index()
    return wide.rename_axis(columns=None).rename(columns={"ipc": "IPC"})


def on_photographs() -> list[Any]:
    """What `display` shows of our committed records on photographs: a figure of all methods, a table, what the columns
    differ by and what was not run yet, and images; of each method the sets of full data and of the smallest share kept.

    >>> from bilp_core.studies.methods import on_photographs
    >>> len(on_photographs()) >= 1
    True
    """
    records = report.committed(preset="photos", chapter=["methods", "redundancy", "bilp"])
    if records.empty:
        return [Markdown("Not run yet.")]
    usual = records["method"].map({name: method.default_init for name, method in METHODS.items()})
    plain = (records["network"] != "mlp") & (records["drop"] == "largest") & (records["adaptive"] == 0)
    # BiLP's chapter has smaller real batches, too, as many as adaptive pruning leaves
    smaller = (records["chapter"] == "bilp") & records["options"].str.contains("batch")
    records = records[plain & ~smaller & (records["init"].fillna(usual) == usual)]
    records = records[records["ratio"].isin([0.0, records["ratio"].max()])]
    data = ", ".join(records["data"].unique())
    values = report.measured(records, ["method", "ipc", "criterion", "ratio"])
    values = values.assign(what=what_was_kept(values)).sort_values(["ratio", "criterion"], ascending=[True, False])
    if len(real := report.measurements("real")):
        real = real[real["method"].isin(values["method"])].assign(what="random real images", trials=real["repeats"])
        real["outdated"] = False
        values = pd.concat(
            [real[["method", "ipc", "what", "value", "std", "trials", "outdated"]], values], ignore_index=True
        )
    alt = (
        f"Test accuracy on {data} of each method, a row each: the sets of full and of pruned data, as far as they were "
    )
    caption = (
        f"Test accuracy (%) on {data}; ± over seeds, whose number is in brackets; of random real images, as many as "
    )
    caption += f"a set stores and by its protocol, over networks. {report.ran_on(records)}."
    easy = records[(records["criterion"] == "loss") & (records["ratio"] > 0) & (records["seed"] == 0)]
    pictures = report.set_pictures(easy, ["method"])
    alt_of_sets = f"The synthetic sets of {data}, an image a class, of each method."
    return [
        report.show(methods_figure(values), alt=alt + "run. The table has the numbers."),
        report.table(side_by_side(values), caption=caption),
        Markdown(_between_columns(values)),
        *([report.show(pictures, alt=alt_of_sets)] if pictures else []),
    ]


def _between_columns(values: pd.DataFrame) -> str:
    """What two kinds of data differ by over the methods that have both, and the methods that have none."""
    wide = values.pivot(index="method", columns="what", values="value")[values["what"].unique()]
    said = []
    for one, other in combinations(wide, 2):
        gap = (wide[other] - wide[one]).dropna()
        if len(gap) > 1:
            said.append(
                f"*{other}* is above *{one}* for {(gap > 0).sum()} of {len(gap)} methods, by {gap.mean():+.1f} points "
                f"in the mean (from {gap.min():+.1f}, {gap.idxmin()}, to {gap.max():+.1f}, {gap.idxmax()})."
            )
    if lacking := [name for name in METHODS if name not in wide.index]:
        said.append(f"Not run yet: {', '.join(lacking)}.")
    return " ".join(said)


def methods_figure(values: pd.DataFrame) -> Figure:
    """Accuracy of each method, one row each, the best at the top: real images, full data, pruned data.

    values : columns method, what, value and std in per cent.

    >>> import pandas as pd
    >>> from bilp_core.studies.methods import methods_figure
    >>> rows = [("dc", "full data", 60.0, 1.0), ("dc", "random real images", 40.0, 2.0), ("dm", "full data", 70.0, 1.0)]
    >>> figure = methods_figure(pd.DataFrame(rows, columns=["method", "what", "value", "std"]))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['dm', 'dc']
    >>> import matplotlib.pyplot as plt
    >>> plt.close(figure)
    """
    report.figures.style()
    order = values.groupby("method")["value"].max().sort_values(ascending=False).index.tolist()
    figure, axis = plt.subplots(figsize=(7.2, 0.34 * len(order) + 1.2))
    kinds_shown = values["what"].unique().tolist()
    colours, marks = sns.color_palette("colorblind"), "os^DvP"
    for k, (what, rows) in enumerate(values.groupby("what", sort=False)):
        places = [order.index(method) + 0.18 * (k - (len(kinds_shown) - 1) / 2) for method in rows["method"]]
        axis.errorbar(
            rows["value"], places, xerr=rows["std"].fillna(0), fmt=marks[k % len(marks)], color=colours[k], label=what,
            markersize=5, capsize=2, linewidth=1,
        )  # fmt: skip
    axis.set_yticks(range(len(order)), order)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("test accuracy (%)")
    report.figures.legend(figure)
    return figure
