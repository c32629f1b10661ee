"""What is committed in book/results: every row with provenance, none twice, all in one form; measurements apart."""

import csv
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bilp_core.data import DATASETS
from bilp_core.report import MEASUREMENTS
from bilp_core.trials.exporting import COLUMNS, identity, read, trial_of
from bilp_core.trials.table import CURVES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "book/results"
TABLES = sorted(RESULTS.glob("*/*.csv"))
ALL = sorted(RESULTS.rglob("*.csv")) + sorted((ROOT / "book/measurements").glob("*.csv"))
names = [path.relative_to(RESULTS).as_posix() for path in TABLES]


def test_the_layout():
    """<preset>/<chapter>.csv and <preset>/curves/<chapter>.csv; of no preset are those in single/."""
    presets = {path.name for path in (ROOT / "params").iterdir()} | {"single"}
    chapters = {path.stem for path in (ROOT / "book/chapters").glob("*.md")}
    for path in RESULTS.rglob("*.csv"):
        preset, *curves, chapter = path.relative_to(RESULTS).with_suffix("").parts
        assert preset in presets
        assert chapter in chapters
        assert curves in ([], ["curves"])
    assert {path.stem for path in (ROOT / "book/measurements").iterdir()} <= set(MEASUREMENTS)


@pytest.mark.parametrize("path", TABLES, ids=names)
def test_every_row_has_its_settings_and_provenance(path):
    rows = read(path)
    assert rows
    for row in rows:
        assert tuple(row) == COLUMNS
        trial = trial_of(row)
        accuracies = [float(accuracy) for accuracy in row["accuracies"].split(";")]
        assert len(accuracies) == trial.repeats
        assert float(row["accuracy"]) == pytest.approx(sum(accuracies) / len(accuracies), abs=1e-4)
        for name in ("seed", "key", "device", "date", "commit", "speed"):
            assert row[name], f"{name} of {row['key']}"
        assert {"bilp_core", "python", "torch"} <= json.loads(row["versions"]).keys()
        assert {"core", "protocol", f"method:{trial.method}"} <= json.loads(row["revisions"]).keys()
        # what was run before stamps were kept cannot be told to be of these images
        assert row["stamp"] or row["data"] in DATASETS or path.parent.name == "single"


def test_no_row_is_there_twice():
    for path in TABLES:
        for of in (identity, lambda row: row["key"]):
            assert max(Counter(map(of, read(path))).values()) == 1, path
    for preset in {path.parent for path in TABLES}:
        shared: dict[str, dict[str, str]] = {}
        for row in (row for path in sorted(preset.glob("*.csv")) for row in read(path)):
            assert shared.setdefault(identity(row), row) == row  # one row in each of its chapters


def test_a_name_stands_for_the_same_images_in_all_tables_of_a_preset():
    stamps = {(path.parent, row["data"], row["stamp"]) for path in TABLES for row in read(path) if row["stamp"]}
    assert max(Counter((preset, data) for preset, data, _ in stamps).values(), default=1) == 1


def test_curves_are_of_rows_beside_them():
    for path in RESULTS.glob("*/curves/*.csv"):
        rows = read(path)
        assert {tuple(row) for row in rows} == {tuple(CURVES)}
        assert {row["key"] for row in rows} <= {row["key"] for row in read(path.parents[1] / path.name)}
        assert max(Counter(tuple(row.values())[:4] for row in rows).values()) == 1


def test_no_path_of_a_machine_is_committed():
    for path in ALL:
        assert not re.search(r"""(?m)(^|[\s"',:=])(/|~/|[A-Za-z]:\\)\w+[/\\]""", path.read_text("utf-8")), path


def git(*words):
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def whole_history():
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("needs the whole history")


def test_what_was_tried_is_in_the_file_that_its_row_names(whole_history):
    with (ROOT / "book/measurements/tried.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        named = git("show", f"{row['commit']}:{row['source']}")
        if not row["quantity"].startswith("mean"):  # of many rows there
            assert all(number in named for number in (row["tried"], row["otherwise"])), row
        if row["device"]:
            assert row["device"] in named
            assert row["date"] in named


def test_every_commit_that_is_named_can_be_checked_out(whole_history):
    """A number whose code is lost cannot be made again."""
    history = git("log", "--format=%H").split()
    for path in ALL:
        with path.open(encoding="utf-8", newline="") as file:
            named = {row["commit"].removesuffix("-dirty") for row in csv.DictReader(file) if row.get("commit")}
        lost = {commit for commit in named if not any(known.startswith(commit) for known in history)}
        assert not lost, f"{path.relative_to(ROOT)} names commits that are not in this history: {sorted(lost)}"
