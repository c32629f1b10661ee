import importlib.util
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from bilp_core import engines
from bilp_core.engines import InlineEngine, LocalEngine, WorkerDied
from bilp_core.errors import InputError


def double(x):
    return 2 * x


def die():
    os._exit(3)


def fail():
    raise KeyError("broken")


def leave():
    sys.exit(5)


def end_of_file():
    raise EOFError("the cache is cut")


def die_at_first(folder, error=None):
    """Dies the first time; later it fails with `error`, or says which attempt it is."""
    attempt = len(list(Path(folder).iterdir())) + 1
    (Path(folder) / str(attempt)).touch()
    if error is not None:
        raise error("at first" if attempt == 1 else "later")
    if attempt == 1:
        os._exit(3)
    return attempt


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


class Stubborn(Exception):
    """Cannot be unpickled: it does not pass on what it was made with."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_stubbornly():
    raise Stubborn("this", "that")


def chatter():
    print("a line on standard output")
    os.write(1, b"and one from below Python")
    return sys.stdin.read()


def sleep_long():
    time.sleep(600)


def about_me(_=None):
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS")


def tell():
    for part in range(3):
        engines.report(part, 3, "working")
        time.sleep(0.6)


@pytest.fixture(params=["local", "inline"])
def any_engine(request):
    made = LocalEngine(1) if request.param == "local" else InlineEngine()
    yield made
    made.close()


def test_results_errors_and_progress(any_engine):
    heard = []
    assert any_engine.submit(double, (21,)).result() == 42
    with pytest.raises(KeyError, match="broken"):
        any_engine.submit(fail).result()
    any_engine.submit(tell, (), lambda *args: heard.append(args)).result()
    assert (0, 3, "working") in heard


def test_a_dead_worker_loses_only_its_job():
    with LocalEngine(1) as engine:
        before, dead, after = engine.submit(about_me), engine.submit(die), engine.submit(double, (2,))
        assert before.result()[0] != os.getpid()
        with pytest.raises(WorkerDied, match=r"exit status 3 \(tried 2 times\)"):
            dead.result()
        assert after.result() == 4


def test_a_job_whose_worker_died_is_tried_again_but_not_one_that_failed(tmp_path):
    (tmp_path / "died").mkdir()
    (tmp_path / "failed").mkdir()
    heard = []
    with LocalEngine(1) as engine:
        died = engine.submit(die_at_first, (str(tmp_path / "died"),), lambda *args: heard.append(args))
        failed = engine.submit(die_at_first, (str(tmp_path / "failed"), KeyError))
        assert died.result() == 2
        assert failed.exception().args == ("at first",)
    assert heard == [(0, 1, "again, since its worker died")]


def test_errors_that_look_like_a_death_are_none():
    with LocalEngine(1) as engine:
        worker = engine.submit(about_me).result()[0]
        with pytest.raises(EOFError, match="the cache is cut"):
            engine.submit(end_of_file).result()
        with pytest.raises(RuntimeError, match="SystemExit: 5"):
            engine.submit(leave).result()
        assert engine.submit(about_me).result()[0] == worker


def test_a_worker_that_died_between_two_jobs_costs_none_of_their_tries():
    with LocalEngine(1) as engine:
        os.kill(engine.submit(about_me).result()[0], signal.SIGKILL)
        time.sleep(0.3)
        heard = []
        with pytest.raises(WorkerDied, match="tried 2 times"):
            engine.submit(die, (), lambda *args: heard.append(args)).result()
        assert len(heard) == 2  # back in the queue at once, and after the first of two tries


def test_every_gpu_has_its_worker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with LocalEngine() as engine:
        assert engine.slots == 2
        seen = {future.result()[1] for future in [engine.submit(about_me, (i,)) for i in range(8)]}
    assert seen <= {"3", "5"}


def test_slots(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert LocalEngine().slots == 1
    monkeypatch.setenv("BILP_SLOTS", "3")
    assert LocalEngine().slots == 3
    monkeypatch.setenv("BILP_SLOTS", "many")
    with pytest.raises(InputError, match="BILP_SLOTS is 'many'"):
        LocalEngine()
    with pytest.raises(InputError, match="slots is 0"):
        LocalEngine(0)


def test_engines_by_name(monkeypatch):
    monkeypatch.setenv("BILP_ENGINE", "inline")
    assert isinstance(engines.engine(), InlineEngine)
    with pytest.raises(InputError, match="engine is 'moon'; allowed: local, inline, ray"):
        engines.engine("moon")
    with pytest.raises(InputError, match="engine is 'moon'"):
        engines.check("moon")
    monkeypatch.setenv("BILP_SLOTS", "0")
    with pytest.raises(InputError, match="BILP_SLOTS is '0'"):
        engines.check()


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install 'bilp-book\[cluster\]'"):
        engines.engine("ray")


def test_slots_for_small_jobs(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.for_small_jobs() == {"BILP_SLOTS": str(min(os.cpu_count(), 8))}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert engines.for_small_jobs() == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("BILP_SLOTS", "3")
    assert engines.for_small_jobs() == {}


def test_a_killed_worker_is_explained():
    with LocalEngine(1) as engine, pytest.raises(WorkerDied, match=r"killed \(SIGKILL\): out of memory, perhaps"):
        engine.submit(killed).result()


def test_errors_come_back_with_their_traceback():
    with LocalEngine(1) as engine:
        error = engine.submit(fail).exception()
        assert any("in fail" in note for note in error.__notes__)
        with pytest.raises(RuntimeError, match="Stubborn: this and that"):
            engine.submit(fail_stubbornly).result()


def test_what_a_job_prints_or_reads_does_not_meet_the_replies():
    with LocalEngine(1) as engine:
        assert engine.submit(chatter).result() == ""
        assert engine.submit(double, (1,)).result() == 2


def test_jobs_must_be_importable():
    with LocalEngine(1) as engine, pytest.raises(InputError, match="must be able to import it"):
        engine.submit(lambda: 1)


def test_arguments_must_be_pickled():
    with LocalEngine(1) as engine:
        with pytest.raises((pickle.PicklingError, TypeError), match="pickle"):
            engine.submit(double, (threading.Lock(),))
        assert engine.submit(double, (2,)).result() == 4


def test_the_cores_are_shared_among_cpu_workers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with LocalEngine(1) as alone, LocalEngine(2 * (os.cpu_count() or 1)) as many:
        assert alone.submit(about_me).result()[2] is None
        assert many.submit(about_me).result()[2] == "1"


def test_a_closed_engine_starts_anew():
    engine = LocalEngine(1)
    running = engine.submit(sleep_long)
    while not running.running():
        time.sleep(0.01)
    engine.close()
    with pytest.raises(WorkerDied):
        running.result(timeout=30)
    assert engine.submit(double, (4,)).result(timeout=60) == 8
    engine.close()


def test_close_cancels_what_waits():
    engine = LocalEngine(1)
    futures = [engine.submit(tell) for _ in range(3)]
    time.sleep(0.3)
    engine.close()
    assert futures[2].cancelled()
