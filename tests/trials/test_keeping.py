"""What is kept between runs is listed, and cleaned by age, size and kind; results only where they are named."""

import os
import time

import pytest

from bilp_core.cli.main import main
from bilp_core.errors import InputError
from bilp_core.trials.keeping import age, kept, size

DAY = 86400


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A file or folder of each kind; the unfinished state is old, the decoded images are large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "records"))
    monkeypatch.setenv("BILP_DATA", str(tmp_path / "data"))
    for name, count in {
        "cache/unfinished/distillation-1.pt": 1000,
        "records/unfinished/abc/0.safetensors": 1000,
        "cache/scoring/abc/0.safetensors": 100,
        "records/scoring/abc/0.safetensors": 100,
        "cache/0123456789abcdef/train_images.npy": 5_000_000,
        "cache/0123456789abcdef/about.json": 2,
        "data/.bilp-cache/fedcba9876543210/about.json": 2,
        "cache/digests/1.json": 100,
        "records/experts/k/expert-0000.safetensors": 1000,
        "records/records/1.json": 100,
        "records/scores/1.npz": 100,
        "records/synthetic/1.safetensors": 100,
        "cache/not-ours/notes.txt": 10,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(count))
    old = time.time() - 40 * DAY
    os.utime(tmp_path / "cache/unfinished/distillation-1.pt", (old, old))
    return tmp_path


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_there_is(here):
    found = [(item.kind, item.path.relative_to(here).as_posix()) for item in kept()]
    assert found[0] == ("unfinished", "cache/unfinished/distillation-1.pt")  # the oldest first
    assert {path for kind, path in found if kind == "decoded"} == {
        "cache/0123456789abcdef",
        "data/.bilp-cache/fedcba9876543210",
    }
    assert {kind for kind, _ in found} == {"unfinished", "scoring", "decoded", "digests", "experts"}
    item = kept()[0]
    assert item.size == 1000
    assert 39 * DAY < item.age < 41 * DAY
    with pytest.raises(InputError, match="kind 'sets' is unknown; there are: unfinished"):
        kept(["sets"])


def test_it_is_shown(here, capsys):
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "unfinished: 2, 2 kB",
        "40 days",
        "scoring: 2",
        "decoded: 2, 5 MB",
        "experts: 1",
        "records: 1",
        "synthetic: 1",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--older", "30d"], {"cache/unfinished/distillation-1.pt"}),
        (["--larger", "1MB"], {"cache/0123456789abcdef/train_images.npy", "cache/0123456789abcdef/about.json"}),
        (["--kind", "scoring"], {"cache/scoring/abc/0.safetensors", "records/scoring/abc/0.safetensors"}),
        (["--kind", "experts"], {"records/experts/k/expert-0000.safetensors"}),
        (["--kind", "unfinished", "decoded", "--older", "50d"], set()),
        (["--kind", "records"], {"records/records/1.json"}),
    ],
)
def test_what_goes(words, gone, here, capsys):
    before = names(here)
    assert main(["cache", "clean", *words, "--dry-run"]) == 0
    assert names(here) == before
    assert main(["cache", "clean", *words]) == 0
    assert before - names(here) == gone
    assert "removed" in capsys.readouterr().out


def test_results_stay_unless_they_are_named(here):
    assert main(["cache", "clean", "--older", "0min"]) == 0
    assert names(here) == {
        "records/records/1.json",
        "records/scores/1.npz",
        "records/synthetic/1.safetensors",
        "cache/not-ours/notes.txt",
    }


def test_what_is_to_go_must_be_said(here, capsys):
    before = names(here)
    assert main(["cache", "clean"]) == 2
    assert "say what is to go" in capsys.readouterr().err
    for words in (["--older", "3x"], ["--older", "30"], ["--larger", "1"]):
        with pytest.raises(SystemExit):
            main(["cache", "clean", *words])
    assert names(here) == before


def test_measures():
    assert [age("2min"), age("1.5h"), age("30d"), age("1w")] == [120, 5400, 30 * DAY, 7 * DAY]
    assert [size("1kB"), size("500MB"), size("1GB")] == [1e3, 5e8, 1e9]
