"""From records to values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .comparable import max_pruning_ratio


def measured(records: pd.DataFrame, by: Sequence[str], what: str = "accuracy") -> pd.DataFrame:
    """Mean and standard deviation of accuracy over the trials of each experiment, in per cent.

    by   : the setting columns that tell experiments apart; the trials of one differ in their seed.
    what : another column in place of accuracy, in its own unit.
    Returns values: `by`, value, std (population; NaN for a single trial), and trials, their number. Of committed
    records those that are outdated count only where an experiment has no others; then its value is `outdated`, too.
    Where `by` has the criterion but not the end that went, the smallest scores make a criterion of their own.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> records = pd.DataFrame({"ratio": [0.5, 0.5], "seed": [0, 1], "accuracy": [0.48, 0.52]})
    >>> report.measured(records, by=["ratio"]).round(3).values.tolist()
    [[0.5, 50.0, 2.0, 2.0]]
    """
    if records.empty:
        return pd.DataFrame(columns=[*by, "value", "std", "trials"])
    records = _current(named_by_end(records) if "criterion" in by and "drop" not in by else records, by)
    groups = records.groupby(list(by), sort=False, dropna=False)
    found = (100 if what == "accuracy" else 1) * groups[what].agg(
        value="mean", std=lambda group: group.std(ddof=0) if len(group) > 1 else np.nan
    )
    found["trials"] = groups.size()
    if "outdated" in records:
        found["outdated"] = groups["outdated"].any()
    return found.reset_index()


def named_by_end(records: pd.DataFrame) -> pd.DataFrame:
    """Where the smallest scores went, the criterion says so: no mean is of both ends.

    >>> import pandas as pd
    >>> from bilp_core.report.values import named_by_end
    >>> ends = pd.DataFrame({"criterion": ["loss", "loss"], "ratio": [0.9, 0.9], "drop": ["largest", "smallest"]})
    >>> named_by_end(ends)["criterion"].tolist()
    ['loss', 'loss (smallest removed)']
    """
    if not {"criterion", "drop", "ratio"} <= set(records):
        return records
    other = (records["drop"] == "smallest") & (records["ratio"] > 0)
    return records.assign(criterion=records["criterion"].mask(other, records["criterion"] + " (smallest removed)"))


def _current(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Without the outdated records of experiments that have others: no mean is of both."""
    if "outdated" not in records:
        return records
    current = ~records["outdated"].astype(bool)
    return records[current | ~current.groupby([records[name] for name in by], dropna=False).transform("any")]


def max_ratios(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Maximum pruning ratio of each experiment, in per cent, see `comparable.max_pruning_ratio`.

    by : the setting columns that tell experiments apart, without ratio.
    Experiments without full-data trials, or without pruned ones, are left out.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> rows = [("random", 0, 0.5), ("loss", 0.5, 0.52), ("loss", 0.9, 0.4), ("random", 0.5, 0.4)]
    >>> records = pd.DataFrame(rows, columns=["criterion", "ratio", "accuracy"])
    >>> report.max_ratios(records, by=["criterion"]).values.tolist()
    [['loss', 50.0, nan], ['random', 0.0, nan]]
    """
    nothing = pd.DataFrame(columns=[*by, "value", "std"])
    if records.empty:
        return nothing
    complete = _current(repeat_full(records), [*by, "ratio"])
    ratios = complete.groupby(list(by), dropna=False)["ratio"]
    complete = complete[(ratios.transform("min") == 0) & (ratios.transform("max") > 0)]
    if complete.empty:
        return nothing
    found = max_pruning_ratio(complete, list(by))
    values = found[list(by)].assign(value=100 * found["max_ratio"], std=np.nan)
    if "outdated" in complete:
        values["outdated"] = complete.groupby(list(by), sort=False, dropna=False)["outdated"].any().to_numpy()
    return values


def repeat_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Records or values with the rows of full data (ratio 0) repeated for each criterion.

    Full data has no criterion, so it runs once and serves all.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> records = pd.DataFrame({"criterion": ["random", "random", "loss"], "ratio": [0, 0.5, 0.5]})
    >>> report.repeat_full(records).values.tolist()
    [['random', 0.0], ['loss', 0.0], ['random', 0.5], ['loss', 0.5]]
    """
    full, pruned = frame[frame["ratio"] == 0], frame[frame["ratio"] > 0]
    served = [full.assign(criterion=name) for name in pruned["criterion"].unique()]
    return pd.concat([*served, pruned], ignore_index=True)


def name_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Records or values with "full data" for the criterion of what was not pruned.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> report.name_full(pd.DataFrame({"criterion": ["random", "loss"], "ratio": [0, 0.5]}))["criterion"].tolist()
    ['full data', 'loss']
    """
    return frame.assign(criterion=frame["criterion"].where(frame["ratio"] > 0, "full data"))


def differences(values: pd.DataFrame, criterion: str, base: str, on: Sequence[str]) -> pd.DataFrame:
    """By how much one criterion is above another, settings `on` being equal: values, whose std is that of a difference
    of independent trials.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> rows = [("loss", 1, 30.0, 3.0), ("random", 1, 28.0, 4.0), ("loss", 10, 45.0, 1.0)]
    >>> values = pd.DataFrame(rows, columns=["criterion", "ipc", "value", "std"])
    >>> report.differences(values, "loss", "random", on=["ipc"]).values.tolist()
    [[1.0, 2.0, 5.0]]
    """
    if values.empty:
        return values
    one, other = (values[values["criterion"] == name].set_index(list(on)) for name in (criterion, base))
    found = pd.DataFrame({"value": one["value"] - other["value"], "std": np.hypot(one["std"], other["std"])})
    if "outdated" in values:
        found["outdated"] = one["outdated"].astype(bool) | other["outdated"].astype(bool).reindex(found.index)
    return found.dropna(subset="value").reset_index()


def mark_comparable(values: pd.DataFrame, same: Sequence[str]) -> pd.DataFrame:
    """Add the column `comparable`: is the mean at least the full-data mean less its standard deviation?

    The full-data value is the one at ratio 0 with equal settings in the columns `same`. Without one, nothing
    there is comparable. Source: supplement Sec. 6.3; a mean above the band counts too.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> values = pd.DataFrame({"ratio": [0, 0.5, 0.9], "value": [50.0, 49.0, 47.0], "std": [2.0, 1.0, 1.0]})
    >>> report.mark_comparable(values.assign(method="dc"), same=["method"])["comparable"].tolist()
    [True, True, False]
    """
    full = values[values["ratio"] == 0].drop_duplicates(list(same))
    floor = full[list(same)].assign(_floor=full["value"] - full["std"].fillna(0))
    marked = values.merge(floor, on=list(same), how="left")
    return marked.assign(comparable=marked["value"] >= marked["_floor"]).drop(columns="_floor")


# The versions of pruning that chapter BiLP compares (supplement Sec. 6.5).
VERSIONS = (
    "full data",
    "preemptive",
    "adaptive, largest",
    "adaptive, smallest",
    "adaptive, both tails",
    "BiLP: both levels",
)


def version(record: Mapping[str, Any]) -> str:
    """Which of `VERSIONS` a record is of.

    >>> from bilp_core.report import version
    >>> version({"ratio": 0.1, "adaptive": 0}), version({"ratio": 0, "adaptive": 0.3, "tails": "both"})
    ('preemptive', 'adaptive, both tails')
    """
    if record["ratio"] > 0:
        return VERSIONS[5] if record["adaptive"] else VERSIONS[1]
    if not record["adaptive"]:
        return VERSIONS[0]
    return VERSIONS[4] if record["tails"] == "both" else f"adaptive, {record['tails']}"
