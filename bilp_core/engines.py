"""Where trials run. An engine has `submit(function, args, on_progress) -> Future` and `close()`.

`InlineEngine` and `LocalEngine` are here, Ray's is in `cluster`. Functions must be importable by name (no lambdas,
nothing defined in a script's or a notebook's main). Importing this module does not import torch: the workers do.
"""

import importlib
import importlib.util
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
from typing import Any, BinaryIO, Protocol, Self

from bilp_core.errors import InputError
from bilp_core.progress import Report


class WorkerDied(RuntimeError):
    """The process that ran a job ended in the middle of it, or before it took it up (not `started`)."""

    def __init__(self, why: str, started: bool = True) -> None:
        super().__init__(why)
        self.started = started


class Engine(Protocol):
    """The seam behind which this process, local ones or a cluster run jobs."""

    slots: int

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any] = (), on_progress: Report | None = None
    ) -> Future:
        """Queue `function(*args)`; its result or exception comes through the Future."""

    def close(self) -> None:
        """Stop at once: cancel what waits, end what runs. A later `submit` starts anew."""

    def everywhere(self, function: Callable[..., Any], args: Sequence[Any] = ()) -> None:
        """Run `function(*args)` on each machine but this one, and raise what it raises: a check before long work."""


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

    def everywhere(self, function: Callable[..., Any], args: Sequence[Any] = ()) -> None:
        pass


class Job:
    """What waits in a pool's queue."""

    def __init__(self, future: Future, packed: bytes, on_progress: Report | None) -> None:
        self.future, self.packed, self.on_progress = future, packed, on_progress
        self.deaths = 0


class Worker(Protocol):
    """One process that does jobs, one at a time, as its pool sees it."""

    def start(self) -> None:
        """Have the process started, unless it runs; does not wait for it."""

    def ready(self) -> None:
        """Wait until it can take a job. What went wrong is raised by the next `run`."""

    def run(self, job: Job) -> Any:
        """The job's result, or its exception; WorkerDied if the process ended."""

    def kill(self) -> None:
        """End the process, if there is one."""


class Pool:
    """An engine of `slots` workers that take jobs from one queue, each looked after by a thread of this process.

    An exception that a job raises is the job's result. A job whose worker died is done again by the next worker
    that is free, `retries` times at most; the other jobs do not notice. What a worker is, subclasses say.
    """

    slots: int
    retries: int

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: set[Future] = set()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._workers: list[Worker] = []

    def _worker(self, slot: int) -> Worker:
        raise NotImplementedError

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any] = (), on_progress: Report | None = None
    ) -> Future:
        job = Job(Future(), pack(function, args), on_progress)
        with self._lock:
            self._futures.add(job.future)
            if len(self._workers) < self.slots:  # one more worker, until there are enough
                worker = self._worker(len(self._workers))
                self._workers.append(worker)
                threading.Thread(target=self._serve, args=(worker, self._jobs), daemon=True).start()
            self._jobs.put(job)
        job.future.add_done_callback(self._forget)
        return job.future

    def close(self) -> None:
        with self._lock:
            futures, workers, jobs = list(self._futures), self._workers, self._jobs
            self._workers, self._jobs = [], queue.SimpleQueue()  # what comes later meets new workers
        for future in futures:
            future.cancel()
        with self._lock:
            for worker in workers:
                worker.kill()
        for _ in workers:
            jobs.put(None)

    def everywhere(self, function: Callable[..., Any], args: Sequence[Any] = ()) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, future: Future) -> None:
        with self._lock:
            self._futures.discard(future)

    def _serve(self, worker: Worker, jobs: queue.SimpleQueue[Job | None]) -> None:
        """One thread a slot: hand jobs to its worker, one after the other, until close() puts None."""
        while True:
            with self._lock:
                if jobs is self._jobs:  # else closed: start nothing that nobody would kill
                    worker.start()
            worker.ready()
            job = jobs.get()
            if job is None:
                return
            if not (job.future.running() or job.future.set_running_or_notify_cancel()):
                continue
            try:
                if jobs is not self._jobs:
                    raise WorkerDied("the engine was closed")
                result = worker.run(job)
            except WorkerDied as death:
                self._again(job, death, jobs)
            except Exception as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def _again(self, job: Job, death: WorkerDied, jobs: queue.SimpleQueue[Job | None]) -> None:
        """Put a job whose worker died back into the queue, unless that happened too often or we were closed."""
        job.deaths += death.started
        with self._lock:
            again = jobs is self._jobs and job.deaths <= self.retries
            if again:
                jobs.put(job)
        if not again:
            tries = f" (tried {job.deaths} times)" if job.deaths > 1 else ""
            job.future.set_exception(WorkerDied(f"{death}{tries}"))
        elif job.on_progress is not None:
            job.on_progress(0, 1, "again, since its worker died")


class LocalEngine(Pool):
    """Worker processes on this machine, each with its slot on a device.

    slots : how many jobs run at a time, spread over the devices; by default $BILP_SLOTS (1) a device.
    Devices are the visible GPUs, or the CPU as one device where there is none (or $BILP_DEVICE is cpu).

    Workers are fresh interpreters (not forks, and the caller's main module is not imported again), so
    it works from scripts without a main guard and from notebooks. They start with the first job, stay
    for the next, and end with this process however it ends.
    """

    retries = 1  # a second death is hardly chance: too little memory, or a fault in the code

    def __init__(self, slots: int | None = None) -> None:
        gpus = visible_gpus()
        if slots is None:
            slots = slots_per_device() * max(1, len(gpus))
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise InputError(f"slots is {slots!r}; it must be a whole number from 1")
        super().__init__()
        self.slots, self._gpus = slots, gpus

    def _worker(self, slot: int) -> Worker:
        return _LocalWorker(_environment(slot, self.slots, self._gpus))


def _ray() -> Engine:
    from bilp_core.cluster import RayEngine

    return RayEngine()


MOST_ON_CPUS = 8  # workers a machine for small jobs; each holds some hundred MB
ENGINES: dict[str, Callable[[], Engine]] = {"local": LocalEngine, "inline": InlineEngine, "ray": _ray}
_engines: dict[str, Engine] = {}


def check(name: str | None = None) -> str:
    """The name of the engine that `engine(name)` would give. InputError if that cannot be, before anything starts."""
    name = name or os.environ.get("BILP_ENGINE") or "local"
    if name not in ENGINES:
        raise InputError(f"engine is {name!r}; allowed: {', '.join(ENGINES)} (argument or $BILP_ENGINE)")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("engine is 'ray', but Ray is not installed: pip install 'bilp-book[cluster]'")
    slots_per_device()
    return name


def engine(name: str | None = None) -> Engine:
    """The engine of that name, or of $BILP_ENGINE, or 'local'; one a process, so its workers stay warm."""
    name = check(name)
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


def slots_per_device(default: int = 1) -> int:
    """$BILP_SLOTS, or the default."""
    text = os.environ.get("BILP_SLOTS") or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"$BILP_SLOTS is {text!r}; it must be a whole number from 1 (workers a device)")
    return int(text)


def for_small_jobs() -> dict[str, str]:
    """What to add to the environment for many small jobs on CPUs: a worker a core, of one thread, is done soonest.

    Nothing where $BILP_SLOTS is set or a GPU is seen; Ray's engine has the same default of its own.
    """
    if os.environ.get("BILP_SLOTS") or check() == "ray" or visible_gpus():
        return {}
    return {"BILP_SLOTS": str(min(os.cpu_count() or 1, MOST_ON_CPUS))}


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


def pack(function: Callable[..., Any], args: Sequence[Any]) -> bytes:
    """The job as bytes, the function by name: a failure to pickle shows in the caller."""
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise InputError(f"function {function.__qualname__!r}: workers must be able to import it from a module")
    return pickle.dumps((function.__module__, function.__qualname__, pickle.dumps(tuple(args))))


class _LocalWorker:
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

    def ready(self) -> None:
        pass

    def run(self, job: Job) -> Any:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        if process.poll() is not None:
            raise WorkerDied(_ending(process), started=False)
        try:
            process.stdin.write(job.packed)
            process.stdin.flush()
            while (reply := pickle.load(process.stdout))[0] == "progress":
                if job.on_progress is not None:
                    job.on_progress(*reply[1])
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as broken:
            raise WorkerDied(_ending(process)) from broken
        return outcome(*reply)

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
    jobs_in = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs_in, jobs), daemon=True).start()

    def send(reply: bytes) -> None:
        replies.write(reply)
        replies.flush()

    while True:
        perform(jobs.get(), send)


def _read_jobs(stream: BinaryIO, jobs: queue.SimpleQueue) -> None:
    """Also notices the caller's end, even in the middle of a job: nobody is left to work for."""
    try:
        while True:
            jobs.put(pickle.load(stream))
    finally:
        os._exit(0)


def perform(job: Any, send: Callable[[bytes], None]) -> None:
    """Do an unpacked job: send its progress, at most twice a second, then its result or error, as pickled pairs."""
    global _report
    module, name, args = job
    last = 0.0

    def tell(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= 0.5:
            last = time.monotonic()
            send(pickle.dumps(("progress", (done, total, note))))

    _report = tell
    try:
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        reply = pickle.dumps(("result", function(*pickle.loads(args))))  # type: ignore[operator]
    except BaseException as error:  # SystemExit, too, ends the job and not the worker
        reply = _pack_error(error)
    _report = None
    send(reply)


def outcome(kind: str, value: Any) -> Any:
    """What the last reply of a job holds: its result is returned, its error raised."""
    if kind == "result":
        return value
    error, text = value
    error.add_note(text)
    raise error


def _pack_error(error: BaseException) -> bytes:
    text = traceback.format_exc()
    try:
        packed = pickle.dumps(("error", (error, text)))
        pickle.loads(packed)
        if isinstance(error, Exception):
            return packed
    except Exception:  # an exception whose class takes other arguments than it stores does not survive
        pass
    return pickle.dumps(("error", (RuntimeError(f"{type(error).__name__}: {error}"), text)))
