"""Records as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .store import Store
from .trial import Trial

if TYPE_CHECKING:
    import pandas as pd

CURVES = ["key", "network", "epoch", "split", "loss", "accuracy"]


def frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a record; mappings become JSON text, `accuracies` stays a list. For the curves see `curves`.

    >>> from bilp_core.trials import frame
    >>> table = frame([{"method": "dm", "accuracies": [0.5, 0.75], "timing": {"distil": 2.0}}])
    >>> table.iloc[0].tolist()
    ['dm', [0.5, 0.75], '{"distil": 2.0}']
    """
    import pandas as pd

    rows = []
    for record in records:
        row = {name: value for name, value in record.items() if name != "curves"}
        for name, value in row.items():
            if isinstance(value, Mapping):
                row[name] = json.dumps(value, sort_keys=True)
        rows.append(row)
    columns = [f.name for f in fields(Trial)] if not rows else None
    return pd.DataFrame(rows, columns=columns)


def curves(records: pd.DataFrame, store: Store | str | Path | None = None) -> pd.DataFrame:
    """Loss curves of the evaluation networks of `records`: one row for each trial, network, epoch and split.

    Returns columns key, network (its number), epoch (trained so far), split ("train": the synthetic set as it was
    augmented, "test"), loss (the cross-entropy in nats; for "train" that of the protocol, see `Protocol.loss`) and
    accuracy (a fraction; NaN for train). Raises InputError for a trial whose evaluation kept none: they are kept with
    `evaluation={"test_every": epochs}`.

    >>> from bilp_core.trials import Trial, curves, run
    >>> tiny = dict(network="convnet:depth=1,width=4", options={"iterations": 2}, repeats=2)
    >>> trial = Trial("digits", method="dm", evaluation={"epochs": 4, "test_every": 2}, **tiny)
    >>> records = run([trial], "records", engine="inline", progress=False)
    >>> found = curves(records, "records")
    >>> found[found["network"] == 0][["epoch", "split"]].values.tolist()
    [[2, 'train'], [2, 'test'], [4, 'train'], [4, 'test']]
    """
    import pandas as pd

    store = store if isinstance(store, Store) else Store(store)
    rows = []
    for key in records["key"].unique():
        path = store.record_path(key)
        found = json.loads(path.read_text()).get("curves", {}) if path.is_file() else {}
        if not found.get("epoch"):
            raise InputError(
                f"trial {key} has no curves in {store.path}: its evaluation needs test_every, at most epochs"
            )
        rows += points(key, found)
    return pd.DataFrame(rows, columns=CURVES)


def points(key: str, curves: Mapping[str, Any]) -> list[tuple]:
    """The rows of `curves` that the curves of one record make; none where it has none."""
    names, rows = ("epoch", "train_loss", "test_loss", "test_accuracy"), []
    for epoch, *quantities in zip(*(curves.get(name, []) for name in names), strict=True):
        for network, (train, test, accuracy) in enumerate(zip(*quantities, strict=True)):
            rows.append((key, network, epoch, "train", train, math.nan))
            rows.append((key, network, epoch, "test", test, accuracy))
    return rows
