"""What shortens a distillation: which trials are run, and what is made of their records."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bilp_core.studies import large_data as study
from bilp_core.trials import frame

CELL = {"method": "dm", "ipc": 1, "splits": 2, "ratio": 0.5, "stop": 3, "plateau": 2, "options": {"iterations": 6}}
COMMON = {"data": "digits", "network": "convnet", "seed": [0, 1], "repeats": 1, "score": {"epochs": 2}}


def record(trial, accuracy, seconds, **resolved):
    settings = {name: getattr(trial, name) for name in trial.__dataclass_fields__}
    timing = {"score": 4.0 if trial.scored else 0.0, "stage": 1.0, "distil": seconds - 1, "evaluate": 1.0}
    about = {"options": {"iterations": 6}, **resolved}
    return {**settings, "key": trial.key, "accuracy": accuracy, "std": 0.0, "timing": timing, "resolved": about}


def test_versions_are_recognised_in_their_records():
    for version in study.VERSIONS:
        todo = study.trials_of([CELL], COMMON, [version])
        assert [trial.seed for trial in todo] == [0, 1]
        other = study.trials_of([CELL], COMMON, ["all data"])  # where splitting is seen from
        records = frame([record(trial, 0.5, 2.0) for trial in [*todo, *other]])
        assert set(study.named(records)["version"]) == {version, "all data"}


def test_a_version_without_its_settings_is_left_out():
    cell = {"method": "mtt", "ratio": 0.9}
    todo = study.trials_of([cell], COMMON, list(study.VERSIONS))
    records = frame([record(trial, 0.5, 2.0) for trial in todo])
    assert set(study.named(records)["version"]) == {"all data", "by loss"}
    assert {trial.score["epochs"] for trial in todo if trial.criterion == "loss"} == {2}
    own = study.trials_of([{**cell, "versions": ["by loss"], "score": {"epochs": 3}}], COMMON, ["all data"])
    assert [(trial.ratio, trial.score) for trial in own] == [(0.9, {"epochs": 3})] * 2


@pytest.fixture
def found():
    values = {"all data, unsplit": (0.5, 11.0), "all data": (0.6, 10.0), "all data, stopped": (0.55, 6.0),
              "by loss, stopped": (0.7, 5.0)}  # fmt: skip
    rows = [
        record(trial, accuracy + 0.01 * trial.seed, seconds, **({"rounds": 3} if trial.stop else {}))
        for version, (accuracy, seconds) in values.items()
        for trial in study.trials_of([CELL], COMMON, [version])
    ]
    return study.compared(study.named(frame(rows)))


def test_time_rounds_and_accuracy_of_each(found):
    assert found["version"].tolist() == ["all data, unsplit", "all data", "all data, stopped", "by loss, stopped"]
    assert found["saved"].round(6).tolist() == [-0.1, 0.0, 0.4, 0.5]
    assert found["rounds"].tolist() == [6, 6, 3, 3]
    assert found["value"].round(6).tolist() == [50.5, 60.5, 55.5, 70.5]
    assert study.shown(found)["time saved"].tolist() == ["-10%", "0%", "40%", "50%"]


def test_what_was_found_in_words(found):
    said = study.sentences(found)
    assert "Splitting the classes changes the accuracy by +10.0 points." in said
    assert "Against all data, by loss, stopped: +10.0 points and 50% less time; all data, stopped: -5.0 points" in said
    assert "The ranking took 4.0 s, once, the gain of 0.8 sets." in said
    untimed = found.assign(seconds=float("nan"), saved=float("nan"), ranking=0.0)
    assert "Against all data, by loss, stopped: +10.0 points; all data, stopped: -5.0 points." in study.sentences(
        untimed
    )
    assert "seconds" not in study.shown(untimed)
    assert "took" not in study.sentences(untimed)
    alone = found[found["version"] == "all data"]
    assert study.sentences(alone) == "**DM, IPC 1, digits.**"


def test_the_papers_two_ways():
    todo = study.trials_of([CELL], COMMON, list(study.VERSIONS))
    more = study.trials_of([{"method": "mtt", "ratio": 0.9}], COMMON, ["by loss"])
    records = study.named(frame([record(trial, 0.5, 2.0) for trial in [*todo, *more]]))
    ways = study.paper_way(records).groupby("method")["version"].unique().map(list).to_dict()
    assert ways == {"dm": ["all data"], "bilp+dm": ["by loss, stopped"], "bilp+mtt": ["by loss"]}


def test_a_panel_a_cell_and_nothing_of_nothing(found):
    figure = study.over_time(pd.concat([found, found.assign(data="other")]))
    assert [axis.get_title() for axis in figure.axes] == ["digits, DM, IPC 1", "other, DM, IPC 1"]
    assert len(figure.legends[0].get_texts()) == 4
    plt.close(figure)
    assert study.named(pd.DataFrame()).empty


def test_published_savings_are_beside_the_rounds_of_the_preset():
    saved = study.published_savings()
    assert len(saved) == 5
    assert json.loads(saved.to_json(orient="values"))[2] == ["imagenet-64", "dm", 50, 41, 40]
