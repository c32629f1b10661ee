"""Kinds of real batches in the same time of the processor: the measurements `batches` as a table.

`tests/bench/batches.py` makes them.
"""

import pandas as pd

from .. import report

SAME = ["data", "method", "ipc", "network", "batch"]


def shown(batches: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of batch: `SAME`, rounds and minutes (means over seeds), accuracy in per cent, trials.

    batches : columns `SAME`, seed, rounds, seconds (of the processor) and accuracy (a share).

    >>> import pandas as pd
    >>> from bilp_core.studies import equal_time
    >>> one = {"data": "x", "method": "dm", "ipc": 1, "network": "convnet", "batch": "random", "seconds": 60.0}
    >>> rows = [{**one, "seed": seed, "rounds": 100, "accuracy": 0.25 + 0.01 * seed} for seed in (0, 1)]
    >>> equal_time.shown(pd.DataFrame(rows))[["rounds", "minutes", "accuracy"]].values.tolist()
    [['100', '1.0', '25.5 ± 0.5']]
    """
    found = report.measured(batches, SAME)
    means = batches.groupby(SAME, sort=False)[["rounds", "seconds"]].mean().reset_index()
    found["rounds"] = [f"{rounds:.0f}" for rounds in means["rounds"]]
    found["minutes"] = [f"{seconds / 60:.1f}" for seconds in means["seconds"]]
    found["accuracy"] = [report.plus_minus(*pair) for pair in zip(found["value"], found["std"], strict=True)]
    return found[[*SAME, "rounds", "minutes", "accuracy", "trials"]]
