"""The plan, rehearsed on the CPU: packed, unpacked elsewhere, run as on a bare machine, and gone on with."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from argparse import Namespace
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image

from bilp_core.distillers import METHODS
from bilp_core.indicators import INDICATORS, options_of
from bilp_core.nets import NETWORKS, speed
from bilp_core.trials import grid, timing
from bilp_core.utils import paths

from ..emulated_gpu import emulated_gpu
from . import against, agree, goals, packing, work
from .paper import Paper

ROOT = paths.root()
TINY = {
    "data": "x", "method": "dm", "network": "convnet:depth=1,width=4", "options": {"iterations": 2}, "repeats": 2,
    "evaluation": {"epochs": 2},
}  # fmt: skip
SCORE = {"trials": 4, "epochs": 2, "network": "mlp"}
LACKING = ["jupytext", "nbformat", "papermill", "matplotlib", "seaborn", "pytest", "sklearn", "timm", "ray"]
ABOUT = {"preset": "paper", "data": "tiny images", "commit": "abc123"}


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def listed(trials):
    return [[["coresets", "redundancy"], {**asdict(trial), "data": ""}] for trial in trials]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "images.tar.xz"
    pixels = torch.randint(0, 60, (48, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with tarfile.open(file, "w:xz") as tar:
        for k, image in enumerate(pixels):
            content = io.BytesIO()
            Image.fromarray((image + 60 * (k % 3)).numpy()).save(content, "PNG")
            add(tar, f"{'train' if k < 36 else 'test'}/{'abc'[k % 3]}/{k:02}.png", content.getvalue())
    return file


def packed(folder, archive, trials):
    packing.pack(folder / "pack.tar", ROOT, archive, listed(trials), [], ABOUT)
    with tarfile.open(folder / "pack.tar") as tar:
        members = [m for m in tar.getmembers() if m.name.startswith("source/tests")]
        tar.extractall(folder, members, filter="data")
    return folder / "pack.tar"


def run(folder, *words):
    """As its user would, from what was in the pack, without the packages of the book; the summary."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({LACKING}))\n")
    command = [sys.executable, folder / "source/tests/gpu/plan.py", "run", "pack.tar", "--device", "cpu", *words]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run(
        [*map(str, command), "--home", "home", "--out", "out"], cwd=folder, check=True, capture_output=True, env=env
    )
    return json.loads((folder / "out/summary.json").read_text())


def test_from_pack_to_tables_and_on_from_there(tmp_path, archive):
    trials = grid(**TINY, ratio=0.5)
    packed(tmp_path, archive, [trials[0], replace(trials[0], criterion="loss", score=SCORE)])
    first = run(tmp_path, "--only", "method dm, init real")
    assert list(first["agree"]) == ["method dm, init real"]
    assert first["agree"]["method dm, init real"]["agrees"]
    assert (first["commit"], len(first["paper"]["trials"]), first["paper"]["skipped"]) == ("abc123", 2, {})
    with tarfile.open(tmp_path / "out/kept.tar.gz") as tar:
        for chapter in ("coresets", "redundancy"):
            rows = list(csv.DictReader(io.TextIOWrapper(tar.extractfile(f"results/{chapter}.csv"), "utf-8")))
            mine = [row for row in rows if row["data"] == "tiny images"]
            assert [row["criterion"] for row in mine] == ["random", "loss"]
            assert {row["commit"] for row in mine} == {"abc123"}
    again = run(tmp_path, "--minutes", "0.2")  # too few for any entry, and there is no trial left
    assert (again["calls"], len(again["paper"]["trials"]), again["paper"]["skipped"]) == (2, 2, {})
    assert again["agree"] == first["agree"]
    assert again["skipped"].keys() == {
        "agree: no time was left",
        "goals: no time was left",
        "against: no --references were given",
    }
    assert len(again["skipped"]["agree: no time was left"]) == len(agree.entries()) - 1
    told = (tmp_path / "out/summary.txt").read_text()
    assert "1 of 1 agree" in told
    assert "2 trials, in the tables" in told
    assert "dm-step" in told
    last = run(tmp_path, "--parts", "goals", "--only", "dc, IPC 1")
    assert list(last["goals"]) == ["dc, IPC 1", "dc, IPC 10"]
    assert {row["holds"] for row in last["goals"].values()} == {None}
    assert "rehearsed dc, IPC 10" in (tmp_path / "out/summary.txt").read_text()


def test_a_pack_is_whole_and_small(tmp_path, archive, monkeypatch):
    file = packed(tmp_path, archive, grid(**TINY))
    content = file.read_bytes()
    place = content.index(b"def unpack")
    file.write_bytes(content[:place] + b"DEF" + content[place + 3 :])
    with pytest.raises(SystemExit, match="packing.py is damaged"):
        packing.unpack(file, tmp_path / "home")
    monkeypatch.setattr(packing, "DATA_MB", 1e-4)
    with pytest.raises(SystemExit, match="of data"):
        packed(tmp_path, archive, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_in_a_sentence(tmp_path, archive):
    command = [sys.executable, ROOT / "tests/gpu/plan.py", "run", packed(tmp_path, archive, [])]
    said = subprocess.run(
        [*map(str, command), "--home", tmp_path / "home"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr == "PyTorch sees no GPU on this machine; --device cpu rehearses the plan without one\n"


def test_what_is_still_at_work_when_the_time_is_over_is_stopped(tmp_path, monkeypatch):
    def slow(self):
        self.say("a long trial")
        try:
            time.sleep(60)
        except Exception:  # as parts do, so that one failure does not end the others
            pytest.fail("the end of the time was taken for a failure")

    monkeypatch.setattr(work.Work, "slow", slow, raising=False)
    args = Namespace(home=tmp_path, out=tmp_path / "out", device="cpu", parts=["slow"], until=time.time())
    work.Work(args).run()
    found = json.loads((tmp_path / "out/summary.json").read_text())
    assert found["skipped"] == {"stopped at the end of the time": ["slow, after: a long trial"]}


# ---- the two sides ------------------------------------------------------------------------------------------------


def test_every_entry_of_the_registries_is_there():
    found = agree.entries()
    assert {entry.kind for entry in found} == set(agree.TOLERANCES)
    for kind, names in (("indicator", INDICATORS), ("network", NETWORKS)):
        assert {entry.name for entry in found if entry.kind == kind} == set(names)
    starts = {f"{name}, init {init}" for name, method in METHODS.items() for init in method.inits}
    assert {entry.name for entry in found if entry.kind == "method"} == starts


def tf32():
    return [entry for entry in agree.entries() if entry.tf32]


def test_what_is_on_by_default_is_compared_too():
    """Rounding as TF32 does shows, in first and second derivatives, and is within what is tolerated."""
    found = tf32()
    assert {"dc", "dm"} <= {entry.name for entry in found if entry.kind == "tf32 method"}
    assert "tf32 protocol" in {entry.kind for entry in found}
    for entry in found:
        row = agree.compared(entry, "cpu")
        assert "note" not in row
        assert row["agrees"]
        assert row["error"] > 1e-4


def test_the_gpu_is_told_to_use_tf32_only_where_that_is_compared():
    seen = []

    def watched(device):
        if device == "cuda":
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, speed.mode()))
        return torch.zeros(1), torch.ones(1)

    with emulated_gpu():
        for kind in ("method", "tf32 method"):
            agree.compared(agree.Entry(kind, "watched", watched), "cuda")
    assert seen == [(False, False, "plain"), (True, False, "auto")]


def test_ten_bits_are_left():
    x = torch.tensor([1 + 2**-10, 1 + 2**-11 + 2**-20, 1 + 2**-12, -3.0, 0.0])
    assert agree._ten_bits(x).tolist() == [1 + 2**-10, 1 + 2**-10, 1.0, -3.0, 0.0]


@pytest.mark.parametrize("begins", ["method dm, init real", "method mtt, init noise", "indicator loss", "protocol idc"])
def test_draws_are_the_same_where_a_gpu_has_generators_of_its_own(begins):
    entry = next(entry for entry in agree.entries() if f"{entry.kind} {entry.name}" == begins)
    with emulated_gpu():
        row = agree.compared(entry, "cuda")
    assert "note" not in row
    assert row["error"] < 1e-4


def test_generators_of_the_gpu_are_left_alone():
    with emulated_gpu():
        far, near = torch.Generator("cuda").manual_seed(5), torch.Generator().manual_seed(5)
        before = far.get_state()
        with agree.HostDraws():
            made = [torch.rand(3, generator=far, device="cuda"), torch.empty(2, 2, device="cuda")]
            made[1].normal_(generator=far)
            expected = [torch.rand(3, generator=near), torch.empty(2, 2).normal_(generator=near)]
        assert torch.equal(far.get_state(), before)
        assert all(x.is_cuda and torch.equal(x.cpu(), y) for x, y in zip(made, expected, strict=True))


def test_what_differs_does_not_agree():
    calls = []

    def wrong(device):
        calls.append(device)
        return torch.zeros(2), torch.tensor([1.0, 1.2 if len(calls) == 2 else 1.0])

    row = agree.compared(agree.Entry("method", "wrong", wrong), "cpu")
    assert row["error"] == pytest.approx(0.2 / 2**0.5)
    assert not row["agrees"]
    row = agree.compared(agree.Entry("method", "broken", lambda device: 1 / 0), "cpu")
    assert not row["agrees"]
    assert "ZeroDivisionError" in row["note"]


def test_rows_without_a_checkout_are_named(tmp_path):
    (tmp_path / "cords").mkdir()
    found = against.jobs(str(tmp_path), "cpu", lambda: 0.5, tmp_path / "out.csv")
    assert found["dm-step"] == f"no DatasetCondensation in {tmp_path}"
    assert found["select-craig"]()["note"].startswith("TimeoutExpired")
    assert found.keys() == against.jobs("", "cpu", lambda: 0.5, tmp_path).keys()


def test_each_name_gets_its_own_row_of_the_file_that_they_share(tmp_path, monkeypatch):
    out, ratios = tmp_path / "bench.csv", iter(("0.5", "0.7", "0.6"))

    def bench(command, **_):  # adds a row, as the script does
        head = "" if out.exists() else "name,ratio\n"
        with out.open("a") as file:
            file.write(f"{head}{command[command.index('--only') + 1]},{next(ratios)}\n")

    monkeypatch.setattr(against.subprocess, "run", bench)
    found = [against.measured(name, [], "cpu", lambda: 1.0, out) for name in ("dm-step", "dc-step", "dm-step")]
    assert [(row["name"], row["ratio"]) for row in found] == [
        ("dm-step", "0.5"),
        ("dc-step", "0.7"),
        ("dm-step", "0.6"),
    ]
    monkeypatch.setattr(against.subprocess, "run", lambda *_, **__: None)
    assert "no row idc-step" in against.measured("idc-step", [], "cpu", lambda: 1.0, out)["note"]


# ---- the goals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", goals.GOALS, ids=lambda goal: goal.name)
def test_each_goal_is_timed(goal):
    row = goals.measured(goal, "cpu", lambda: 1e9)
    assert "note" not in row
    assert (row["holds"], row["goal"]) == (None, goal.seconds)
    assert row["how"].startswith("from ")
    assert row["seconds"] > 0


def test_the_goals_are_those_of_default_settings_at_cifar10s_shapes():
    wanted = {("", 0): 15, ("dc", 1): 10, ("dc", 10): 240, ("dm", 10): 120}
    assert {(goal.method, goal.ipc): goal.seconds for goal in goals.GOALS} == wanted
    assert not any(goal.options for goal in goals.GOALS)
    data = replace(goals.FULL, each=50).images("cpu")  # a hundredth
    assert (goals.FULL.each * data.num_classes, data.shape, data.named) == (50000, (3, 32, 32), "cifar10")
    asked = goals.Goal("", 1.0, "dc", 10).work(data, None)
    assert (asked.units, asked.method.loops(10), asked.run.spec) == (1000, (10, 50), "convnet")
    assert options_of("loss", "cifar10")["batch"] == 512


@pytest.mark.parametrize(("left", "how"), [(1e9, "a whole run"), (1e-9, "from 3 rounds of 3")])
def test_a_goal_is_a_whole_run_where_there_is_time(left, how, monkeypatch):
    """On a card that is there, with a clock by which all takes a second."""
    monkeypatch.setattr(goals, "_seconds", lambda work, _: (work(), 1.0)[1])
    monkeypatch.setattr(goals, "FULL", replace(goals.TINY, share=0.25, seconds=9.0))
    with emulated_gpu():
        found = [
            goals.measured(goals.Goal("dm", seconds, "dm", 1, {"iterations": 3}), "cuda", lambda: left)
            for seconds in (1.0, 0.5)
        ]
    assert [row["how"] for row in found] == [how] * 2
    assert [row["holds"] for row in found] == [True, False]
    assert work.line(found[0]).endswith(f"1 s, {how}; goal 1 s")
    assert work.line(found[1]).startswith("MISSED")


def test_a_goal_that_cannot_be_timed_is_named():
    row = goals.measured(goals.Goal("none", 1.0, "no such method", 1), "cpu", lambda: 1.0)
    assert "no such method" in row["note"]
    assert work.line(row).startswith("none")


# ---- trials within a time -----------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path, archive, monkeypatch):
    """function(trials, seconds left, state) -> the state after a call."""
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "tiny images", filter="data")

    def call(trials, left, state):
        results = tmp_path / "results"
        Paper(listed(trials), tmp_path / "tiny images", results, state, lambda: left, print).run(lambda: None)
        return state

    return call


def test_what_would_be_cut_is_not_begun(begun, monkeypatch):
    others = {"stage": 0.0, "evaluate": 0.0, "memory": 1.0, "set": 1.0}
    monkeypatch.setattr(timing, "making", lambda trial: {**others, "distil": 100.0 * trial.ipc})
    found = begun(grid(**TINY, ipc=[3, 1]), 200.0, {})
    assert [row["what"].split(" repeats")[0] for row in found["trials"]] == [
        "method=dm network=convnet:depth=1,width=4"
    ]
    assert found["trials"][0]["estimate"] == 100
    assert list(found["skipped"]) == ["it would have been cut"]
    assert "ipc=3" in found["skipped"]["it would have been cut"][0]


def test_scores_that_take_too_long_are_made_in_pieces(begun, monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "scoring", lambda trial: {"score": 100.0})
    asked = grid(**TINY, criterion="loss", score=SCORE, ratio=0.5)
    state = begun(asked, 70.0, {})
    assert list(state["scored"].values()) == [2]
    assert list(state["skipped"]) == ["its scores by loss take 1 min 40 s: 2 of 4 made"]
    assert "trials" not in state
    state = begun(asked, 70.0, state)  # the other two
    assert state["skipped"] == {}
    assert len(state["trials"]) == 1
    kept = list((tmp_path / "store/scoring").rglob("*.safetensors"))
    assert sorted(file.stem for file in kept) == ["0", "1", "2", "3"]  # none twice
    assert begun(asked, 0.0, {})["skipped"] == {}  # the table has it
