"""Methods side by side: the table of the registry, and real images by the protocol that judged a set."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from bilp_core import report, trials
from bilp_core.data import load
from bilp_core.distillers import METHODS, Separable
from bilp_core.evaluation import Protocol, random_real
from bilp_core.studies.methods import beside_real, kinds, methods_figure, on_photographs, side_by_side, what_was_kept

NET = "convnet:depth=1,width=4"


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_the_table_has_every_method_and_tells_them_apart():
    found = kinds().set_index("method")
    assert list(found.index) == list(METHODS)
    assert len(found) == 15  # as the chapter's title says
    assert found["what it does"].is_unique
    for name, method in METHODS.items():
        assert (found.loc[name, "adaptive pruning"] == "yes") == issubclass(method, Separable)
        assert found.loc[name, "starts from"] in method.inits


def test_what_is_learned_is_said():
    """Methods that keep learned labels or step sizes in their set say so, and others do not."""
    assert "labels" in METHODS["frepo"].learns
    assert "step size" in METHODS["mtt"].learns
    assert METHODS["dc"].learns == METHODS["dm"].learns == "images"


def test_real_images_are_judged_as_the_set_was(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "records"))
    settings = {"network": NET, "options": {"iterations": 1, "batch": 16}, "repeats": 2}
    todo = trials.grid(data="digits", method="dm", ipc=[1, 2], evaluation={"epochs": 3}, **settings)
    todo += trials.grid(data="digits", method="dc", evaluation={"epochs": 4, "lr": 0.1}, **settings)
    pruned = replace(todo[0], ratio=0.5)
    records = trials.run([pruned, *todo], tmp_path / "records", engine="inline", progress=False)
    found = beside_real([pruned, *todo], records, *digits)
    assert found[["method", "ipc", "images"]].values.tolist() == [["dm", 1, 1], ["dm", 2, 2], ["dc", 1, 1]]
    assert len(beside_real([pruned], records, *digits)) == 1  # a pruned set does where there is no other
    made = trials.Store().synthetic(todo[2].synthetic_key)
    row = records.set_index("key").loc[todo[2].key]
    judged = Protocol(**json.loads(row["resolved"])["evaluation"])
    assert (judged.epochs, judged.lr) == (4, 0.1)
    real = random_real(made, *digits, network=NET, protocol=judged, repeats=2, seed=0)
    assert found["value"].iloc[2] == pytest.approx(100 * real.mean)
    assert found["std"].iloc[2] == pytest.approx(100 * real.std)


def test_the_figure_has_a_row_a_method_the_best_at_the_top():
    rows = [("dc", "full data", 60.0, None), ("dm", "full data", 70.0, 1.0), ("dm", "random real images", 50.0, 2.0)]
    figure = methods_figure(pd.DataFrame(rows, columns=["method", "what", "value", "std"]))
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dm", "dc"]
    points = {c.get_label(): sorted(c[0].get_xdata()) for c in axis.containers}
    assert points == {"full data": [60.0, 70.0], "random real images": [50.0]}


def test_side_by_side_names_what_was_not_run_and_marks_what_is_old():
    rows = [("dc", 1, "random", 0.0, 28.0, 0.5, 3, False), ("dm", 1, "loss", 0.99, 27.0, float("nan"), 1, True)]
    values = pd.DataFrame(rows, columns=["method", "ipc", "criterion", "ratio", "value", "std", "trials", "outdated"])
    wide = side_by_side(values.assign(what=what_was_kept(values)))
    assert list(wide.columns) == ["method", "IPC", "full data", "99% removed, loss"]
    assert wide.values.tolist() == [
        ["dc", 1, "28.0 ± 0.5 (3)", report.ABSENT],
        ["dm", 1, report.ABSENT, f"27.0 (1) {report.MARK}"],
    ]


def test_photographs_compare_the_kinds_of_data_over_methods_that_have_both(monkeypatch):
    rows = [
        ("dc", "noise", "random", 0.0, 0.28),
        ("dc", "noise", "loss", 0.99, 0.30),
        ("dc", "noise", "loss", 0.9, 0.99),
    ]
    rows += [
        ("dm", "real", "random", 0.0, 0.26),
        ("dm", "real", "loss", 0.99, 0.29),
        ("dm", "noise", "loss", 0.99, 0.9),
    ]
    found = pd.DataFrame(rows, columns=["method", "init", "criterion", "ratio", "accuracy"])
    found = found.assign(network="convnet", drop="largest", data="photos", ipc=1, seed=0, adaptive=0.0)
    found = found.assign(chapter="methods", options="{}")
    both = {"chapter": "bilp", "init": None, "method": "dc", "criterion": "random", "ratio": 0.0, "accuracy": 0.30}
    others = [
        {**both, "seed": 1},
        {**both, "seed": 2, "adaptive": 0.3},
        {**both, "seed": 3, "options": '{"batch": 179}'},
    ]
    found = pd.concat([found, *(found.iloc[[0]].assign(**other) for other in others)])
    real = pd.DataFrame({"method": ["dc", "mtt"], "ipc": 1, "value": [15.0, 16.0], "std": 1.0, "repeats": 5})
    monkeypatch.setattr(
        report, "committed", lambda **_: found.assign(device="CPU", date="2026", commit="1", outdated=False)
    )
    monkeypatch.setattr(report, "measurements", lambda _: real)
    _, table, said = on_photographs()
    assert table.data.values.tolist() == [
        ["dc", "1", "15.0 ± 1.0 (5)", "29.0 ± 1.0 (2)", "30.0 (1)"],
        ["dm", "1", report.ABSENT, "26.0 (1)", "29.0 (1)"],
    ]
    assert said.data.startswith(
        "*99% removed, loss* is above *full data* for 2 of 2 methods, by +2.0 points in the mean (from +1.0, dc, to "
        "+3.0, dm)."
    )
    assert "Not run yet: cafe" in said.data
    assert "dc" not in said.data.split("Not run yet: ")[1].rstrip(".").split(", ")
