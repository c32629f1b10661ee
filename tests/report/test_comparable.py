import pandas as pd
import pytest

from bilp_core.errors import InputError
from bilp_core.report import max_pruning_ratio


def records(rows):
    return pd.DataFrame(rows, columns=["method", "ratio", "accuracy"])


def test_max_pruning_ratio_counts_better_as_comparable():
    frame = records(
        [
            *[("dc", 0.0, 0.28), ("dc", 0.0, 0.30), ("dc", 0.5, 0.281), ("dc", 0.9, 0.40), ("dc", 0.99, 0.2799)],
            *[("dm", 0.0, 0.5), ("dm", 0.0, 0.5), ("dm", 0.5, 0.49)],
        ]
    )
    table = max_pruning_ratio(frame, ["method"]).set_index("method")
    assert table.loc["dc", "max_ratio"] == 0.9
    assert table.loc["dm", "max_ratio"] == 0.0
    assert table.loc["dc", "full_std"] == pytest.approx(0.01)


def test_max_pruning_ratio_needs_full_data():
    with pytest.raises(InputError, match="no full-data trial"):
        max_pruning_ratio(records([("dc", 0.5, 0.3)]), ["method"])
    with pytest.raises(InputError, match="lack the columns ipc"):
        max_pruning_ratio(records([("dc", 0.0, 0.3)]), ["ipc"])
