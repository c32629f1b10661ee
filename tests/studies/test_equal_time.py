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


def test_the_best_kind_is_named_for_each_method_and_so_is_the_default():
    one = {"data": "x", "network": "convnet", "seed": 0, "rounds": 1, "seconds": 1.0}
    rows = [
        ("idc", 10, "adaptive", 0.5),
        ("idc", 10, "random", 0.4),
        ("idc", 10, "adaptive, by the top four", 0.3),
        ("dc", 10, "random", 0.45),
        ("dc", 10, "adaptive", 0.35),
        ("dc", 10, "adaptive, by the top two, law of the batch", 0.4),
        ("dc", 1, "random", 0.3),
        ("dc", 1, "adaptive", 0.25),
    ]
    found = equal_time.said(
        pd.DataFrame(
            [{**one, "method": name, "ipc": ipc, "batch": kind, "accuracy": share} for name, ipc, kind, share in rows]
        )
    )
    assert found == (
        "IDC at IPC 10: best with *adaptive* batches (50.0%); "
        "*adaptive, by the top four*, which is the default, gives 30.0%. "
        "DC at IPC 10: best with *random* batches (45.0%); *adaptive* gives 35.0%; "
        "of adaptive pruning *adaptive, by the top two, law of the batch* gives most, 40.0%. "
        "DC at IPC 1: best with *random* batches (30.0%); *adaptive*, which is the default, gives 25.0%."
    )
