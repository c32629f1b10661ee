"""What the store has gets into tables: each trial once, with its provenance, and no path of a machine."""

import json
from dataclasses import asdict, replace

import pytest
from PIL import Image

from bilp_core.errors import InputError
from bilp_core.trials import Store, Trial, export, frame, grid
from bilp_core.trials import curves as curves_of
from bilp_core.trials.exporting import COLUMNS, outdated, read, row_of, trial_of
from bilp_core.trials.trial import forget_folders
from bilp_core.utils.revisions import REVISIONS, numbers

ASKED = grid(data="digits", criterion="loss", ratio=[0.0, 0.5], seed=range(2), options={"iterations": 2})
CURVES = {"epoch": [2, 4], "train_loss": [[1.5], [1.0]], "test_loss": [[2.0], [1.75]], "test_accuracy": [[0.4], [0.5]]}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "book/results/photos"


def put(store, *trials, **more):
    for trial in trials:
        record = {**asdict(trial), "key": trial.key, "accuracy": 0.5, "std": 0.25, "accuracies": [0.25, 0.75]}
        record |= {"device": "a CPU", "date": "2026-11-26T10:00:00+00:00", "versions": {"torch": "2.15"}}
        record |= {"commit": "abc", "speed": "auto", "revisions": numbers(replace(trial, init="noise").rests_on)}
        store.put({**record, **more})


def test_what_is_done_is_added_once(store, folder):
    put(store, *ASKED[:3])
    assert export(ASKED, folder, "first", store) == {"added": 3, "not run yet": 1}
    text = (folder / "first.csv").read_bytes()
    assert export(ASKED, folder, "first", store) == {"there": 3, "not run yet": 1}
    assert (folder / "first.csv").read_bytes() == text
    put(store, ASKED[3], accuracy=0.1)
    assert export(ASKED, folder, "first", store) == {"there": 3, "added": 1}
    assert (folder / "first.csv").read_bytes().startswith(text)  # appended
    rows = read(folder / "first.csv")
    assert [tuple(row) for row in rows] == [COLUMNS] * 4
    assert [trial_of(row) for row in rows] == ASKED
    assert [row["accuracy"] for row in rows] == ["0.5", "0.5", "0.5", "0.1"]
    assert rows[0]["accuracies"] == "0.2500;0.7500"
    assert json.loads(rows[2]["revisions"])["indicator:loss"] == 1
    assert not (folder / "curves").exists()


def test_a_chapter_of_which_nothing_is_done_has_no_table(store, folder):
    assert export(ASKED, folder, "first", store) == {"not run yet": 4}
    assert not folder.exists()


def test_what_only_another_chapter_has_is_taken_from_its_table(store, folder, tmp_path, monkeypatch):
    put(store, *ASKED[:3])
    export(ASKED[:3], folder, "first", store)
    empty = Store(tmp_path / "empty")
    assert export(ASKED[1:], folder, "second", empty) == {"of another chapter": 2, "not run yet": 1}
    assert read(folder / "second.csv") == read(folder / "first.csv")[1:]
    assert export(ASKED[1:], folder, "second", empty) == {"not run yet": 3}  # there, and the store has none
    monkeypatch.setitem(REVISIONS, "indicator:loss", 2)
    assert export(ASKED, folder, "third", empty) == {"of another chapter": 2, "not run yet": 2}  # not what is outdated


def test_a_start_that_is_named_is_that_of_the_method(store, folder, tmp_path):
    """Or one experiment would be two rows."""
    put(store, Trial("digits"))
    export([Trial("digits")], folder, "first", store)
    asked = [Trial("digits", init="noise"), Trial("digits", init="real")]
    assert export(asked, folder, "second", Store(tmp_path / "empty")) == {"of another chapter": 1, "not run yet": 1}


def test_other_images_of_another_chapter_are_not_taken(store, folder, tmp_path):
    def trial_of_a_folder(colour):
        place = tmp_path / f"images{colour}"
        for name in ("train/a", "train/b", "test/a", "test/b"):
            (place / name).mkdir(parents=True)
            Image.new("L", (8, 8), colour).save(place / name / "0.png")
        return Trial(str(place))

    one, other = trial_of_a_folder(1), trial_of_a_folder(2)
    put(store, one)
    export([one], folder, "first", store, data_name="mine")
    assert export([other], folder, "second", store, data_name="mine") == {"not run yet": 1}


def test_an_outdated_row_goes_when_there_is_a_new_one(store, folder, monkeypatch):
    put(store, *ASKED)
    export(ASKED, folder, "first", store)
    monkeypatch.setitem(REVISIONS, "indicator:loss", 2)  # what was pruned by it has other keys now
    assert export(ASKED, folder, "first", store) == {"there": 2, "not run yet": 2}
    assert len(read(folder / "first.csv")) == 4  # until then it stays
    put(store, ASKED[2], accuracy=0.75)
    assert export(ASKED, folder, "first", store) == {"there": 2, "replaced": 1, "not run yet": 1}
    rows = read(folder / "first.csv")
    assert [row["accuracy"] for row in rows] == ["0.5", "0.5", "0.75", "0.5"]
    assert [json.loads(row["revisions"]).get("indicator:loss") for row in rows] == [None, None, 2, 1]


def test_a_part_that_is_younger_than_a_row_counts_as_revised_when_it_is():
    left, named = (Trial("digits", method="idc", ipc=10, adaptive=0.3, **own) for own in ({}, {"effect": "sketch"}))
    for trial, older_is_outdated in ((left, True), (named, False)):
        row = row_of(trial, {"accuracies": []})
        assert not outdated(row)
        parts = json.loads(row["revisions"])
        parts.pop("effects", None)
        assert outdated(row | {"revisions": json.dumps(parts)}) is older_is_outdated


def test_a_row_of_another_run_goes_only_when_told(store, folder, pets, tmp_path):
    """The same images in another place have another key, and are the same trial."""
    here = Trial(str(pets), options={"iterations": 2})
    moved = pets.rename(tmp_path / "elsewhere")
    there = Trial(str(moved), options={"iterations": 2})
    put(store, there, accuracy=0.75)
    export([there], folder, "first", store, data_name="Pets (JPEG)")
    moved.rename(pets)
    put(store, here)
    assert export([here], folder, "first", store, data_name="Pets (JPEG)") == {"of another run": 1}
    assert [row["accuracy"] for row in read(folder / "first.csv")] == ["0.75"]
    assert export([here], folder, "first", store, data_name="Pets (JPEG)", replace=True) == {"replaced": 1}
    assert [row["accuracy"] for row in read(folder / "first.csv")] == ["0.5"]


def test_a_trial_of_two_chapters_is_the_same_row_in_both(store, folder, monkeypatch):
    put(store, *ASKED)
    for chapter, asked in (("first", ASKED), ("second", ASKED[2:])):
        export(asked, folder, chapter, store)
    assert read(folder / "second.csv") == read(folder / "first.csv")[2:]
    monkeypatch.setitem(REVISIONS, "indicator:loss", 2)
    put(store, ASKED[3], accuracy=0.75)
    export(ASKED, folder, "first", store)
    assert read(folder / "second.csv") == read(folder / "first.csv")[2:]
    assert read(folder / "second.csv")[1]["accuracy"] == "0.75"


def test_curves_follow_their_rows(store, folder, monkeypatch):
    asked = [replace(trial, evaluation={"test_every": 2}) for trial in ASKED]
    put(store, asked[2], asked[3], curves=CURVES)
    put(store, ASKED[0])
    export([ASKED[0], *asked], folder, "first", store)
    export([ASKED[0], *asked], folder, "first", store)
    found = read(folder / "curves/first.csv")
    records = frame([store.get(trial) for trial in asked[2:]])
    wanted = curves_of(records, store).astype(object)
    assert [list(row.values()) for row in found] == wanted.where(wanted.notna(), "").map(str).values.tolist()
    monkeypatch.setitem(REVISIONS, "indicator:loss", 2)
    put(store, asked[2], curves={**CURVES, "test_loss": [[3.0], [2.5]]})
    export([ASKED[0], *asked], folder, "first", store)
    rows, found = read(folder / "first.csv"), read(folder / "curves/first.csv")
    assert {row["key"] for row in found} == {row["key"] for row in rows[1:]}
    assert [row["loss"] for row in found] == ["1.5", "3.0", "1.0", "2.5", "1.5", "2.0", "1.0", "1.75"]


@pytest.fixture
def pets(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name)
    return tmp_path / "pets"


def test_a_folder_is_named_and_stamped_and_its_path_stays_here(store, folder, pets, tmp_path):
    trial = Trial(str(pets))
    put(store, trial)
    export([trial], folder, "first", store)
    with pytest.raises(InputError, match=r"'Pets \(JPEG\)' are in .* as 'pets' already .*--data-name 'pets'"):
        export([trial], folder, "second", store, data_name="Pets (JPEG)")
    export([trial], folder.parent / "other", "second", store, data_name="Pets (JPEG)")
    own, given = read(folder / "first.csv")[0], read(folder.parent / "other/second.csv")[0]
    assert [own["data"], given["data"]] == ["pets", "Pets (JPEG)"]
    assert own["stamp"] == given["stamp"]
    assert len(own["stamp"]) == 16
    assert str(tmp_path) not in (folder / "first.csv").read_text()
    Image.new("RGB", (8, 8), "red").save(pets / "train/a/1.png")
    forget_folders()
    put(store, Trial(str(pets), seed=1))
    with pytest.raises(InputError, match="'pets' are other images .*--data-name"):
        export([Trial(str(pets), seed=1)], folder, "first", store)
    put(store, ASKED[0])
    with pytest.raises(InputError, match="digits is a named data set"):
        export(ASKED, folder, "first", store, data_name="Digits (JPEG)")
    with pytest.raises(InputError, match="'digits' is that of a named data set"):
        export([Trial(str(pets), seed=1)], folder, "first", store, data_name="digits")


def test_a_record_from_before_there_were_revisions_names_those_of_its_key(store, folder):
    put(store, ASKED[2], revisions=None, stamp=None)
    export(ASKED, folder, "first", store)
    made = json.loads(read(folder / "first.csv")[0]["revisions"])
    assert made == numbers(replace(ASKED[2], init="noise").rests_on)
