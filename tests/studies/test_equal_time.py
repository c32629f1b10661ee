"""Kinds of real batches in equal time."""

import pandas as pd

from bilp_core.studies import equal_time


def test_each_kind_has_the_means_of_its_own_seeds():
    one = {"data": "x", "method": "idc", "ipc": 10, "network": "convnet"}
    batches = pd.DataFrame(
        [
            {**one, "batch": "random", "seed": 0, "rounds": 30, "seconds": 100.0, "accuracy": 0.30},
            {**one, "batch": "adaptive", "seed": 0, "rounds": 12, "seconds": 120.0, "accuracy": 0.31},
            {**one, "batch": "random", "seed": 1, "rounds": 40, "seconds": 140.0, "accuracy": 0.32},
        ]
    )
    found = equal_time.shown(batches).set_index("batch")
    assert found[["rounds", "minutes", "trials"]].values.tolist() == [["35", "2.0", 2], ["12", "2.0", 1]]
    assert found["accuracy"].tolist() == ["31.0 ± 1.0", "31.0"]
