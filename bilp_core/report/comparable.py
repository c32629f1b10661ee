"""When pruned data is as good as all of it: the comparable rule (supplement Sec. 6.3). Needs no torch."""

import pandas as pd

from ..errors import InputError


def max_pruning_ratio(records: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The largest pruning ratio whose mean accuracy is still comparable, for each setting.

    records : one row a trial with columns `ratio` (share removed), `accuracy` and those named in `by`.
    Comparable means mean >= mu - sigma of the full-data trials (ratio 0), mu and sigma over the trials of one
    setting: the supplement (Sec. 6.3) writes [mu - sigma, mu + sigma], and a better result must count too.
    Returns columns `by`, max_ratio, full_mean, full_std (population), full_trials; max_ratio is 0 where no
    pruned run is comparable. Raises InputError when a setting lacks full-data trials.

    >>> import pandas as pd
    >>> from bilp_core.report import max_pruning_ratio
    >>> records = pd.DataFrame({"ratio": [0, 0, 0.5, 0.5, 0.9, 0.9], "accuracy": [0.48, 0.52, 0.48, 0.49, 0.4, 0.44]})
    >>> max_pruning_ratio(records.assign(method="dc"), by=["method"]).round(3).values.tolist()
    [['dc', 0.5, 0.5, 0.02, 2]]
    """
    missing = {"ratio", "accuracy", *by} - set(records.columns)
    if missing:
        raise InputError(f"records lack the columns {', '.join(sorted(missing))}")
    rows = []
    for setting, group in records.groupby(by, sort=False, dropna=False):
        full = group.loc[group["ratio"] == 0, "accuracy"]
        if full.empty:
            raise InputError(f"{dict(zip(by, setting, strict=True))}: no full-data trial (ratio 0) to compare with")
        floor = full.mean() - full.std(ddof=0)
        means = group.groupby("ratio")["accuracy"].mean()
        best = float(means.index[means >= floor - 1e-12].max())  # ratio 0 is always among them
        rows.append((*setting, best, full.mean(), full.std(ddof=0), len(full)))
    return pd.DataFrame(rows, columns=[*by, "max_ratio", "full_mean", "full_std", "full_trials"])
