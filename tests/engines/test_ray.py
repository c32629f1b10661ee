"""The Ray engine, on a real Ray of this machine with two GPUs that are only declared: jobs compute on the CPU."""

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bilp_core import engines
from bilp_core.engines import WorkerDied, choice
from bilp_core.errors import InputError
from bilp_core.trials import Store, Trial, TrialsFailed, grid, run, running, work
from tests.engines import test_engines as jobs
from tests.trials.common import TINY, quick

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra [cluster])")
cluster = pytest.importorskip("bilp_core.engines.ray")
two_nodes = pytest.importorskip("tests.engines.two_nodes")


def slow(trial, where):
    """Notes each attempt by its process."""
    (Path(where) / f"{trial.seed}-{os.getpid()}.started").touch()
    time.sleep(1)
    return quick(trial, where)


def reads():
    """Which worker, how often it has read a data set, and how often it had one at hand."""
    work._data(Trial("digits"))
    time.sleep(0.2)  # so that the other worker takes some of the jobs
    return os.getpid(), *work._loaded.cache_info()[:2]


def unseen(trial, where):
    return {}


@pytest.fixture(scope="module")
def engine():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_ADDRESS", "BILP_SLOTS", "BILP_DEVICE"):
            patch.delenv(name, raising=False)
        patch.setattr(ray, "init", functools.partial(ray.init, num_cpus=2, num_gpus=2))
        engine = engines.engine("ray")
    yield engine
    engine.close()
    ray.shutdown()
    del choice._engines["ray"]


def test_a_job_has_a_gpu_of_its_own(engine):
    assert engine.slots == 2
    seen, end = set(), time.monotonic() + 60
    while len(seen) < 2 and time.monotonic() < end:  # a worker that started late may have missed the first jobs
        seen |= {future.result()[1] for future in [engine.submit(jobs.about_me, (i,)) for i in range(8)]}
    assert seen == {"0", "1"}


def test_real_trials_read_their_data_once_a_worker(engine, tmp_path):
    frame = run(grid(**TINY, seed=range(4)), tmp_path, engine, progress=False)
    assert frame["seed"].tolist() == [0, 1, 2, 3]
    assert all(device.startswith("CPU") for device in frame["device"])
    seen = [future.result() for future in [engine.submit(reads) for _ in range(6)]]
    assert {misses for _, _, misses in seen} == {1}
    assert max(hits for _, hits, _ in seen) >= 3
    alone = run([Trial(**TINY, seed=3)], tmp_path / "other", engines.InlineEngine(), progress=False)
    assert alone["accuracies"][0] == frame["accuracies"][3]  # the same numbers wherever they run


def test_a_killed_worker_loses_only_its_trial_which_is_tried_again(engine, tmp_path):
    def kill():
        while not (found := list(tmp_path.glob("*.started"))):
            time.sleep(0.02)
        victims.append(found[0].name)
        os.kill(int(found[0].stem.split("-")[1]), signal.SIGKILL)

    victims = []
    killer = threading.Thread(target=kill)
    killer.start()
    frame = run(grid(data="digits", seed=range(5)), tmp_path, engine, execute=slow, progress=False)
    killer.join()
    assert sorted(frame["seed"]) == list(range(5))
    started = [path.name.split("-")[0] for path in tmp_path.glob("*.started")]
    again = victims[0].split("-")[0]
    assert sorted(started) == sorted([*"01234", again])


def test_a_job_that_kills_every_worker_fails_after_four(engine):
    heard = []
    died, after = engine.submit(jobs.die, (), lambda *args: heard.append(args)), engine.submit(jobs.double, (2,))
    with pytest.raises(WorkerDied, match=r"worker process was lost: .*tried 4 times"):
        died.result(timeout=60)
    assert after.result() == 4
    assert [note for *_, note in heard] == ["again, since its worker died"] * 3


def test_errors_are_the_jobs_own_and_not_tried_again(engine, tmp_path):
    error = engine.submit(jobs.fail).exception()
    assert isinstance(error, KeyError)
    assert any("in fail" in note for note in error.__notes__)
    with pytest.raises(RuntimeError, match="Stubborn: this and that"):
        engine.submit(jobs.fail_stubbornly).result()
    with pytest.raises(RuntimeError, match="SystemExit: 5"):
        engine.submit(jobs.leave).result()
    assert engine.submit(jobs.die_at_first, (str(tmp_path), KeyError)).exception().args == ("at first",)


def test_jobs_must_be_importable_and_pickled(engine):
    with pytest.raises(InputError, match="must be able to import it"):
        engine.submit(lambda: 1)
    with pytest.raises((pickle.PicklingError, TypeError, AttributeError)):
        engine.submit(jobs.double, (threading.Lock(),))
    assert engine.submit(jobs.double, (4,)).result() == 8


def test_progress_comes_while_the_job_runs(engine):
    heard = []
    future = engine.submit(jobs.tell, (), lambda *args: heard.append((*args, future.done())))
    future.result()
    assert heard == [(part, 3, "working", False) for part in range(3)]


def test_close_while_running(engine):
    futures = [engine.submit(jobs.sleep_long) for _ in range(4)]
    while sum(future.running() for future in futures) < 2:
        time.sleep(0.01)
    engine.close()
    with pytest.raises(WorkerDied):
        futures[0].result(timeout=30)
    assert futures[3].cancelled()
    assert engine.submit(jobs.double, (4,)).result(timeout=60) == 8


def test_another_process_joins_the_cluster_of_ray_address(engine, tmp_path):
    engine.close()  # its workers hold both GPUs
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from bilp_core.trials import grid, run\nfrom tests.trials.common import quick\n"
        "frame = run(grid(data='digits', seed=range(3)), sys.argv[1], execute=quick)\n"
        "import ray\nassert ray.cluster_resources()['GPU'] == 2\nassert 'torch' not in sys.modules"
    )
    here = Path(__file__).resolve().parents[2]
    address = ray.get_runtime_context().gcs_address
    joining = os.environ | {"RAY_ADDRESS": address, "BILP_ENGINE": "ray"}
    subprocess.run([sys.executable, "-c", program, tmp_path, here], cwd=here, env=joining, check=True)
    assert len(list((tmp_path / "records").iterdir())) == 3


def test_a_node_that_is_lost_in_the_middle_of_the_paper_preset(tmp_path):
    program = "from tests.engines import two_nodes; two_nodes.main()"
    here = Path(__file__).resolve().parents[2]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("BILP_", "RAY_ADDRESS"))}
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=here, env=own, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("{")))
    todo = two_nodes.todo()
    parts = sum(len(trial.parts) for trial in todo)
    assert (told["nodes"], told["slots"]) == (2, 2)
    assert 3 <= told["done before"] < parts == 60
    assert {trial.key for trial in todo} == set(told["accuracies"]), "nothing is lost"
    assert {count for _, _, count in told["reads"]} == {1}, "data are read once"
    alone = run(todo[:2], tmp_path / "other", engines.InlineEngine(), progress=False)
    assert alone["accuracies"].tolist() == [told["accuracies"][trial.key] for trial in todo[:2]]


def test_a_store_that_the_machines_do_not_share(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_here", lambda: "elsewhere")  # so that this machine counts as another
    frame = run(grid(data="digits", seed=[0]), tmp_path, engine, execute=quick, progress=False)
    assert len(frame) == 1
    with pytest.raises(InputError, match="the store .*/nowhere is not the same folder on .*BILP_STORE"):
        engine.everywhere(running.check_machine, (str(tmp_path / "nowhere/mark"), {}))
    with pytest.raises(InputError, match="the data in .* are not the same on"):
        engine.everywhere(running.check_machine, (str(tmp_path), {str(tmp_path): "0123456789abcdef"}))


def test_a_record_that_does_not_reach_the_store_is_a_failure(engine, tmp_path):
    with pytest.raises(TrialsFailed, match=r"1 of 1 trials failed(.|\n)*no record of it: do all workers see"):
        run(grid(data="digits", seed=[0]), Store(tmp_path), engine, execute=unseen, progress=False)


@pytest.mark.parametrize(
    ("machines", "slots", "device", "places"),
    [
        ([{"CPU": 16, "GPU": 2}], "", "", (2, {"num_gpus": 1, "num_cpus": 1}, 8)),
        ([{"CPU": 16, "GPU": 2}], "3", "", (6, {"num_gpus": 0.3333, "num_cpus": 1}, 2)),
        ([{"CPU": 2, "GPU": 8}, {"CPU": 64, "GPU": 8}], "", "", (16, {"num_gpus": 1, "num_cpus": 0.25}, 1)),
        ([{"CPU": 64}, {"CPU": 16, "GPU": 4}], "", "", (4, {"num_gpus": 1, "num_cpus": 1}, 4)),
        ([{"CPU": 16, "GPU": 2}], "", "cpu", (8, {"num_gpus": 0, "num_cpus": 2}, 2)),
        ([{"CPU": 2}], "", "", (2, {"num_gpus": 0, "num_cpus": 1}, 1)),
        ([{}, {"CPU": 64}, {"CPU": 32}], "4", "", (12, {"num_gpus": 0, "num_cpus": 8}, 8)),
        ([{"CPU": 2}], "6", "", (6, {"num_gpus": 0, "num_cpus": 0.3333}, 1)),
    ],
)
def test_places(machines, slots, device, places, monkeypatch):
    monkeypatch.setenv("BILP_SLOTS", slots)
    monkeypatch.setenv("BILP_DEVICE", device)
    assert cluster.places(machines) == places


def test_a_cluster_without_places():
    with pytest.raises(InputError, match="no machine with a GPU or CPU"):
        cluster.places([{}, {"GPU": 0.0}])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "RAY_ADDRESS is 'ray://head:10001'; it must be HOST:PORT"),
        ("head", "RAY_ADDRESS is 'head'; it must be HOST:PORT"),
        ("127.0.0.1:1", "RAY_ADDRESS is '127.0.0.1:1', but no Ray answers there"),
        ("127.0.0.1:70000", "no Ray answers there"),
    ],
)
def test_an_address_that_leads_nowhere(address, message, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=message):
        cluster.RayEngine()
