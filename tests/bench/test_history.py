"""What the benchmark makes of its times."""

import bench
import history
import hours
import pytest
import rows
import steps


def row(name, units, spread, **more):
    about = {"clock": "wall", "device": "CPU", "commit": "abc", "date": "2026-11-26T00:00:00+00:00"}
    return {"name": name, "units": units, "units_spread": spread, **about, **more}


def test_medians_ratio_spread_and_test():
    found = history.summary([((2.0, 1.0), (4.0, 1.0)), ((3.0, 1.5), (6.0, 1.0)), ((1.0, 0.4), (2.5, 1.0))] * 2)
    assert (found["ours_seconds"], found["reference_seconds"], found["ratio"]) == ("2", "4", "0.500")
    assert found["spread"] == "0.425 to 0.5"
    assert (found["units"], found["units_spread"], found["runs"]) == ("2", "2 to 2.375", 6)
    assert float(found["p"]) < 0.05
    alone = history.summary([((2.0, 1.0),)] * 5)
    assert (alone["ratio"], alone["p"], alone["units"]) == ("", "", "2")
    assert history.summary([((2.0, 1.0), (2.0, 1.0))] * 5)["p"] == "1"


def test_a_change_beyond_noise_is_said():
    known = [row("dm", "9", "9 to 9"), row("dm", "2", "1.9 to 2.1"), row("dm", "1", "1 to 1", clock="cpu")]
    assert history.verdict(row("dm", "2.5", "2.4 to 2.6"), known).endswith("2 in abc (2026-11-26): 25% SLOWER")
    assert history.verdict(row("dm", "1.5", "1.4 to 1.6"), known).endswith("25% faster")
    assert history.verdict(row("dm", "2.5", "2.0 to 3.0"), known).endswith("no change beyond noise")
    assert history.verdict(row("dm", "2.1", "2.1 to 2.1"), known).endswith("no change beyond noise")
    assert history.verdict(row("dc", "2", "2 to 2"), known) == "dc: 2 units, nothing to compare with"


def test_rows_are_added_and_none_goes(tmp_path):
    path = tmp_path / "bench.csv"
    path.write_text("name,ratio,commit\ndm,0.5,old\n")
    history.add(path, row("dm", "2", "2 to 2", ratio="0.4"))
    history.add(path, row("dc", "3", "3 to 3"))
    assert [(r["name"], r["ratio"], r["commit"]) for r in history.read(path)] == [
        ("dm", "0.5", "old"), ("dm", "0.4", "abc"), ("dc", "", "abc"),
    ]  # fmt: skip
    assert history.read(path)[0]["units"] == ""
    assert history.read(tmp_path / "none.csv") == []


def test_a_file_of_other_rows_is_left_as_it_is(tmp_path):
    path = tmp_path / "draws.csv"
    path.write_text("name,accuracy\ndm,0.5\n")
    with pytest.raises(SystemExit, match=r"draws\.csv: has other rows than these, with 'accuracy': name another file"):
        history.add(path, row("dm", "2", "2 to 2"))
    assert path.read_text() == "name,accuracy\ndm,0.5\n"


def test_rows_that_cannot_be_written_leave_the_file_as_it_is(tmp_path):
    path = tmp_path / "rows.csv"
    rows.write(path, [{"a": "1"}])
    with pytest.raises(ValueError, match="b"):
        rows.write(path, [{"a": "1"}, {"a": "2", "b": "3"}])
    assert path.read_text() == "a\n1\n"


@pytest.mark.parametrize(
    ("tool", "measures", "words"),
    [(bench, "compare", ["--device", "cpu"]), (hours, "row", []), (steps, "row", [])],
)
def test_what_cannot_be_written_is_said_before_work(tool, measures, words, tmp_path, monkeypatch, capsys):
    other = tmp_path / "draws.csv"
    other.write_text("name,accuracy\ndm,0.5\n")
    monkeypatch.setattr(tool, measures, lambda *given: pytest.fail("it was measured"))
    for out, said in (
        (other, "has other rows than these"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "rows.csv", "no such folder"),
    ):
        monkeypatch.setattr("sys.argv", ["tool", *words, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            tool.main()
        assert said in str(ended.value) + capsys.readouterr().err


def test_no_folder_of_a_machine_is_in_a_row():
    asked = history.command(["--reference", "/home/me/DatasetCondensation", "--only", "dm", "--runs", "5"])
    assert asked == "make bench ARGS='--reference DIR --only dm --runs 5'"
