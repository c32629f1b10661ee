"""The bars of large data, with few images: that they are measured, said, and end the run with an error."""

import csv

import bench
import large
import pytest

from bilp_core import report


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def run(*words):
        out = tmp_path / "large.csv"
        monkeypatch.setattr("sys.argv", ["large.py", *words[:1], str(tmp_path), *words[1:], "--out", str(out)])
        return large.main(), capsys.readouterr().out, list(csv.DictReader(out.read_text().splitlines()))

    return run


def test_a_row_each_and_whether_its_bar_holds(run):
    status, said, rows = run("all", "--count", "410", "--images", "2000", "--steps", "open")
    assert status == 0
    assert [(row["what"], row["images"]) for row in rows] == [("decode", "410"), ("open", "2000")]
    assert "decode of 410 images, memory under 1.5 GB: holds (" in said
    assert "open of 2,000 images, under 1 s: holds (" in said


def test_a_bar_that_does_not_hold(run, monkeypatch):
    monkeypatch.setitem(report.BARS, "decode", ("peak_mb", 1, "memory under 1 MB"))
    status, said, rows = run("decode", "--count", "410")
    assert status == 1
    assert "decode of 410 images, memory under 1 MB: DOES NOT HOLD (" in said
    assert len(rows) == 1  # what was measured is kept all the same


def test_make_bench_checks_them(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(bench.subprocess, "run", lambda words: asked.append(words) or type("", (), {"returncode": 1}))
    monkeypatch.setattr("sys.argv", ["bench.py", "--large", str(tmp_path), "--out", "large.csv"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 1
    assert asked[0][1:] == [large.__file__, "all", str(tmp_path), "--out", "large.csv"]


def test_every_step_with_a_bar_is_run():
    assert {*large.STEPS, "decode"} >= set(report.BARS)
    committed = report.with_bars(report.measurements("large"))
    assert set(committed["holds"]) <= {"yes", ""}
