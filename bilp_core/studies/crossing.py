"""Sets of every network judged by every network: what each slot says, and by how much pruning changes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .. import report
from ..errors import InputError
from ..nets import NETWORKS, evaluation_spec, network
from ..nets.networks import OPTIONS

SLOT = ["method", "ipc", "network", "judge"]
FAR = 2  # standard errors


def slots(records: pd.DataFrame) -> pd.DataFrame:
    """One row a slot (a network that distils, one that judges) and ratio, from records.

    Returns columns method, ipc, network, judge, ratio; value (per cent), std over seeds, trials, and error: the
    standard error of the mean over seeds. Of a single seed it is that over the networks that were trained on its set,
    which leaves out how sets differ; where there was one network, NaN.

    >>> import pandas as pd
    >>> from bilp_core.studies.crossing import slots
    >>> rows = [(0, 0.30, None), (1, 0.34, None), (0, 0.20, "mlp")]
    >>> records = pd.DataFrame(rows, columns=["seed", "accuracy", "evaluate_on"])
    >>> records = records.assign(method="dc", ipc=1, network="vgg11-bn:width=16", ratio=0.0, std=0.02, repeats=5)
    >>> slots(records)[["judge", "value", "error"]].round(3).values.tolist()
    [['vgg11:width=16', 32.0, 2.0], ['mlp', 20.0, 1.0]]
    """
    if records.empty:
        return pd.DataFrame(columns=[*SLOT, "ratio", "value", "std", "trials", "error"])
    own = records["network"].map(evaluation_spec)
    records = records.assign(judge=records["evaluate_on"].where(records["evaluate_on"].notna(), own))
    within = 100 * records["std"] / np.sqrt((records["repeats"] - 1).where(records["repeats"] > 1))
    found = report.measured(records, [*SLOT, "ratio"])
    alone = report.measured(records.assign(within=within), [*SLOT, "ratio"], "within")["value"]
    over_seeds = found["std"] / np.sqrt((found["trials"] - 1).where(found["trials"] > 1))
    return found.assign(error=over_seeds.where(found["trials"] > 1, alone))


def published_slots(table: pd.DataFrame, repeats: int = 5) -> pd.DataFrame:
    """The same from the paper's numbers, each the mean of so many experiments (supplement Sec. 6.3).

    >>> from bilp_core import report
    >>> from bilp_core.studies.crossing import published_slots
    >>> published_slots(report.published("table6"))[["network", "judge", "value", "error"]].values.tolist()[0]
    ['mlp', 'mlp', 24.3, 0.9]
    """
    error = table["std"] / np.sqrt(repeats - 1)
    return table.rename(columns={"evaluate_on": "judge"}).assign(trials=repeats, error=error)


def changes(values: pd.DataFrame) -> pd.DataFrame:
    """What pruning changes: a row a slot and pruned ratio, where full data were run, too.

    values : see `slots`.
    Returns columns method, ipc, network, judge, ratio, full, value (change in points), error (its standard error, of
    independent means) and far: whether the change is beyond two errors.

    >>> import pandas as pd
    >>> from bilp_core.studies.crossing import changes
    >>> values = pd.DataFrame({"ratio": [0, 0.5, 0.9], "value": [30.0, 31.0, 25.0], "error": [0.6, 0.8, 0.8]})
    >>> found = changes(values.assign(method="dc", ipc=1, network="mlp", judge="mlp"))
    >>> found[["value", "error", "far"]].values.tolist()
    [[1.0, 1.0, False], [-5.0, 1.0, True]]
    """
    full = values.loc[values["ratio"] == 0, [*SLOT, "value", "error"]]
    full = full.rename(columns={"value": "full", "error": "full_error"})
    found = values[values["ratio"] > 0].merge(full, on=SLOT)
    found["error"] = np.hypot(found["error"], found["full_error"])
    found["value"] -= found["full"]
    found["far"] = found["value"].abs() > FAR * found["error"]
    columns = [*SLOT, "ratio", "full", "value", "error", "far"]
    return found[columns + (["outdated"] if "outdated" in found else [])]


def short_names(specs: Sequence[str]) -> dict[str, str]:
    """Networks by their name without options, as far as that tells them apart.

    >>> from bilp_core.studies.crossing import short_names
    >>> short_names(["mlp", "convnet:width=32", "convnet:width=64"])
    {'mlp': 'mlp', 'convnet:width=32': 'convnet:width=32', 'convnet:width=64': 'convnet:width=64'}
    """
    names = [spec.partition(":")[0] for spec in dict.fromkeys(specs)]
    return {
        spec: name if names.count(name) == 1 else spec for spec, name in zip(dict.fromkeys(specs), names, strict=True)
    }


def by_family(values: pd.DataFrame) -> pd.DataFrame:
    """Values whose judges are named by their family, as the paper names them, as far as that tells them apart.

    >>> import pandas as pd
    >>> from bilp_core.studies.crossing import by_family
    >>> by_family(pd.DataFrame({"judge": ["vgg11:width=16", "densenet-bn", "resnet18", "resnet10"]}))["judge"].tolist()
    ['vgg', 'densenet', 'resnet18', 'resnet10']
    """
    specs = values["judge"].unique()
    families = [spec.partition(":")[0].removesuffix("-bn").rstrip("0123456789") for spec in specs]
    told = {spec: name if families.count(name) == 1 else spec for spec, name in zip(specs, families, strict=True)}
    return values.assign(judge=values["judge"].map(told))


def fitting(sides: Sequence[int]) -> pd.DataFrame:
    """Which networks of the registry take square grey images: a row a network, a column a side in pixels.

    >>> from bilp_core.studies.crossing import fitting
    >>> fitting([8, 16]).set_index("network").loc["lenet"].tolist()
    ['–', 'yes']
    """
    images = [name for name in NETWORKS if "frames" not in OPTIONS.get(name, {})]  # others take clips
    rows = [[name, *("yes" if _fits(name, side) else report.ABSENT for side in sides)] for name in images]
    return pd.DataFrame(rows, columns=["network", *map(str, sides)])


def _fits(name: str, side: int) -> bool:
    try:
        network(name, (1, side, side), 2)
    except InputError:
        return False
    return True


def count_slots(values: pd.DataFrame) -> pd.DataFrame:
    """In how many slots pruning helps, by two rules: a row for each ratio, and one for the best of several ratios.

    values : see `slots`. Returns columns what, slots, above (full data), equal, and chance: the slots above that one
    would expect if pruning changed nothing. A single ratio is above by chance in half of the slots; the best of k
    ratios in k of k + 1, for the best of k + 1 equal draws is any of them.

    >>> import pandas as pd
    >>> from bilp_core.studies.crossing import count_slots
    >>> values = pd.DataFrame({"ratio": [0, 0.5, 0.9], "value": [30.0, 31.0, 25.0], "error": 0.5})
    >>> count_slots(values.assign(method="dc", ipc=1, network="mlp", judge="mlp")).values.tolist()
    [['50% removed', 1, 1, 0, 0.5], ['90% removed', 1, 0, 0, 0.5], ['the best of 2 ratios', 1, 1, 0, 0.67]]
    """
    wide = changes(values).pivot(index=SLOT, columns="ratio", values="value").dropna()
    rules = {f"{ratio:.0%} removed": (wide[ratio], 1) for ratio in wide}
    if len(wide.columns) > 1:
        rules[f"the best of {len(wide.columns)} ratios"] = (wide.max(axis=1), len(wide.columns))
    rows = []
    for what, (change, choices) in rules.items():
        change = change.round(9)  # the paper's numbers have two decimals at most
        chance = round(len(change) * choices / (choices + 1), 2)
        rows.append((what, len(change), int((change > 0).sum()), int((change == 0).sum()), chance))
    return pd.DataFrame(rows, columns=["what", "slots", "above", "equal", "chance"])


def in_words(values: pd.DataFrame) -> str:
    """What the slots of one method say: the change on the own network and on others, and cells beyond two errors.

    >>> import pandas as pd
    >>> from bilp_core.studies.crossing import in_words
    >>> rows = [("mlp", 0, 30.0), ("mlp", 0.9, 31.0), ("lenet", 0, 20.0), ("lenet", 0.9, 18.0)]
    >>> values = pd.DataFrame(rows, columns=["judge", "ratio", "value"])
    >>> in_words(values.assign(method="dc", ipc=1, network="mlp", error=0.3)).partition("; ")
    ('90% removed: +1.0 points on the network that distilled (mean of 1), -2.0 on others (mean of 1)', '; ', \
'beyond two standard errors are 2 of 2 cells, 1 up and 1 down.')
    """
    said = []
    for ratio, part in changes(values).groupby("ratio"):
        own = part["network"].map(evaluation_spec) == part["judge"]
        means = [(part.loc[own, "value"], "on the network that distilled"), (part.loc[~own, "value"], "on others")]
        told = ", ".join(
            f"{value.mean():+.1f}{' points' if number == 0 else ''} {where} (mean of {len(value)})"
            for number, (value, where) in enumerate((v, w) for v, w in means if len(v))
        )
        far = part[part["far"]]
        said.append(
            f"{ratio:.0%} removed: {told}; beyond two standard errors are {len(far)} of {len(part)} cells, "
            f"{(far['value'] > 0).sum()} up and {(far['value'] < 0).sum()} down."
        )
    return " ".join(said)
