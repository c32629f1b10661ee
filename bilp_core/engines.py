"""Where trials run. An engine has `submit(function, args, on_progress) -> Future` and `close()`.

Functions must be importable by name (no lambdas, nothing defined in a script's or a notebook's main).
Importing this module does not import torch: the workers do.
"""

import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, BinaryIO, Protocol

from bilp_core.errors import InputError
from bilp_core.progress import Report


class WorkerDied(RuntimeError):
    """The process that ran a job ended in the middle of it."""


class Engine(Protocol):
    """The seam behind which local processes, or later a cluster, run jobs."""

    slots: int

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any] = (), on_progress: Report | None = None
    ) -> Future:
        """Queue `function(*args)`; its result or exception comes through the Future."""

    def close(self) -> None:
        """Stop at once: cancel what waits, end what runs. A later `submit` starts anew."""


_report: Report | None = None  # where this process's running job sends its progress


def report(done: int, total: int, note: str = "") -> None:
    """Called by a job: pass its progress to the `on_progress` it was submitted with."""
    if _report is not None:
        _report(done, total, note)


class InlineEngine:
    """Runs each job in this process, at once: for debugging and tests."""

    slots = 1

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any] = (), on_progress: Report | None = None
    ) -> Future:
        global _report
        future: Future = Future()
        _report = on_progress
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        finally:
            _report = None
        return future

    def close(self) -> None:
        pass


class LocalEngine:
    """Worker processes on this machine, each with its slot on a device.

    slots : how many jobs run at a time, spread over the devices; by default $BILP_SLOTS (1) a device.
    Devices are the visible GPUs, or the CPU as one device where there is none (or $BILP_DEVICE is cpu).

    Workers are fresh interpreters (not forks, and the caller's main module is not imported again), so
    it works from scripts without a main guard and from notebooks. They start with the first job, stay
    for the next, and end with this process however it ends. A worker that dies fails its own job only.
    """

    def __init__(self, slots: int | None = None) -> None:
        gpus = visible_gpus()
        if slots is None:
            slots = _slots_per_device() * max(1, len(gpus))
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise InputError(f"slots is {slots!r}; it must be a whole number from 1")
        self.slots = slots
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._futures: set[Future] = set()
        self._workers = [_Worker(_environment(slot, slots, gpus)) for slot in range(slots)]
        self._threads: list[threading.Thread] = []

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any] = (), on_progress: Report | None = None
    ) -> Future:
        job = _Job(Future(), _pack(function, args), on_progress)
        with self._lock:
            self._futures.add(job.future)
            if len(self._threads) < self.slots:  # one more worker, until there are enough
                worker = self._workers[len(self._threads)]
                self._threads.append(threading.Thread(target=self._serve, args=(worker,), daemon=True))
                self._threads[-1].start()
        job.future.add_done_callback(self._forget)
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        with self._lock:
            futures = list(self._futures)
        for future in futures:
            future.cancel()
        with self._lock:
            for worker in self._workers:
                worker.kill()

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, future: Future) -> None:
        with self._lock:
            self._futures.discard(future)

    def _serve(self, worker: "_Worker") -> None:
        """One thread a slot: hand jobs to its worker, one after the other."""
        while True:
            job = self._jobs.get()
            try:
                with self._lock:  # so that close() meets a job either waiting or with a process to kill
                    if not job.future.set_running_or_notify_cancel():
                        continue
                    worker.start()
                result = worker.run(job)
            except Exception as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)


ENGINES: dict[str, Callable[[], Engine]] = {"local": LocalEngine, "inline": InlineEngine}
_engines: dict[str, Engine] = {}


def engine(name: str | None = None) -> Engine:
    """The engine of that name, or of $BILP_ENGINE, or 'local'; one a process, so its workers stay warm."""
    name = name or os.environ.get("BILP_ENGINE") or "local"
    if name not in ENGINES:
        raise InputError(f"engine is {name!r}; allowed: {', '.join(ENGINES)} (argument or $BILP_ENGINE)")
    if name not in _engines:
        _engines[name] = ENGINES[name]()
    return _engines[name]


def visible_gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs this process may use, found without importing torch."""
    if os.environ.get("BILP_DEVICE") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return [name for name in names if name and name != "-1"]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    return [line.split()[1].rstrip(":") for line in lines if line.startswith("GPU ")]


def _slots_per_device() -> int:
    text = os.environ.get("BILP_SLOTS") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"$BILP_SLOTS is {text!r}; it must be a whole number from 1 (workers a device)")
    return int(text)


def _environment(slot: int, slots: int, gpus: list[str]) -> dict[str, str]:
    """What the worker of one slot has in its environment beyond ours."""
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    if slots > 1 and "OMP_NUM_THREADS" not in os.environ:  # share the cores; a single worker has them all
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // slots))}
    return {}


# The two sides of a worker. Jobs go in through its standard input, replies come back through its
# standard output, as pickles between two processes of ours; what a job prints goes to stderr.

_PROGRAM = "import sys; sys.path[:] = {path!r}; from bilp_core.engines import _worker_main; _worker_main()"


class _Job:
    def __init__(self, future: Future, packed: bytes, on_progress: Report | None) -> None:
        self.future, self.packed, self.on_progress = future, packed, on_progress


def _pack(function: Callable[..., Any], args: Sequence[Any]) -> bytes:
    """The job as bytes, the function by name: a failure to pickle shows in the caller."""
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise InputError(f"function {function.__qualname__!r}: workers must be able to import it from a module")
    return pickle.dumps((function.__module__, function.__qualname__, pickle.dumps(tuple(args))))


class _Worker:
    """The caller's side of one worker process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | self.environment,
                start_new_session=True,  # Ctrl-C is ours to handle; kill() ends its children too
            )

    def run(self, job: _Job) -> Any:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job.packed)
            process.stdin.flush()
            while True:
                kind, value = pickle.load(process.stdout)
                if kind == "result":
                    return value
                if kind == "error":
                    error, text = value
                    error.add_note(text)
                    raise error
                if job.on_progress is not None:
                    job.on_progress(*value)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as broken:
            raise WorkerDied(_ending(process)) from broken

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _ending(process: subprocess.Popen) -> str:
    """Why a worker is gone, as far as its exit status tells."""
    code = process.wait()
    if code == -signal.SIGKILL:
        return "its worker process was killed (SIGKILL): out of memory, perhaps"
    if code < 0:
        return f"its worker process was ended by {signal.Signals(-code).name}"
    return f"its worker process ended in the middle of it with exit status {code}"


def _worker_main() -> None:
    """The worker's side: serve jobs until standard input closes, which means 'stop at once'."""
    global _report
    jobs_in = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs_in, jobs), daemon=True).start()
    while True:
        module, name, args = jobs.get()
        _report = _sender(replies)
        try:
            function = importlib.import_module(module)
            for part in name.split("."):
                function = getattr(function, part)
            reply = pickle.dumps(("result", function(*pickle.loads(args))))  # type: ignore[operator]
        except Exception as error:
            reply = _pack_error(error)
        _report = None
        replies.write(reply)
        replies.flush()


def _read_jobs(stream: BinaryIO, jobs: queue.SimpleQueue) -> None:
    """Also notices the caller's end, even in the middle of a job: nobody is left to work for."""
    try:
        while True:
            jobs.put(pickle.load(stream))
    finally:
        os._exit(0)


def _sender(replies: BinaryIO) -> Report:
    last = 0.0

    def send(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= 0.5:
            last = time.monotonic()
            replies.write(pickle.dumps(("progress", (done, total, note))))
            replies.flush()

    return send


def _pack_error(error: Exception) -> bytes:
    text = traceback.format_exc()
    try:
        packed = pickle.dumps(("error", (error, text)))
        pickle.loads(packed)
        return packed
    except Exception:  # an exception whose class takes other arguments than it stores does not survive
        return pickle.dumps(("error", (RuntimeError(f"{type(error).__name__}: {error}"), text)))
