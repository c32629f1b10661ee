"""Kinds of real batches in the same time of the processor: the measurements `batches` as a table.

`tests/bench/batches.py` makes them.
"""

import pandas as pd

from .. import report
from ..distillers import make, settled
from ..pruning import Adaptive

SAME = ["data", "method", "ipc", "network", "batch"]
EFFECTS = {  # how adaptive pruning finds the ITE
    "adaptive": "sketch",  # by all images of a class
    "adaptive, finely": "fine",
    "adaptive, finely by the top four": "fine:top=4",
    "adaptive, by the top one": "sketch:top=1",
    "adaptive, by the top two": "sketch:top=2",
    "adaptive, by the top four": "sketch:top=4",
    "adaptive, by the top eight": "sketch:top=8",
    "adaptive, by cotangents": "cotangent",
}


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


def said(batches: pd.DataFrame) -> str:
    """Which kind of batch gave the best sets of each method and IPC, and what the default way of adaptive pruning, that
    by all images, and the best one gave beside it, in words.

    batches : as for `shown`.

    >>> import pandas as pd
    >>> from bilp_core.studies import equal_time
    >>> one = {"data": "x", "method": "idc", "ipc": 10, "network": "convnet", "rounds": 5, "seconds": 60.0, "seed": 0}
    >>> rows = [{**one, "batch": kind, "accuracy": share} for kind, share in (("random", 0.4), ("adaptive", 0.375))]
    >>> equal_time.said(pd.DataFrame(rows))
    'IDC at IPC 10: best with *random* batches (40.0%); *adaptive* gives 37.5%.'
    """
    sentences = []
    for _, found in report.measured(batches, SAME).groupby(SAME[:-1], sort=False):
        best = found.sort_values("value", ascending=False).iloc[0]
        effect = settled(make(best["method"]), Adaptive(0.3), int(best["ipc"])).effect
        default = next(way for way, own in EFFECTS.items() if own == effect)
        text = (
            f"{best['method'].upper()} at IPC {best['ipc']}: best with *{best['batch']}* batches ({best['value']:.1f}%)"
        )
        for way, about in {"adaptive": "", default: ", which is the default,"}.items():
            value = found[found["batch"] == way]["value"]
            if len(value) and best["batch"] != way:
                text += f"; *{way}*{about} gives {value.iloc[0]:.1f}%"
        most = found[found["batch"].str.startswith("adaptive")].nlargest(1, "value")
        for way, value in most[["batch", "value"]].values.tolist():
            if f"*{way}*" not in text:
                text += f"; of adaptive pruning *{way}* gives most, {value:.1f}%"
        sentences.append(text + ".")
    return " ".join(sentences)
