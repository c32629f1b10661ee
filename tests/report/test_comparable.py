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


def test_the_mean_of_the_trials_counts_within_the_band_and_on_its_edge():
    frame = records(
        [
            *[("dm", 0.0, 0.26), ("dm", 0.0, 0.32), ("dm", 0.0, 0.32)],  # 0.30 ± 0.028
            *[("dm", 0.5, 0.20), ("dm", 0.5, 0.36), ("dm", 0.9, 0.20), ("dm", 0.9, 0.34)],  # 0.28 and 0.27
            *[("dc", 0.0, 0.28), ("dc", 0.0, 0.30), ("dc", 0.7, 0.28), ("dc", 0.8, 0.28 - 1e-9)],
        ]
    )
    table = max_pruning_ratio(frame, ["method"])
    assert table["method"].tolist() == ["dm", "dc"]  # as they come
    assert table["max_ratio"].tolist() == [0.5, 0.7]
    assert table["full_mean"].tolist() == pytest.approx([0.30, 0.29])
    assert table["full_std"].tolist() == pytest.approx([0.0008**0.5, 0.01])
    assert table["full_trials"].tolist() == [3, 2]


def test_a_setting_that_is_missing_is_a_setting():
    frame = records([("dc", 0.0, 0.3), ("dc", 0.5, 0.4), (None, 0.0, 0.3), (None, 0.5, 0.2)])
    table = max_pruning_ratio(frame, ["method"])
    assert table["max_ratio"].tolist() == [0.5, 0.0]
    assert table["method"].isna().tolist() == [False, True]


def test_max_pruning_ratio_needs_full_data():
    with pytest.raises(InputError, match="no full-data trial"):
        max_pruning_ratio(records([("dc", 0.5, 0.3)]), ["method"])
    with pytest.raises(InputError, match="lack the columns ipc"):
        max_pruning_ratio(records([("dc", 0.0, 0.3)]), ["ipc"])
