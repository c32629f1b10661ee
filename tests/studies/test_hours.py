"""What a preset would take at full size: the arithmetic against cases made by hand; that all pieces are measured."""

import pandas as pd
import pytest

from bilp_core import report
from bilp_core.book import planned
from bilp_core.studies import hours as study
from bilp_core.trials import Trial

SPEC = "convnet:depth=4"
IMAGE = 4 * 3 * 64 * 64 / 1e9  # GB, float32
DSA = "color_crop_cutout_flip_scale_rotate"


def piece(work, method="", ipc=0, network=SPEC, settings="", gflop=(1.0, 0.0), seconds=1.0, mb=(0.0, 1.0)):
    """Three rows that lie on a line: gflop of convolutions (for each of the size) and products, and seconds, likewise;
    mb fixed and for each."""
    row = ["work", "imagenet-64", method, ipc, network, settings]
    row[0] = work
    return [[*row, n, gflop[0] * n, gflop[1] * n, seconds * n, mb[0] + mb[1] * n] for n in (1, 2, 4)]


def frame(*pieces):
    return pd.DataFrame([row for rows in pieces for row in rows], columns=[*study.IDENTITY, "size", *study.QUANTITIES])


@pytest.fixture
def measured():
    return frame(
        piece("round", "dm", 1, gflop=(100.0, 0.0), seconds=2.0, mb=(500.0, 2.0)),
        piece("round", "mtt", 1, gflop=(20.0, 5.0), mb=(100.0, 60.0)),
        piece("training", settings=DSA, mb=(0.0, 20.0)),
        piece("training", network="convnet", settings="none"),
        piece("test", gflop=(0.5, 0.0), mb=(0.0, 5.0)),
    )


def dm(**more):
    return Trial("imagenet-64", "dm", network=SPEC, splits=4, options={"iterations": 5000}, **more)


def mtt(**more):
    return Trial("imagenet-64", "mtt", network=SPEC, criterion="loss", ratio=0.9, options={"iterations": 100, **more})


def test_rounds_of_all_parts_and_the_networks_that_judge(measured):
    stopped = dm(criterion="loss", ratio=0.5, stop=2000)
    found = study.totals([dm(), stopped], measured)
    assert set(found["version"]) == {"all data", "by loss, stopped"}
    rounds = found[found["part"] == "rounds"].set_index("version")
    # every class in every round, however they are split, in GFLOP; memory of one part
    assert rounds["convolution"].tolist() == pytest.approx([5000 * 1000 * 100 / 1e6, 2000 * 1000 * 100 / 1e6])
    assert rounds["hours"].tolist() == pytest.approx([5000 * 1000 * 2 / 3600, 2000 * 1000 * 2 / 3600])
    assert rounds["gb"].tolist() == pytest.approx([(500 + 2 * 250) / 1e3 + 750 * IMAGE] * 2)  # and where all start
    training, test = (found[found["part"] == part].iloc[0] for part in ("training", "test"))
    assert training["convolution"] == pytest.approx(5 * 1001 * 1000 / 1e6)  # networks, epochs and one more, images
    assert training["gb"] == pytest.approx(5 * 256 * 20 / 1e3 + 1000 * IMAGE)  # batches side by side
    assert test["convolution"] == pytest.approx(5 * 50_000 * 0.5 / 1e6, rel=1e-3)
    assert test["gb"] == pytest.approx(5 * 256 * 5 / 1e3 + (1000 + 50_000 / 4) * IMAGE)
    (scores,) = found[found["part"] == "scores"].to_dict("records")
    assert scores["convolution"] == pytest.approx(30 * 20 * 1_281_167 / 1e6, rel=1e-3)  # the published probe


def test_experts_see_what_is_left_and_students_the_whole_set(measured):
    found = study.totals([mtt()], measured).set_index("part")
    assert found["convolution"]["experts"] == pytest.approx(60 * 50 * 129_000 / 1e6)
    assert found["gb"]["experts"] == pytest.approx(256 * 20 / 1e3)  # one at a time, if need be
    assert found["product"]["rounds"] == pytest.approx(100 * 1000 * 5 / 1e6)
    assert found["gb"]["rounds"] == pytest.approx((100 + 1000 * 60) / 1e3)


def test_what_is_fixed_counts_once_a_part(measured):
    at = (measured["method"] == "dm") & (measured["work"] == "round")
    measured.loc[at, "seconds"] += 10
    found = study.totals([dm()], measured).set_index("part")
    assert found["hours"]["rounds"] == pytest.approx(5000 * (4 * 10 + 1000 * 2) / 3600)


def test_the_last_row_of_a_size_counts_and_a_bend_is_seen(measured):
    assert study.fitted(measured)["off"].max() < 1e-9
    again = frame(piece("test", mb=(0.0, 7.0)))
    found = study.fitted(pd.concat([measured, again]))
    tests = found[(found["work"] == "test") & (found["quantity"] == "peak_mb")]
    assert tests["slope"].tolist() == pytest.approx([7.0])
    bent = frame(piece("test"))
    bent.loc[1, "seconds"] *= 1.5
    assert study.fitted(bent)["off"].max() > 0.1
    bent.loc[0, "peak_mb"] = 3.0  # the largest sizes have the say
    memory = study.fitted(bent).set_index("quantity").loc["peak_mb"]
    assert (memory["slope"], memory["off"]) == pytest.approx((1.0, 2 / 3))


def test_both_ways_of_a_student_and_one_seed():
    todo = study.variants([mtt(), dm(), dm(seed=1), mtt(checkpoint=True)])
    assert [(trial.method, trial.options.get("checkpoint")) for trial in todo] == [
        ("mtt", None), ("mtt", True), ("dm", None), ("mtt", True),
    ]  # fmt: skip
    assert study.shares(todo[1])[2].piece.settings == "checkpoint"


def number(text):
    return float(text.replace(",", ""))


def test_the_table_of_work_and_its_sum(measured):
    trials = [dm(), mtt()]
    found = study.totals(trials, measured)
    table = study.work(found, seeds=2).set_index("set")
    assert list(table.index) == [
        "imagenet-64, DM, IPC 1", "imagenet-64, MTT, IPC 1", "imagenet-64, scores", "all of these",
    ]  # fmt: skip
    assert table["first (PFLOP)"]["imagenet-64, DM, IPC 1"] == ""
    assert number(table["rounds (PFLOP)"]["imagenet-64, DM, IPC 1"]) == 500
    amounts = found.set_index(["method", "part"])[["convolution", "product", "hours"]]
    shared = amounts.loc[("mtt", "scores")] + amounts.loc[("mtt", "experts")]
    others = amounts[~amounts.index.get_level_values("part").isin(["scores", "experts"])].sum()
    convolution, product, hours = shared + 2 * others
    everything = table.loc["all of these"]
    assert number(everything["one core (h)"]) == pytest.approx(hours, rel=0.01)
    assert everything["version"] == "2 seeds"
    plain, tf32 = (everything[f"H100, H200, {kind}: at least (h)"] for kind in ("float32", "TF32"))
    assert number(plain) == pytest.approx((convolution + product) / 66.9 / 3.6, rel=0.01)
    assert number(tf32) == pytest.approx((convolution / 494.7 + product / 66.9) / 3.6, rel=0.01)


def test_the_table_of_memory(measured):
    table = study.memory(study.totals([dm(), mtt()], measured)).set_index("set")
    cards = ["24 GB, RTX 4090", "80 GB, H100", "141 GB, H200"]
    assert table.loc["imagenet-64, DM, IPC 1", cards].tolist() == ["streamed; 4 of 5 judges", "resident", "resident"]
    assert table.loc["imagenet-64, MTT, IPC 1", cards].tolist() == ["no round", "resident", "resident"]
    assert table["5 judges (GB)"].tolist() == ["25.6", "25.6"]
    assert table["expert (GB)"].tolist() == ["", "5.12"]
    assert table["images (GB)"].tolist() == ["15.7", "15.7"]


def test_what_was_not_measured_is_told_apart(measured):
    less = measured[measured["work"] != "test"]
    trials = [dm(), mtt()]
    work, memory = study.work(study.totals(trials, less), 2), study.memory(study.totals(trials, less))
    assert set(work["judges (PFLOP)"]) == {report.ABSENT, ""}
    assert work["one core (h)"].tolist()[0] == work["H100, H200, TF32: at least (h)"].tolist()[0] == report.ABSENT
    assert work["one core (h)"].tolist()[2] != report.ABSENT  # scores need no test
    assert set(memory["80 GB, H100"]) == {report.ABSENT}


def test_one_size_is_no_line(measured):
    found = study.totals([dm()], measured.drop_duplicates(study.IDENTITY))
    assert found["hours"].isna().all()


def test_a_card_without_room_for_one_network():
    card = study.Card("small", 24, 80.0, 80.0)
    assert study.fits(card, 2.0, 200.0, 5, whole=6.0, copies=6.0) == "resident; no judge"
    assert study.fits(card, 14.0, 5.0, 5, whole=6.0, copies=6.0) == "no round beside the images"  # and copies of them


def test_words(measured):
    rows = measured.assign(
        device="a CPU", date="2026-11-27T09:00:00+00:00", commit="abc", load=[1.0, *[2.5] * (len(measured) - 1)]
    )
    said = study.measured_said(rows, pd.DataFrame())
    assert "a CPU, 2026-11-27 09:00 UTC; commit abc" in said
    assert "(load 1 to 2.5)" in said
    assert "times the least" not in said
    steps = pd.DataFrame(
        {"method": ["dm", "mtt", "dm", "frepo"], "threads": [1, 1, 2, 1], "ratio": [1.4, 1.8, 9.0, 8.0]}
    )
    assert "take 1.4 to 1.8 times the least" in study.measured_said(rows, steps)


def test_every_piece_of_the_preset_is_measured_and_straight():
    measured = report.measurements("hours")
    found = study.totals(study.variants(planned("large-data", "paper")), measured)
    assert found[["convolution", "product", "hours", "gb"]].notna().all(axis=None)
    off = study.fitted(measured).groupby("quantity")["off"].max()
    assert off[["convolution_gflop", "product_gflop"]].max() < 1e-4
    assert off["peak_mb"] < 0.05
    assert measured.groupby(study.IDENTITY, dropna=False)["size"].nunique().min() >= 3
