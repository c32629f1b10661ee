"""Tables, figures and the provenance box, on records made up here."""

import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bilp_core import report
from bilp_core.errors import InputError
from bilp_core.utils.paths import root
from bilp_core.utils.revisions import revision


def records(accuracies: dict[tuple[str, float], list[float]], **settings) -> pd.DataFrame:
    """One record for each accuracy of {(criterion, ratio): accuracies over seeds}."""
    common = {
        "data": "digits",
        "method": "dc",
        "seconds": 2.0,
        "device": "a CPU",
        "versions": '{"torch": "2.15"}',
        "commit": "abc1234",
        "date": "2026-11-23T21:56:40+00:00",
    }
    return pd.DataFrame(
        [
            {"criterion": criterion, "ratio": ratio, "seed": seed, "accuracy": accuracy, **common, **settings}
            for (criterion, ratio), values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
    )


@pytest.fixture
def grid() -> pd.DataFrame:
    return records(
        {
            ("random", 0.0): [0.48, 0.52],  # 50 ± 2
            ("random", 0.5): [0.49, 0.49],
            ("random", 0.9): [0.40, 0.44],
            ("loss", 0.5): [0.55, 0.57],
            ("loss", 0.9): [0.48, 0.49],
        }
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a configuration file and nothing else."""
    (tmp_path / "_config.yml").touch()
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "book" / "results").mkdir()
    monkeypatch.setenv("BILP_ROOT", str(tmp_path))
    return tmp_path


def test_importing_report_does_not_import_torch():
    code = "import sys, bilp_core.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- paths


def test_root_is_found_from_below(tmp_path, monkeypatch):
    monkeypatch.delenv("BILP_ROOT", raising=False)
    (tmp_path / "_config.yml").touch()
    below = tmp_path / "book" / "chapters"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert root() == tmp_path.resolve()


def test_root_named_wrongly_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("BILP_ROOT", str(tmp_path))
    with pytest.raises(InputError, match="BILP_ROOT"):
        root()


# ---------------------------------------------------------------- reading


def test_published_filters_and_refuses_nothing(project):
    frame = pd.DataFrame(
        {
            "table": ["table3", "table4"],
            "method": ["dm", "dc"],
            "value": [40.0, 90.0],
            "std": [np.nan, np.nan],
        }
    )
    frame.to_csv(project / "book" / "published" / "tables.csv", index=False)
    assert report.published("table4")["value"].tolist() == [90.0]
    assert report.published(method=["dc", "dm"])["value"].tolist() == [40.0, 90.0]
    with pytest.raises(InputError, match="table9"):
        report.published("table9")
    with pytest.raises(InputError, match="colour"):
        report.published(colour="red")


def test_examples_are_cut_from_a_picture(project):
    """Two rows, two panels of two images of 4x4 pixels, each image of one shade."""
    shades = np.arange(8, dtype=np.uint8).reshape(2, 4) * 30
    picture = shades.repeat(4, 0).repeat(4, 1)[..., None].repeat(3, 2)
    folder = project / "book/results/photos/examples"
    folder.mkdir(parents=True)
    Image.fromarray(picture).save(folder / "loss.png")
    about = {"name": "loss", "panels": "easy; hard", "rows": "cat; dog", "text": "Draws.", "data": "CIFAR-10"}
    (project / "book/measurements").mkdir()
    frame = pd.DataFrame([{**about, "device": "a CPU", "date": "2026-11-27T00:00:00", "commit": "1"}])
    frame.to_csv(project / "book/measurements/examples.csv", index=False)
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules["bilp_core.report.examples"], "image_grid", lambda panels: drawn.append(panels) or plt.figure()
        )
        _, said = report.examples("loss")
    assert said.data.startswith("Draws. CIFAR-10. ")
    assert {title: list(rows) for title, rows in drawn[0].items()} == {"easy": ["cat", "dog"], "hard": ["cat", "dog"]}
    assert drawn[0]["hard"]["dog"].shape == (2, 3, 4, 4)
    assert np.allclose(drawn[0]["hard"]["dog"][:, 0, 0, 0] * 255, [180, 210])
    assert report.examples("ite")[0].data == "Not run yet."


def commit(frame, project, place="paper/redundancy"):
    """As a table of book/results, of the library as it is."""
    path = project / "book" / "results" / f"{place}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {"key": [f"{place} {row}" for row in range(len(frame))], "revisions": json.dumps({"core": revision("core")})}
    frame.assign(**{name: value for name, value in own.items() if name not in frame}).to_csv(path, index=False)


def test_committed_is_empty_before_any_run_and_leaves_measurements_out(project, grid):
    assert report.committed(data="cifar10").empty
    commit(grid, project)
    (project / "book" / "measurements").mkdir()
    pd.DataFrame({"name": ["dm step"], "ratio": [0.4]}).to_csv(project / "book/measurements/bench.csv", index=False)
    assert len(report.committed()) == len(grid)
    assert len(report.committed(criterion="loss", ratio=0.9)) == 2
    assert report.committed(data="cifar10").empty
    commit(grid.assign(stratum=pd.array([3, *[None] * (len(grid) - 1)], "Int64")), project)
    assert len(report.committed(stratum=None)) == len(grid) - 1
    assert len(report.committed(stratum=[3, None])) == len(grid)
    assert report.measurements("bench")["name"].tolist() == ["dm step"]
    assert report.measurements("ite").empty
    allowed = "'speed': must be one of batches, bench, .*, starts, steps, survivors, tried, unrolling"
    with pytest.raises(InputError, match=allowed):
        report.measurements("speed")


def test_committed_tells_preset_and_chapter_and_counts_shared_trials_once(project, grid):
    commit(grid.assign(key=range(len(grid))), project)
    commit(grid.iloc[:3].assign(key=range(3)), project, "paper/coresets")
    commit(grid.iloc[:1], project, "photos/coresets")
    assert len(report.committed()) == len(grid) + 1
    assert len(report.committed(preset="paper")) == len(grid)
    assert len(report.committed(preset="paper", chapter="coresets")) == 3
    assert report.committed(preset="photos")[["preset", "chapter"]].values.tolist() == [["photos", "coresets"]]
    assert report.committed(preset="quick").empty


def test_committed_curves_lie_beside_the_records(project, grid):
    assert report.committed_curves().empty
    commit(grid, project)
    curve = pd.DataFrame({"key": ["k"], "network": [0], "epoch": [10], "split": ["test"], "loss": [1.5]})
    commit(curve, project, "paper/curves/overfitting")
    assert report.committed_curves()["loss"].tolist() == [1.5]
    assert len(report.committed()) == len(grid)


def test_a_setting_younger_than_a_record_has_its_default(project, grid):
    commit(grid.drop(columns=["adaptive"], errors="ignore"), project, "paper/old")
    assert len(report.committed(adaptive=0, tails="both")) == len(grid)
    commit(grid.iloc[:1].assign(adaptive=0.3), project, "paper/young")
    assert len(report.committed(adaptive=0)) == len(grid)
    assert report.committed(adaptive=0.3)["lazy"].tolist() == [10]


# ---------------------------------------------------------------- what is outdated


NOW, THEN = json.dumps({"core": revision("core")}), json.dumps({"core": revision("core"), "method:dc": 0})


@pytest.fixture
def mixed(project, grid) -> pd.DataFrame:
    """Committed: of an earlier revision are random removal of 90%, and one of two trials with the loss."""
    old = (grid["criterion"] == "random") & (grid["ratio"] == 0.9) | (grid["criterion"] == "loss") & (grid["seed"] == 0)
    commit(grid.assign(revisions=np.where(old, THEN, NOW)), project)
    return report.committed()


def test_committed_says_what_is_outdated(mixed, project, grid):
    assert mixed["outdated"].tolist() == [False] * 4 + [True] * 2 + [True, False] * 2
    commit(grid.iloc[:1].assign(revisions=None), project)
    assert report.committed()["outdated"].tolist() == [True]  # it does not say on what it rests


def test_no_mean_is_of_two_revisions(mixed):
    values = report.measured(mixed, ["criterion", "ratio"]).set_index(["criterion", "ratio"])
    assert values["outdated"].to_dict() == {
        ("random", 0.0): False, ("random", 0.5): False, ("random", 0.9): True, ("loss", 0.5): False,
        ("loss", 0.9): False,
    }  # fmt: skip
    assert values.loc[("loss", 0.5), ["value", "trials"]].tolist() == [pytest.approx(57), 1]  # of seed 1 alone
    assert values.loc[("random", 0.9), ["value", "trials"]].tolist() == [pytest.approx(42), 2]
    limits = report.max_ratios(mixed, ["criterion"]).set_index("criterion")
    assert limits["outdated"].to_dict() == {"random": True, "loss": False}
    gap = report.differences(values.reset_index(), "loss", "random", ["ratio"]).set_index("ratio")
    assert gap["outdated"].to_dict() == {0.5: False, 0.9: True}


def test_tables_mark_what_is_outdated_and_say_so(mixed):
    values = report.measured(mixed, ["criterion", "ratio"])
    limits, note = report.max_ratios(mixed, ["criterion"]).assign(method="dc"), "† of an earlier revision"
    tables = {
        "results": report.results_table(values, ["criterion"]),
        "limits": report.max_ratio_table(limits, ["criterion"]),
        "three": report.three_columns(pd.DataFrame(), values, pd.DataFrame(), ["criterion", "ratio"]),
        "one": report.one_by_one(mixed.assign(std=0.0, score=""), pd.DataFrame(columns=["criterion", "ratio"])),
        "any": report.table(values[["value", "criterion", "outdated"]]),
    }
    marked = {name: [cell for cell in cells(table) if "†" in cell] for name, table in tables.items()}
    assert marked == {
        "results": ["42.0 ± 2.0 †"], "limits": ["50% †"], "three": ["42.0 ± 2.0 †"],
        "one": ["48.0 ± 0.0 †", "40.0 ± 0.0 †", "44.0 ± 0.0 †", "55.0 ± 0.0 †"], "any": ["random †"],
    }  # fmt: skip
    assert all(note in table.to_html() for table in tables.values())
    current = values[~values["outdated"]]
    assert note not in report.results_table(current, ["criterion"]).to_html()
    assert "†" not in report.table(current).to_html()


def test_figures_draw_open_markers_for_what_is_outdated(mixed):
    values = report.measured(mixed, ["criterion", "ratio"])
    named = values.assign(method="dc", ipc=1, version=[str(row) for row in range(len(values))])
    strata = values.assign(stratum=range(len(values)))
    for figure, at in (
        (report.curves(values), [10, 42]),
        (report.versions(named, list(named["version"])), [42, 2]),
        (report.by_stratum(strata, "criterion", "accuracy"), [2, 42]),
    ):
        found = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
        assert [float(number) for line in found for number in line.get_xydata()[0]] == pytest.approx(at)
        words = [text.get_text() for text in figure.findobj(plt.Text)]
        assert any("open markers, †: of an earlier revision" in text for text in words)
        plt.close(figure)
    figure = report.curves(values[~values["outdated"]])
    assert not any("†" in text.get_text() for text in figure.findobj(plt.Text))
    plt.close(figure)


# ---------------------------------------------------------------- values


def test_measured_is_mean_and_population_deviation_over_trials_in_per_cent(grid):
    values = report.measured(grid, ["criterion", "ratio"]).set_index(["criterion", "ratio"])
    full = values.loc[("random", 0.0)]
    assert full["value"] == pytest.approx(50)
    assert full["std"] == pytest.approx(2)
    assert full["trials"] == 2


def test_any_column_can_be_measured_in_its_own_unit(grid):
    values = report.measured(grid.assign(rise=grid["accuracy"] * 2), ["criterion", "ratio"], what="rise")
    full = values.set_index(["criterion", "ratio"]).loc[("random", 0.0)]
    assert (full["value"], full["std"], full["trials"]) == (pytest.approx(1), pytest.approx(0.04), 2)


def test_one_trial_has_no_deviation():
    values = report.measured(records({("random", 0.5): [0.3]}), ["ratio"])
    assert values["value"].tolist() == [pytest.approx(30)]
    assert values["std"].isna().all()


def test_comparable_counts_what_is_above_the_band(grid):
    values = report.measured(grid, ["method", "criterion", "ratio"])
    marked = report.mark_comparable(values, ["method"]).set_index(["criterion", "ratio"])["comparable"]
    assert marked.to_dict() == {
        ("random", 0.0): True,
        ("random", 0.5): True,  # 49 >= 50 - 2
        ("random", 0.9): False,
        ("loss", 0.5): True,  # above the band
        ("loss", 0.9): True,  # 48.5
    }


def test_nothing_is_comparable_to_a_full_run_of_another_setting(grid):
    both = pd.concat([grid, records({("loss", 0.5): [0.9]}, method="dm")])
    marked = report.mark_comparable(report.measured(both, ["method", "criterion", "ratio"]), ["method"])
    assert not marked.loc[marked["method"] == "dm", "comparable"].any()


def test_full_data_trials_serve_each_criterion_for_the_maximum_ratio(grid):
    found = report.max_ratios(grid, ["method", "criterion"]).set_index("criterion")["value"]
    assert found.to_dict() == {"random": pytest.approx(50), "loss": pytest.approx(90)}


def test_full_data_alone_or_pruned_data_alone_have_no_maximum_ratio(grid):
    alone = records({("random", 0.0): [0.5]}, method="dm"), records({("loss", 0.5): [0.5]}, method="idc")
    found = report.max_ratios(pd.concat([grid, *alone]), ["method"])
    assert found["method"].tolist() == ["dc"]
    assert found["std"].isna().all()  # there is one value, of all trials
    for frame in alone:
        assert report.max_ratios(frame, ["method"]).empty


def test_full_data_is_repeated_once_for_each_criterion(grid):
    served = report.repeat_full(grid)
    assert len(served) == 2 * 2 + 8
    assert served.index.is_unique
    assert served.loc[served["ratio"] == 0, "criterion"].tolist() == ["random", "random", "loss", "loss"]


def test_a_setting_that_is_missing_tells_experiments_apart_too(grid):
    both = pd.concat([grid.assign(stratum=3.0), grid.assign(stratum=np.nan, accuracy=0.1)])
    values = report.measured(both, ["criterion", "ratio", "stratum"])
    assert len(values) == 10
    assert values.loc[values["stratum"].isna(), "value"].tolist() == pytest.approx([10] * 5)
    found = report.max_ratios(both, ["criterion", "stratum"])
    assert found.loc[found["stratum"].isna(), "value"].tolist() == pytest.approx([90, 90])


def test_full_data_has_a_name_instead_of_a_criterion(grid):
    named = report.name_full(grid)
    assert set(named.loc[named["ratio"] == 0, "criterion"]) == {"full data"}
    assert set(named.loc[named["ratio"] > 0, "criterion"]) == {"random", "loss"}
    assert report.name_full(report.measured(pd.DataFrame(), ["criterion", "ratio"])).empty


def test_the_edge_of_the_band_is_comparable_and_a_single_trial_has_no_band():
    values = pd.DataFrame(
        {"method": ["a", "a", "b", "b", "c"], "ratio": [0, 0.5] * 2 + [0.5], "value": [50.0, 48, 50, 49.5, 60]}
    ).assign(std=[2.0, 0, np.nan, np.nan, 0])
    assert report.mark_comparable(values, ["method"])["comparable"].tolist() == [True, True, True, False, False]


def test_a_difference_has_both_deviations_and_only_common_settings():
    values = pd.DataFrame(
        {"criterion": ["a", "b", "a"], "ratio": [0.5, 0.5, 0.9], "value": [30.0, 28, 20], "std": [0.3, 0.4, 1]}
    )
    (row,) = report.differences(values, "a", "b", ["ratio"]).to_dict("records")
    assert row == {"ratio": 0.5, "value": pytest.approx(2), "std": pytest.approx(0.5)}
    (row,) = report.differences(values.assign(std=np.nan), "a", "b", ["ratio"]).to_dict("records")  # of single trials
    assert row["value"] == 2
    assert report.differences(pd.DataFrame(), "a", "b", ["ratio"]).empty


def test_no_records_are_no_values():
    nothing = pd.DataFrame()
    assert report.measured(nothing, ["ratio"]).empty
    assert list(report.max_ratios(nothing, ["method"])) == ["method", "value", "std"]


# ---------------------------------------------------------------- tables


def cells(styler) -> list[str]:
    return re.findall(r"<td[^>]*>(.*?)</td>", styler.to_html(), flags=re.S)


def test_results_table_shows_mean_and_deviation_with_marks_beyond_colour(grid):
    values = report.mark_comparable(report.measured(grid, ["method", "criterion", "ratio"]), ["method"])
    styler = report.results_table(values[values["ratio"] > 0], ["criterion"], ["ratio"], caption="Accuracy")
    html = styler.to_html()
    assert cells(styler) == ["49.0 ± 0.0", "42.0 ± 2.0", "56.0 ± 1.0", "48.5 ± 0.5"]
    assert 'class="dataframe"' in html
    assert "Accuracy" in html
    rules = {
        (int(row), int(column)): rule
        for names, rule in re.findall(r"((?:#T_\w+(?:, )?)+) \{\s*(.*?)\s*\}", html, flags=re.S)
        for row, column in re.findall(r"row(\d)_col(\d)", names)
    }
    assert "bold" not in rules[0, 0]
    assert "underline" in rules[0, 0]
    assert (0, 1) not in rules
    assert all(mark in rules[1, 1] for mark in ("bold", "underline"))
    assert "color" not in html.replace("colspan", "")


def test_best_is_found_among_rows_that_differ_in_the_last_setting():
    values = pd.DataFrame(
        {
            "method": ["dc", "dc", "dm", "dm"],
            "criterion": ["a", "b"] * 2,
            "ratio": 0.5,
            "value": [1.0, 2, 4, 3],
        }
    )
    html = report.results_table(values.assign(std=np.nan), ["method", "criterion"]).to_html()
    assert set(re.findall(r"#T_\w+_row(\d)_col0", html)) == {"1", "2"}


def test_ratios_are_headed_in_per_cent(grid):
    html = report.results_table(report.measured(grid, ["criterion", "ratio"]), ["criterion"]).to_html()
    assert re.findall(r'<th[^>]*class="col_heading[^>]*>(.*?)</th>', html) == ["0%", "50%", "90%"]
    assert "pruning ratio" in html


def test_rows_and_columns_keep_the_order_of_the_values():
    values = pd.DataFrame(
        {"criterion": ["z", "a"] * 2, "ratio": [0.9, 0.9, 0.5, 0.5], "value": [1.0, 2, 3, 4], "std": np.nan}
    )
    assert cells(report.results_table(values, ["criterion"], ["ratio"])) == ["1.0", "3.0", "2.0", "4.0"]


def test_levels_of_rows_stay_together():
    values = pd.DataFrame(
        {
            "method": ["dm", "dc"] * 2,
            "criterion": ["z", "z", "a", "a"],
            "ratio": 0.5,
            "value": [1.0, 2, 3, 4],
            "std": np.nan,
        }
    )
    assert cells(report.results_table(values, ["method", "criterion"])) == ["1.0", "3.0", "2.0", "4.0"]


def test_the_same_table_gives_the_same_html_and_another_one_another_id(grid):
    values = report.measured(grid, ["criterion", "ratio"])
    first, again = (report.results_table(values, ["criterion"]).to_html() for _ in range(2))
    other = report.results_table(values, ["criterion"], caption="Other").to_html()
    assert first == again
    assert re.findall(r"id=\"(T_\w+)\"", first) != re.findall(r"id=\"(T_\w+)\"", other)


def test_any_table_shows_three_digits_and_no_index():
    styler = report.table(pd.DataFrame({"what": ["a & b"], "ours (s)": [0.12345], "reference": [np.nan]}, index=[7]))
    assert cells(styler) == ["a &amp; b", "0.123", "–"]
    assert ">7<" not in styler.to_html()
    numbers = report.table(pd.DataFrame({"n": [999.4, 999.6, 1116.0, 49999.0, 1.5e7, -1234.0, 0.00001234]}))
    assert cells(numbers) == ["999", "1,000", "1,120", "50,000", "1.5e+07", "-1,230", "1.23e-05"]


def test_max_ratio_table_has_the_form_of_table_4():
    values = pd.DataFrame(
        {"ipc": [1, 1, 10], "init": ["noise"] * 3, "method": ["dc", "dm", "dc"], "value": [99.5, 90, 70.0]}
    )
    styler = report.max_ratio_table(values, ["ipc", "init"])
    assert cells(styler) == ["99.5%", "90%", "70%", "–"]


def test_three_columns_say_what_was_not_run():
    published = pd.DataFrame({"ipc": [10, 1], "value": [44.9, 28.3], "std": [np.nan, 0.5]})
    live = pd.DataFrame({"ipc": [1], "value": [55.0], "std": [1.0]})
    styler = report.three_columns(published, pd.DataFrame(), live, ["ipc"])
    assert cells(styler) == ["28.3 ± 0.5", "not run yet", "55.0 ± 1.0", "44.9", "not run yet", "–"]
    ratios = report.three_columns(published, live, live, ["ipc"], show=report.percent)
    assert cells(ratios)[:3] == ["28.3%", "55%", "55%"]


# ---------------------------------------------------------------- figures


def test_one_by_one_puts_each_trial_beside_its_published_value():
    ours = pd.DataFrame(
        [("loss", 0.9, 0.283, 0.002, "{}"), ("mine", 0.9, 0.2, 0.01, "{}"), ("loss", 0.99, 0.25, 0.004, "{}")],
        columns=["criterion", "ratio", "accuracy", "std", "score"],
    )
    published = pd.DataFrame([("loss", 0.9, 30.0, 0.5)], columns=["criterion", "ratio", "value", "std"])
    found = report.one_by_one(ours, published).data
    assert list(zip(found["criterion"], found["pruning ratio"], found["published"], found["ours"], strict=True)) == [
        ("loss", "99%", "–", "25.0 ± 0.4"),
        ("loss", "90%", "30.0 ± 0.5", "28.3 ± 0.2"),
        ("mine", "90%", "–", "20.0 ± 1.0"),
    ]


def test_show_gives_an_image_with_its_alternative_text(grid):
    open_before = plt.get_fignums()
    figure = report.curves(report.measured(grid, ["criterion", "ratio"]))
    html = report.show(figure, alt='accuracy "falls" & <rises>').data
    assert 'alt="accuracy &quot;falls&quot; &amp; &lt;rises&gt;"' in html
    assert 'src="data:image/png;base64,' in html
    assert "http" not in html
    assert plt.get_fignums() == open_before  # closed: shown once


def test_a_figure_without_alternative_text_is_refused():
    with pytest.raises(InputError, match="alt"):
        report.show(plt.figure(), alt=" ")
    plt.close("all")


def test_the_same_figure_gives_the_same_bytes(grid):
    values = report.measured(grid, ["criterion", "ratio"])
    assert report.show(report.curves(values), alt="a").data == report.show(report.curves(values), alt="a").data


def test_labels_of_shares_stay_apart():
    ratios = [0.0, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99]
    values = pd.DataFrame({"criterion": "loss", "ratio": ratios, "value": 50.0, "std": 1.0})
    (axis,) = report.curves(values).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "3", "5", "10", "20", "", "100"]
    assert len(axis.get_xticks()) == len(ratios)
    plt.close(axis.figure)


def test_curves_show_kept_share_on_a_log_axis_with_the_full_data_band(grid):
    figure = report.curves(report.measured(grid, ["criterion", "ratio"]))
    axis = figure.axes[0]
    assert axis.get_xscale() == "log"
    band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (band.y0, band.y1) == (pytest.approx(48), pytest.approx(52))
    lines = {box.get_label(): box.lines[0] for box in axis.containers}
    assert set(lines) == {"random", "loss"}
    assert sorted(lines["loss"].get_xdata()) == [pytest.approx(10), pytest.approx(50)]
    assert lines["loss"].get_marker() != lines["random"].get_marker()  # told apart without colour
    plt.close(figure)


def test_curves_have_a_panel_for_each_setting(grid):
    both = pd.concat([grid, grid.assign(method="dm")])
    figure = report.curves(report.measured(both, ["method", "criterion", "ratio"]), panel=["method"])
    assert [axis.get_title() for axis in figure.axes] == ["dc", "dm"]
    plt.close(figure)


def test_versions_have_a_panel_each_with_the_band_of_the_first():
    rows = [("dc", 1, name, value, 2.0) for name, value in (("full", 50.0), ("pruned", 53.0))]
    values = pd.DataFrame(rows, columns=["method", "ipc", "version", "value", "std"])
    (axis,) = report.versions(values, ["full", "pruned"]).axes
    assert axis.get_title() == "DC, IPC 1"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["full", "pruned"]
    (band,) = axis.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (48, 52)


def test_strata_are_named_by_percentiles_easy_to_hard():
    values = pd.DataFrame({"stratum": [1, 0], "space": "pixels", "value": [2.0, 1.0], "std": 0.1})
    band = pd.DataFrame({"value": [3.0], "std": [0.5]})
    figure = report.by_stratum(values, "space", "diversity", bands={"all": band})
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()][::9] == ["0–10", "90–100"]
    assert list(axis.containers[0].lines[0].get_ydata()) == [1, 2]
    extent = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (extent.y0, extent.y1) == (pytest.approx(2.5), pytest.approx(3.5))
    plt.close(figure)


def test_image_grid_places_each_image():
    images = np.zeros((2, 1, 3, 3), dtype=np.uint8)
    images[1] = 255
    figure = report.image_grid({"easy": {"zero": images, "one": images[:1]}, "hard": {"zero": images}})
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (8, 8, 3)
    assert sheet[:3, :3].max() == 0  # first image of the first row
    assert sheet[:3, 4:7].min() == 1  # its second
    assert sheet[4:7, :3].max() == 0  # second row
    assert sheet[4:7, 4:7].min() == 1  # nothing there
    assert [axis.get_title() for axis in figure.axes] == ["easy", "hard"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["zero", "one"]
    plt.close(figure)


def test_images_of_a_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"\(2, 3, 3\)"):
        report.image_grid({"a": {"b": np.zeros((2, 3, 3))}})


# ---------------------------------------------------------------- provenance


def test_ran_on_names_device_and_dates(grid):
    grid.loc[0, "date"] = "2026-11-22T08:00:00+00:00"
    assert report.ran_on(grid) == "a CPU, 2026-11-22 08:00 to 2026-11-23 21:56 UTC"
    assert report.ran_on(pd.DataFrame()) == "not run yet"


def test_provenance_comes_from_parameters_and_records(grid):
    html = report.provenance({"ipc": 1, "ratios": [0.5, 0.9], "note": "<x>"}, grid).to_html()
    pairs = dict(re.findall(r"<th[^>]*>(.*?)</th>\s*<td[^>]*>(.*?)</td>", html))
    assert pairs["ratios"] == "0.5, 0.9"
    assert pairs["note"] == "&lt;x&gt;"
    assert pairs["trials"] == "10"
    assert pairs["time in trials"] == "20 s in all"
    assert pairs["seeds of the trials"] == "0, 1"
    assert pairs["device"] == "a CPU"
    assert pairs["versions"] == "torch 2.15"
    assert pairs["commit"] == "abc1234"
    assert pairs["run"] == "2026-11-23 21:56 UTC"


def test_photographs_average_over_seeds_alone():
    """Trials that differ in the end that goes are told apart: their mean would be of nothing."""
    rows = [("random", 0.0, "largest", 0, 0.28), ("loss", 0.9, "largest", 0, 0.3), ("loss", 0.9, "smallest", 0, 0.1)]
    records = pd.DataFrame(rows, columns=["criterion", "ratio", "drop", "seed", "accuracy"])
    records = records.assign(method="dc", data="photos", ipc=1, repeats=1, device="CPU", date="2026-11-26", commit="1")
    _, numbers, said, *_ = report.photographs(records)
    shown = {row[1]: row[4] for row in numbers.data.to_numpy()}
    assert shown["loss"] == "30.0"
    assert shown["loss (smallest removed)"] == "10.0"
    assert "loss reaches 30.0%" in said.data


def test_photographs_name_what_was_asked_for_and_stands_nowhere():
    rows = [("dc", "random", 0.0), ("dc", "loss", 0.9)]
    records = pd.DataFrame(rows, columns=["method", "criterion", "ratio"])
    records = records.assign(
        data="photos", seed=0, ipc=1, accuracy=0.3, repeats=5, device="CPU", date="2026", commit="1"
    )
    cells = [(method, *cell) for method in ("dc", "dm") for cell in (("loss", 0.0), ("loss", 0.9), ("craig", 0.95))]
    _, _, said, *_ = report.photographs(records, asked=cells)
    assert said.data.splitlines()[-1] == "Not run yet: dc: craig at 95%; dm: all."


def test_photographs_have_the_published_value_of_full_data_beside_them():
    rows = pd.DataFrame({"method": "dc", "criterion": ["random", "loss"], "ratio": [0.0, 0.9]})
    records = rows.assign(data="photos", seed=0, ipc=1, accuracy=0.3, repeats=5, device="CPU", date="2026", commit="1")
    _, numbers, *_ = report.photographs(records, report.published("table1"))
    shown = {row[1]: row[3] for row in numbers.data.to_numpy()}
    [full] = report.published("table1", ratio=0).to_dict("records")
    assert shown["full data"] == report.plus_minus(full["value"], full["std"])
    assert shown["loss"] != report.ABSENT


def test_photographs_do_not_average_over_ipcs():
    rows = pd.DataFrame({"ipc": [1, 10], "accuracy": [0.24, 0.45]})
    records = rows.assign(method="dm", criterion="loss", ratio=0.9, seed=0, data="photos", repeats=5, device="CPU")
    _, numbers, *_ = report.photographs(records.assign(date="2026", commit="1"))
    assert numbers.data["ours"].tolist() == ["24.0", "45.0"]


def test_photographs_name_the_cells_that_were_not_run():
    """Only of panels that there are, and not for one that removed the other end once."""
    rows = [("dc", "noise", "random", 0.0), ("dc", "noise", "random", 0.9), ("dc", "noise", "loss", 0.9)]
    rows += [("dm", "real", "loss", 0.9), ("dm", "real", "loss", 0.97)]
    records = pd.DataFrame(rows, columns=["method", "init", "criterion", "ratio"]).assign(drop="largest", ipc=1)
    records = pd.concat([records, records.iloc[[2]].assign(drop="smallest")])
    records = records.assign(data="photos", seed=0, accuracy=0.3, repeats=5, device="CPU", date="2026", commit="1")
    _, _, said, *_ = report.photographs(records, panel=["method", "init"])
    assert said.data.splitlines()[-1] == (
        "Not run yet: dc, noise: random and loss at 97%; dm, real: full data, random at 97%, random at 90%."
    )
