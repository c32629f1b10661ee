"""bilp records: what the store holds, and how it gets into the tables of a book of its own."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from bilp_core.book import planned
from bilp_core.cli.main import main
from bilp_core.trials import Store, Trial
from bilp_core.trials.exporting import read
from bilp_core.trials.plan import collect
from bilp_core.utils.revisions import numbers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A book of one chapter, and a store."""
    for name in ("_config.yml", "book/chapters/strata.md", "params/quick/strata.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book/intro.md").write_text("# Tiny\n")
    (tmp_path / "book/_toc.yml").write_text("format: jb-book\nroot: intro\nchapters: [{file: chapters/strata}]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_ROOT", str(tmp_path))
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "records"))
    return tmp_path


def test_what_is_done_is_exported_and_listed(here, capsys):
    asked = planned("strata", "quick", {"seeds": "2"})
    for trial in asked[:3]:
        record = {**asdict(trial), "key": trial.key, "accuracy": 0.5, "std": 0.1, "accuracies": [0.4, 0.6]}
        Store().put({**record, "date": "2026-11-26T10:00:00+00:00", "revisions": {"core": 0}})
    words = ["records", "export", "strata", "-p", "seeds", "2"]
    assert main(words) == 0
    assert f"quick/strata.csv: 3 added, {len(asked) - 3} not run yet" in capsys.readouterr().out
    assert main([*words[:2], *words[3:]]) == 0  # of all chapters
    assert f"quick/strata.csv: 3 there, {len(asked) - 3} not run yet" in capsys.readouterr().out
    assert [row["data"] for row in read(here / "book/results/quick/strata.csv")] == ["digits"] * 3
    assert main(["records"]) == 0
    shown = capsys.readouterr().out
    assert ": 3 records" in shown
    assert "the last of 2026-11-26, " in shown
    assert "of an earlier revision" in shown


@pytest.mark.parametrize(("effect", "old"), [("auto", True), ("sketch", False)])
def test_a_record_that_does_not_name_a_part_is_older_than_it(here, capsys, effect, old):
    trial = Trial("digits", method="idc", ipc=10, adaptive=0.3, effect=effect)
    parts = {part: number for part, number in numbers(trial.rests_on).items() if part != "effects"}
    record = {**asdict(trial), "key": trial.key, "date": "2026-11-26T10:00:00+00:00", "revisions": parts}
    Store().put(record)
    assert main(["records"]) == 0
    assert ("of an earlier revision" in capsys.readouterr().out) is old


def test_what_the_tables_lack_is_run_and_exported_even_if_it_is_stopped(here, capsys, monkeypatch):
    asked = planned("strata", "quick", {"seeds": "1"})

    def put(trial):
        record = {**asdict(trial), "key": trial.key, "accuracy": 0.5, "std": 0.1, "accuracies": [0.4, 0.6]}
        Store().put({**record, "date": "2026-11-26T10:00:00+00:00", "revisions": numbers(trial.rests_on)})

    ran = []

    def stopped(trials):
        collect(trials)  # as `run` does, while the chapter is asked for its trials
        ran.append(len(trials))
        put(trials[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("bilp_core.trials.run", stopped)
    words = ["strata", "-p", "seeds", "1"]
    for done in (1, 2):
        shutil.rmtree(here / "records", ignore_errors=True)  # the tables know what was done elsewhere
        assert main(["records", "fill", *words]) == 130
        assert len(read(here / "book/results/quick/strata.csv")) == done
    assert ran == [len(asked), len(asked) - 1]
    for trial in asked:
        put(trial)
    assert main(["records", "export", *words]) == 0
    capsys.readouterr()
    assert main(["records", "fill", *words]) == 0
    assert f"quick/strata: 0 of {len(asked)} trials are in no table" in capsys.readouterr().out
    assert len(ran) == 2


def test_an_empty_store_is_listed(here, capsys):
    assert main(["records"]) == 0
    assert ": 0 records" in capsys.readouterr().out


def test_a_wrong_chapter_preset_or_parameter_is_refused(here, capsys):
    for words, message in (
        (["strate"], "there is no chapter 'strate'"),
        (["strata", "--preset", "fast"], "there is no preset 'fast'"),
        (["strata", "-p", "sedes", "2"], "no parameter 'sedes'"),
    ):
        assert main(["records", "export", *words]) == 2
        assert message in capsys.readouterr().err
