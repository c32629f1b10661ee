import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bilp_core import trials
from bilp_core.engines import InlineEngine, LocalEngine
from bilp_core.errors import InputError
from bilp_core.trials import Store, Trial, TrialsFailed, grid, run, work
from bilp_core.trials import trial as trial_module

from .common import TINY, bad_luck, quick

# ---- settings -----------------------------------------------------------------------------------------------


def test_equal_settings_have_equal_keys():
    assert Trial("digits", ratio=0.9).key == Trial("digits", ratio=0.90, method="dc").key
    assert Trial("digits", ratio=0).key == Trial("digits", ratio=0.0).key
    assert Trial("digits", options={"a": 1, "b": 2}).key == Trial("digits", options={"b": 2, "a": 1.0}).key
    assert Trial("digits", ratio=0.1 + 0.2) == Trial("digits", ratio=0.3)
    assert Trial("digits", seed=np.int64(3)).key == Trial("digits", seed=3).key
    keys = {Trial("digits", **change).key for change in ({}, {"seed": 1}, {"ratio": 0.5}, {"options": {"a": 1}})}
    assert len(keys) == 4


def test_settings_that_make_no_difference_do_not_tell_trials_apart():
    whole = Trial("digits")
    assert whole.key == Trial("digits", criterion="loss", score={"trials": 3}, drop="smallest").key
    assert Trial("digits", ratio=0.5).key == Trial("digits", ratio=0.5, drop="smallest").key  # random either way
    loss = Trial("digits", ratio=0.5, criterion="loss")
    assert len({whole.key, loss.key, Trial("digits", ratio=0.5, criterion="loss", drop="smallest").key}) == 3


def test_trials_share_what_they_can():
    one, two = Trial("digits", criterion="loss", ratio=0.5), Trial("digits", criterion="loss", ratio=0.9, seed=3)
    assert one.score_key == two.score_key
    assert Trial("digits", seed=1).score_key != Trial("digits", seed=2).score_key  # random order
    assert one.synthetic_key == Trial("digits", criterion="loss", ratio=0.5, evaluate_on="mlp").synthetic_key
    assert one.synthetic_key != two.synthetic_key


def test_grid():
    made = grid(data="digits", method=["dc", "dm"], seed=range(3), ratio=0.5)
    assert [(t.method, t.seed) for t in made] == [(m, s) for m in ("dc", "dm") for s in range(3)]
    assert {t.ratio for t in made} == {0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 1.0}, r"ratio = 1.0: .* in \[0, 1\)"),
        ({"ratio": "1e-1"}, "ratio = '1e-1': must be a number"),
        ({"ratio": float("nan")}, "ratio = nan"),
        ({"ipc": 0}, "ipc = 0: must be at least 1"),
        ({"ipc": True}, "ipc = True: must be a whole number"),
        ({"ipc": 1.5}, "ipc = 1.5: must be a whole number"),
        ({"seed": -1}, "seed = -1"),
        ({"drop": "random"}, "drop = 'random'"),
        ({"stratum": 10}, "stratum = 10"),
        ({"stratum": 1, "ratio": 0.5}, "stratum = 1 with ratio = 0.5"),
        ({"options": {"lr": float("inf")}}, r"options\['lr'\] = inf: must be a finite number"),
        ({"options": {"lr": [1]}}, r"options\['lr'\] = \[1\]: must be a finite number"),
        ({"options": [1]}, r"options"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        Trial("digits", **change)


def test_grid_names_unknown_fields():
    with pytest.raises(InputError, match="no field 'seeds'; there are: data, method"):
        grid(data="digits", seeds=3)
    with pytest.raises(InputError, match="needs the field 'data'"):
        grid(method="dc")
    with pytest.raises(InputError, match=r"seed = range\(0, 0\): an empty axis"):
        grid(data="digits", seed=range(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "dd"}, "method 'dd' is unknown"),
        ({"options": {"iteration": 2}}, "no option 'iteration'. Did you mean 'iterations'"),
        ({"network": "vgg12"}, "unknown network 'vgg12'"),
        ({"evaluate_on": "vgg11"}, "needs images of 28x28 or at least 32x32"),
        ({"criterion": "los", "ratio": 0.5}, "indicator 'los' is unknown"),
        ({"score": {"trials": 2}}, "no option 'trials'"),
        ({"evaluation": {"epoch": 3}}, "no option 'epoch'"),
        ({"init": "zeros"}, "init = 'zeros'"),
        ({"data": "digit"}, "Did you mean 'digits'"),
        ({"init": "real", "ipc": 2, "ratio": 0.99}, "leaves 2|leaves 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(change, message, tmp_path):
    if "ratio" in change and "ipc" in change:
        change = {**change, "ipc": 3}
    good = Trial(**TINY)
    with pytest.raises(InputError, match=message):
        run([good, Trial(**{**TINY, **change})], tmp_path, InlineEngine())
    assert not (tmp_path / "records").exists()


# ---- running and storing ------------------------------------------------------------------------------------


def test_a_real_run(tmp_path):
    todo = grid(**TINY, method=["dc", "dm"], criterion="loss", ratio=0.9, score={"trials": 1, "epochs": 2})
    todo += grid(**TINY, criterion="random", stratum=None, ratio=[0.0, 0.5])
    frame = run(todo, tmp_path, InlineEngine())
    assert list(frame["method"]) == ["dc", "dm", "dc", "dc"]
    assert list(frame["kept"]) == [140, 140, 1352, 679]
    assert ((frame["accuracy"] > 0) & (frame["accuracy"] < 1)).all()
    assert all(len(row) == 2 for row in frame["accuracies"])
    for column in ("device", "date", "versions", "commit", "seed", "seconds", "key"):
        assert frame[column].astype(str).str.len().gt(0).all()
    assert len(list((tmp_path / "scores").iterdir())) == 1
    assert len(list((tmp_path / "synthetic").iterdir())) == 4
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*")}
    again = run(todo, tmp_path, InlineEngine())
    assert again.equals(frame)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*")}


def test_another_evaluation_reuses_the_synthetic_set(tmp_path, monkeypatch):
    run([Trial(**TINY)], tmp_path, InlineEngine())
    monkeypatch.setattr("bilp_core.distillers.distill", lambda *_, **__: pytest.fail("distilled again"))
    frame = run([Trial(**TINY, evaluate_on="mlp")], tmp_path, InlineEngine())
    assert len(frame) == 1


def test_the_same_trial_gives_the_same_numbers(tmp_path):
    first = run([Trial(**TINY)], tmp_path / "a", InlineEngine())
    second = run([Trial(**TINY)], tmp_path / "b", InlineEngine())
    assert first["accuracies"][0] == second["accuracies"][0]


def test_strata_are_kept(tmp_path):
    frame = run(
        grid(**TINY, criterion="loss", score={"trials": 1, "epochs": 1}, stratum=[0, 9]), tmp_path, InlineEngine()
    )
    assert all(130 <= kept <= 140 for kept in frame["kept"])


@pytest.mark.parametrize("content", ["{", "[]", '{"key": "other", "accuracies": [1]}', ""])
def test_a_damaged_record_is_set_aside_and_made_again(content, tmp_path):
    trial, store = Trial("digits"), Store(tmp_path)
    run([trial], store, InlineEngine(), execute=quick)
    store.record_path(trial.key).write_text(content)
    with pytest.warns(UserWarning, match="is damaged"):
        frame = run([trial], store, InlineEngine(), execute=quick)
    assert frame["accuracy"].tolist() == [0.5]
    assert store.record_path(trial.key).with_name(f"{trial.key}.json.corrupt").read_text() == content


def test_damaged_scores_and_synthetic_sets_are_made_again(tmp_path):
    trial, store = Trial(**TINY, criterion="loss", score={"trials": 1, "epochs": 1}, ratio=0.5), Store(tmp_path)
    first = run([trial], store, InlineEngine())
    damaged = (store.scores_path(trial.score_key), store.synthetic_path(trial.synthetic_key))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:200])
    store.record_path(trial.key).unlink()
    with pytest.warns(UserWarning, match="is damaged") as warned:
        second = run([trial], store, InlineEngine())
    said = " ".join(str(warning.message) for warning in warned)
    assert all(f"{path} is damaged" in said for path in damaged)
    assert second["accuracies"][0] == first["accuracies"][0]


def test_what_trials_share_is_made_once(tmp_path, monkeypatch):
    from bilp_core import distillers

    calls = []
    score, make = work.scored, distillers.distill
    monkeypatch.setattr(work, "scored", lambda *a, **k: calls.append("score") or score(*a, **k))
    monkeypatch.setattr(distillers, "distill", lambda *a, **k: calls.append("distil") or make(*a, **k))
    todo = grid(**TINY, criterion="loss", ratio=[0.5, 0.9], score={"trials": 1, "epochs": 1}, evaluate_on=[None, "mlp"])
    frame = run(todo, tmp_path, InlineEngine())
    assert calls == ["score", "distil", "distil"]
    timing = [json.loads(text) for text in frame["timing"]]
    assert all(t["score"] > 0 and t["distil"] > 0 and t["evaluate"] > 0 for t in timing)
    assert all(t["stage"] == 0 for t in timing)
    work.compute_scores(todo[0], str(tmp_path))
    assert calls.count("score") == 1  # they are there
    resolved = json.loads(frame["resolved"][0])
    assert resolved["evaluate_on"] == TINY["network"]
    assert resolved["init"] == "noise"
    assert resolved["options"]["iterations"] == 2
    assert resolved["score"]["sigma"] == 3.0


def test_scores_of_more_trials_go_on_from_stored_ones(tmp_path, monkeypatch):
    from bilp_core.data import load
    from bilp_core.indicators import recording, scored

    sizes, train = [], recording._train
    monkeypatch.setattr(recording, "_train", lambda *args: sizes.append(len(args[2])) or train(*args))
    store, probe = Store(tmp_path), {"epochs": 1, "network": "mlp"}
    few, many = (Trial(**TINY, criterion="loss", score={"trials": n, **probe}, ratio=0.5) for n in (1, 3))
    for trial in (few, many):
        work.compute_scores(trial, str(tmp_path))
    assert sum(sizes) == 3
    found = scored(load("digits").train, "loss", trials=3, **probe)
    spread, count = store.score_spread(many.score_key)
    np.testing.assert_array_equal(store.scores(many.score_key)[0], found.values.numpy())
    np.testing.assert_array_equal(spread, found.spread.numpy())
    assert set(count.tolist()) == {3}
    assert np.isnan(store.score_spread(few.score_key)[0]).all()


def test_trials_fail_with_the_scores_they_rest_on(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("the probe diverged")

    monkeypatch.setattr(work, "scored", diverge)
    todo = grid(**TINY, criterion="loss", score={"trials": 1, "epochs": 1}, ratio=[0.0, 0.5, 0.9])
    with pytest.warns(UserWarning, match=r"2 of 3 trials failed(.|\n)*ratio=0.5(.|\n)*the probe diverged"):
        frame = run(todo, tmp_path, InlineEngine(), allow_failures=True)
    assert frame["ratio"].tolist() == [0.0]


def test_rows_show_the_settings_asked_for(tmp_path):
    todo = grid(data="digits", criterion=["random", "loss"], ratio=[0.0, 0.5])
    frame = run(todo, tmp_path, InlineEngine(), execute=quick)
    assert list(zip(frame["criterion"], frame["ratio"], strict=True)) == [
        ("random", 0.0), ("random", 0.5), ("loss", 0.0), ("loss", 0.5),
    ]  # fmt: skip
    assert len(list((tmp_path / "records").iterdir())) == 3  # full data ran once


def test_lines_for_a_log(tmp_path, capsys):
    with pytest.raises(TrialsFailed):
        run(grid(data="digits", seed=[0, 1]), tmp_path, InlineEngine(), execute=bad_luck)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "trials: 2 to run, 1 at a time"
    assert second.startswith("trials: 1/2 done: seed=0, ")
    assert second.endswith(" left")
    assert third.startswith("trials: 2/2 FAILED (the loss is nan): seed=1")
    run(grid(data="digits", seed=[0, 3]), tmp_path, InlineEngine(), progress=False, execute=bad_luck)
    assert capsys.readouterr().err == ""


def test_failures_are_told_and_lose_nothing(tmp_path):
    todo = grid(data="digits", seed=range(5))
    engine = LocalEngine(2)
    try:
        with pytest.raises(TrialsFailed) as caught:
            run(todo, tmp_path, engine, execute=bad_luck)
        message = str(caught.value)
        assert "2 of 5 trials failed" in message
        assert "seed=1: FloatingPointError: the loss is nan" in message
        assert "seed=2: WorkerDied" in message
        with pytest.warns(UserWarning, match="2 of 5 trials failed"):
            frame = run(todo, tmp_path, engine, execute=bad_luck, allow_failures=True)
        assert sorted(frame["seed"]) == [0, 3, 4]
    finally:
        engine.close()


def test_a_killed_run_goes_on(tmp_path):
    """Kill -9 in the middle, with its workers; the rest runs later and finished trials are not touched."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from bilp_core.trials import grid, run\nfrom tests.trials.common import slow\n"
        "run(grid(data='digits', seed=range(12)), sys.argv[1], 'local', execute=slow)"
    )
    here = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), here], cwd=here, stderr=subprocess.DEVNULL
    )
    folder, deadline = tmp_path / "records", time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # the worker notices that its caller has gone
    before = {p.name: json.loads(p.read_text())["pid"] for p in folder.glob("*.json")}
    assert 3 <= len(before) < 12
    frame = run(grid(data="digits", seed=range(12)), tmp_path, InlineEngine(), execute=quick)
    assert sorted(frame["seed"]) == list(range(12))
    after = {p.name: json.loads(p.read_text())["pid"] for p in folder.glob("*.json")}
    assert {name: after[name] for name in before} == before
    assert set(after.values()) - set(before.values()) == {os.getpid()}


def test_two_processes_share_a_store(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from bilp_core.trials import grid, run\nfrom tests.trials.common import quick\n"
        "run(grid(data='digits', seed=range(60)), sys.argv[1], 'inline', execute=quick)"
    )
    here = str(Path(__file__).resolve().parents[2])
    pair = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), here], stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(120) for process in pair] == [0, 0]
    frame = run(grid(data="digits", seed=range(60)), tmp_path, InlineEngine(), execute=bad_luck)
    assert len(frame) == 60
    assert not list(tmp_path.rglob("*.corrupt"))
    assert not list(tmp_path.rglob(".*"))


def test_an_interrupted_run_keeps_what_is_finished(tmp_path):
    """Ctrl-C: workers end at once, with the trial they are at."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from bilp_core.trials import grid, run\nfrom tests.trials.common import slow\n"
        "run(grid(data='digits', seed=range(100)), sys.argv[1], 'local', execute=slow)"
    )
    here = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), here],
        cwd=here,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )
    folder, deadline = tmp_path / "records", time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "FAILED" not in said
    finished = sorted(path.name for path in folder.iterdir())
    assert 2 <= len(finished) < 100
    assert all(json.loads((folder / name).read_text())["accuracies"] for name in finished)
    time.sleep(1)
    assert sorted(path.name for path in folder.iterdir()) == finished


def test_a_run_leaves_torch_to_its_workers(tmp_path):
    """From a script without a main guard; two trials that share a synthetic set."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from bilp_core.trials import grid, run\nfrom tests.trials.common import TINY\n"
        "frame = run(grid(**TINY, evaluate_on=[None, 'mlp']), sys.argv[1], 'local')\n"
        "assert len(frame) == 2\nassert 'torch' not in sys.modules"
    )
    here = str(Path(__file__).resolve().parents[2])
    subprocess.run([sys.executable, "-c", program, str(tmp_path), here], cwd=here, check=True)


def test_reading_records_needs_no_torch(tmp_path):
    run([Trial("digits")], tmp_path, InlineEngine(), execute=quick)
    program = (
        "import sys\nfrom bilp_core.trials import Trial, run\n"
        "frame = run([Trial('digits')], sys.argv[1])\nassert len(frame) == 1\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_curves_are_kept_when_asked_for(tmp_path):
    asked = replace(Trial(**TINY), evaluation={"epochs": 5, "test_every": 2})
    frame = run([asked, Trial(**TINY)], tmp_path, InlineEngine())
    assert "curves" not in frame
    found = trials.curves(frame[:1], tmp_path)
    assert list(found.columns) == ["key", "network", "epoch", "split", "loss", "accuracy"]
    assert len(found) == 3 * 2 * 2  # epochs, networks, splits
    assert set(found["epoch"]) == {2, 4, 6}  # the protocol trains one epoch more
    last = found[(found["epoch"] == 6) & (found["split"] == "test")].sort_values("network")
    assert list(last["accuracy"]) == pytest.approx(frame["accuracies"][0], rel=1e-5)
    assert found.loc[found["split"] == "train", "accuracy"].isna().all()
    assert (found["loss"] > 0).all()
    with pytest.raises(InputError, match=f"{frame['key'][1]} has no curves.*test_every"):
        trials.curves(frame, tmp_path)
    assert trials.curves(frame[:0], tmp_path).empty


def test_a_record_from_before_curves_were_kept_is_made_again(tmp_path, monkeypatch):
    asked = replace(Trial(**TINY), evaluation={"epochs": 5, "test_every": 2})
    before = run([asked], tmp_path, InlineEngine())
    store = Store(tmp_path)
    record = store.get(asked)
    del record["curves"]
    store.put(record)
    assert store.get(asked) is None
    monkeypatch.setattr("bilp_core.distillers.distill", lambda *_, **__: pytest.fail("distilled again"))
    assert run([asked], tmp_path, InlineEngine())["accuracies"][0] == before["accuracies"][0]
    assert store.get(asked)["curves"]["epoch"] == [2, 4, 6]


def test_an_unknown_engine():
    with pytest.raises(InputError, match="engine is 'slurm'; allowed: local, inline"):
        run([Trial("digits", seed=99999)], "nowhere", "slurm")


def test_a_changed_folder_makes_new_trials(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("L", (8, 8), 40 * i).save(tmp_path / "set" / split / name / f"{i}.png")
    folder = str(tmp_path / "set")
    before = Trial(folder).key
    assert Trial(folder).key == before
    Image.new("L", (8, 8), 99).save(tmp_path / "set" / "train" / "a" / "new.png")
    trial_module.folder_stamp.cache_clear()  # another process
    assert Trial(folder).key != before
    assert Trial(folder).score_key != before


def test_adaptive_pruning_in_a_trial():
    plain, pruned = Trial("digits"), Trial("digits", adaptive=0.3, lazy=5)
    assert not set(trial_module.ADAPTIVE) & set(plain._canonical())  # as before there was any: old records stay valid
    assert Trial("digits", lazy=3, tails="largest", effect="exact").key == plain.key
    assert len({t.key for t in (plain, pruned, replace(pruned, lazy=6), replace(pruned, tails="largest"))}) == 4
    assert pruned.synthetic_key != plain.synthetic_key
    assert "law" not in pruned._canonical()  # as in records from before there was another
    assert replace(pruned, law="batch").key != pruned.key
    assert work.adaptive_of(replace(pruned, law="batch")).law == "batch"
    with pytest.raises(InputError, match=r"adaptive = 1.0.*\[0, 1\)"):
        Trial("digits", adaptive=1.0)
    with pytest.raises(InputError, match="lazy = 0"):
        work.check([replace(pruned, lazy=0)])
    with pytest.raises(InputError, match=r"BatchNorm.*in the trial .*adaptive=0.3"):
        work.check([replace(pruned, method="dm", network="convnet:norm=batch")])
