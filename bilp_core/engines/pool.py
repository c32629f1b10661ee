"""What an engine is, and the queue that all with worker processes share."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol, Self

from ..utils.progress import Report
from .jobs import Function, pack


class WorkerDied(RuntimeError):
    """The process that ran a job ended in the middle of it, or before it took it up (not `started`).

    >>> from bilp_core.engines import LocalEngine, WorkerDied
    >>> with LocalEngine(slots=1) as engine:
    ...     try:
    ...         engine.submit("os._exit", (3,)).result()
    ...     except WorkerDied as death:
    ...         print(death)
    its worker process ended in the middle of it with exit status 3 (tried 2 times)
    """

    def __init__(self, why: str, started: bool = True) -> None:
        super().__init__(why)
        self.started = started


class Engine(Protocol):
    """The seam behind which this process, local ones or a cluster run jobs.

    function : itself, or its name with its module; then only the worker imports it. slots : jobs at a time.

    >>> from bilp_core.engines import engine
    >>> future = engine("inline").submit("math.hypot", (3, 4))
    >>> future.result()
    5.0
    """

    slots: int

    def submit(self, function: Function, args: Sequence[Any] = (), on_progress: Report | None = None) -> Future:
        """Queue `function(*args)`; its result or exception comes through the Future."""

    def close(self) -> None:
        """Stop at once: cancel what waits, end what runs. A later `submit` starts anew."""

    def everywhere(self, function: Function, args: Sequence[Any] = ()) -> None:
        """Run `function(*args)` on each machine but this one, and raise what it raises: a check before long work."""


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
    Raises InputError for a function that workers cannot import.

    >>> import pickle
    >>> from bilp_core.engines import Pool
    >>> from bilp_core.engines.jobs import outcome, perform
    >>> class Here:  # a worker without a process of its own
    ...     start = ready = kill = lambda self: None
    ...     def run(self, job):
    ...         replies = []
    ...         perform(pickle.loads(job.packed), replies.append)
    ...         return outcome(*pickle.loads(replies[-1]))
    >>> class Alone(Pool):
    ...     slots, retries = 1, 0
    ...     def _worker(self, slot):
    ...         return Here()
    >>> with Alone() as engine:
    ...     root = engine.submit("math.sqrt", (9,)).result()
    >>> root
    3.0
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

    def submit(self, function: Function, args: Sequence[Any] = (), on_progress: Report | None = None) -> Future:
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

    def everywhere(self, function: Function, args: Sequence[Any] = ()) -> None:
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
