"""Trials whose classes are distilled apart, and trials that end early."""

import json

import numpy as np
import pytest

from bilp_core import distillers
from bilp_core.engines import InlineEngine, LocalEngine
from bilp_core.errors import InputError
from bilp_core.synthetic import SyntheticSet
from bilp_core.trials import Store, Trial, TrialsFailed, describe, run, work

from .common import TINY

DM = {**TINY, "method": "dm", "ipc": 1}


def images(store, trial):
    return Store(store).synthetic(trial.synthetic_key).images


def test_what_makes_no_difference_leaves_no_trace():
    plain = Trial(**DM)
    assert plain.parts == []
    assert not {"splits", "stop", "plateau"} & plain.settings.keys()
    keys = {Trial(**DM, **change).key for change in ({}, {"splits": 2}, {"stop": 1}, {"plateau": 1})}
    assert len(keys) == 4
    split = Trial(**DM, splits=2)
    assert len({split.synthetic_key, *(part.synthetic_key for part in split.parts)}) == 3
    assert describe(split.parts[1], split.parts) == "part=2"


def test_dm_split_is_dm_and_parts_are_jobs(tmp_path, monkeypatch):
    made, make = [], distillers.distill
    monkeypatch.setattr(distillers, "distill", lambda *a, **k: made.append(k["part"]) or make(*a, **k))
    plain, split = Trial(**DM), Trial(**DM, splits=3)
    records = run([plain, split], tmp_path, InlineEngine())
    assert made == [distillers.Part(number, 3) for number in (1, 2, 3)] + [None]
    assert (images(tmp_path, plain) == images(tmp_path, split)).all()
    np.testing.assert_array_equal(*records["accuracies"])
    assert records["kept"].tolist() == [1352, 1352]
    assert records["splits"].tolist() == [1, 3]


def test_parts_that_are_there_are_taken(tmp_path, monkeypatch):
    split = Trial(**{**DM, "method": "dc"}, splits=2)
    whole = run([split], tmp_path / "one", InlineEngine())
    store = Store(tmp_path / "two")
    work.make_synthetic(split.parts[1], str(store.path))
    made, make = [], distillers.distill
    monkeypatch.setattr(distillers, "distill", lambda *a, **k: made.append(k["part"].number) or make(*a, **k))
    again = run([split], store, InlineEngine())
    assert made == [1]
    np.testing.assert_array_equal(whole["accuracies"][0], again["accuracies"][0])


def test_a_part_that_fails_fails_its_trial_alone(tmp_path, monkeypatch):
    make = distillers.distill

    def broken(*args, part, **rest):
        if part and part.number == 2:
            raise FloatingPointError("the loss is nan")
        return make(*args, part=part, **rest)

    monkeypatch.setattr(distillers, "distill", broken)
    with pytest.raises(TrialsFailed, match=r"1 of 2 trials failed(.|\n)*splits=2 (.|\n)*: FloatingPointError"):
        run([Trial(**DM), Trial(**DM, splits=2)], tmp_path, InlineEngine())
    assert Store(tmp_path).get(Trial(**DM))


def test_workers_make_parts_side_by_side(tmp_path, capsys):
    split = Trial(**DM, splits=2, criterion="loss", ratio=0.5, score={"trials": 1, "epochs": 1})
    with LocalEngine(2) as engine:
        run([split], tmp_path, engine)
    said = capsys.readouterr().err
    assert "parts: 2 to run, 2 at a time" in said
    for part in split.parts:
        made = SyntheticSet.load(Store(tmp_path).synthetic_path(part.synthetic_key))
        assert len(made.classes) == 5


def test_early_stops_are_in_the_record(tmp_path):
    stopped, flat = Trial(**DM, stop=1), Trial(**{**DM, "options": {"iterations": 40}}, plateau=1)
    records = run([stopped, flat], tmp_path, InlineEngine())
    rounds = [json.loads(text)["rounds"] for text in records["resolved"]]
    assert rounds[0] == 1
    assert 2 <= rounds[1] < 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": 0}, "splits = 0: must be at least 1"),
        ({"stop": -1}, "stop = -1: must be at least 0"),
        ({"splits": 6}, "10 classes in 6 parts"),
        ({"method": "mtt", "splits": 2}, "'mtt' distils all classes together"),
        ({"splits": 2, "adaptive": 0.3}, "'dm' in parts goes with random real batches only"),
        ({"stop": 2}, "stop = 2: dm has 2 rounds; a stop must come before the last"),
    ],
)
def test_what_cannot_work_is_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run([Trial(**{**DM, **change})], tmp_path, InlineEngine())
    assert not (tmp_path / "synthetic").exists()
