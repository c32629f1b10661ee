"""Worker processes on this machine."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

from ..errors import InputError
from .jobs import outcome, perform
from .pool import Job, Pool, Worker, WorkerDied
from .slots import slots_per_device, visible_gpus


class LocalEngine(Pool):
    """Worker processes on this machine, each with its slot on a device.

    slots : how many jobs run at a time, spread over the devices; by default $BILP_SLOTS (1) a device.
    Devices are the visible GPUs, or the CPU as one device where there is none (or $BILP_DEVICE is cpu).

    Workers are fresh interpreters (not forks, and the caller's main module is not imported again), so
    it works from scripts without a main guard and from notebooks. They start with the first job, stay
    for the next, and end with this process however it ends.
    Raises InputError for slots that are no whole number from 1.

    >>> from bilp_core.engines import LocalEngine
    >>> with LocalEngine(slots=2) as engine:
    ...     futures = [engine.submit("math.sqrt", (number,)) for number in (4, 9, 16)]
    ...     roots = [future.result() for future in futures]
    >>> roots
    [2.0, 3.0, 4.0]
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


def _environment(slot: int, slots: int, gpus: list[str]) -> dict[str, str]:
    """What the worker of one slot has in its environment beyond ours."""
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    if slots > 1 and "OMP_NUM_THREADS" not in os.environ:  # share the cores; a single worker has them all
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // slots))}
    return {}


# The two sides of a worker. Jobs go in through its standard input, replies come back through its
# standard output, as pickles between two processes of ours; what a job prints goes to stderr.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from bilp_core.engines.local import worker_main; worker_main()"


class _LocalWorker:
    """The caller's side of one worker process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen | None = None
        self._busy = False

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
        self._busy = True
        try:
            return self._exchanged(job)
        finally:
            self._busy = False
            self._release()

    def _exchanged(self, job: Job) -> Any:
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
        if not self._busy:  # else `run`, in its own thread, meets the end and does it
            self._release()

    def _release(self) -> None:
        """Close our ends of the pipes to a process that has ended."""
        if self.process is not None and self.process.poll() is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                with suppress(OSError):  # what it has not read is lost anyway
                    if pipe is not None:
                        pipe.close()


def _ending(process: subprocess.Popen) -> str:
    """Why a worker is gone, as far as its exit status tells."""
    code = process.wait()
    if code == -signal.SIGKILL:
        return "its worker process was killed (SIGKILL): out of memory, perhaps"
    if code < 0:
        return f"its worker process was ended by {signal.Signals(-code).name}"
    return f"its worker process ended in the middle of it with exit status {code}"


def worker_main() -> None:
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
