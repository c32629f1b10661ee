"""The engine that runs trials on a Ray cluster, or on this machine through Ray: `BILP_ENGINE=ray`.

It joins the cluster that $RAY_ADDRESS names (or the Ray that this process has joined already), else it starts Ray
here, for as long as this process lives. Workers are Ray actors that stay from job to job, so each reads a data set
once. All machines must see the project, the store and the data under the same paths.
"""

import logging
import math
import os
import pickle
import platform
import queue
import re
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import __version__
from ..errors import InputError
from ..utils.revisions import REVISIONS
from .jobs import Function, outcome, pack, perform
from .pool import Job, Pool, Worker, WorkerDied
from .slots import MOST_ON_CPUS, slots_per_device

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # it dumps a stack when a kernel is told to end


logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)


with warnings.catch_warnings():  # in a notebook, Ray and tqdm recommend widgets on import
    warnings.simplefilter("ignore")
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class RayEngine(Pool):
    """Workers on the machines of a Ray cluster.

    On GPUs, where there is one and $BILP_DEVICE is not cpu: $BILP_SLOTS workers (1) share each of them. Otherwise
    on CPUs: $BILP_SLOTS workers (one a core, at most 8) on each machine, which share its cores. Machines that join
    after the first job are used by the next process.
    """

    retries = 3  # machines of a cluster may be taken away

    def __init__(self) -> None:
        super().__init__()
        _join()
        self.slots, self.share, self.threads = places([node["Resources"] for node in _nodes()])

    def _worker(self, slot: int) -> Worker:  # noqa: ARG002
        return _RayWorker(self.share, self.threads)

    def everywhere(self, function: Function, args: Sequence[Any] = ()) -> None:
        once: Any = ray.remote(_once)
        packed, answers = pack(function, args), []
        kind = "GPU" if self.share["num_gpus"] else "CPU"
        for node in _nodes():
            if node["NodeID"] != _here() and node["Resources"].get(kind):
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                answers.append(once.options(num_cpus=0, scheduling_strategy=there).remote(packed, _settings()))
        for answer in answers:
            outcome(*pickle.loads(ray.get(answer)))


def places(machines: Sequence[Mapping[str, float]]) -> tuple[int, dict[str, float], int]:
    """How many jobs run at a time, what Ray reserves for each (`num_gpus`, `num_cpus`), and the threads of each.

    machines : the resources of each, as Ray gives them: "GPU" and "CPU", absent for none.
    The least share that a machine can give is the share of all, so that any machine can take any job.
    Raises InputError where there is neither a GPU nor a CPU.

    >>> import os
    >>> from bilp_core.engines.ray import places
    >>> places([{"CPU": 16, "GPU": 2}, {"CPU": 4}])  # a job a GPU, with 8 cores each; the other machine is left out
    (2, {'num_gpus': 1.0, 'num_cpus': 1.0}, 8)
    >>> os.environ["BILP_DEVICE"] = "cpu"
    >>> places([{"CPU": 16, "GPU": 2}, {"CPU": 4}])  # the least share, of one core, is the share of all
    (20, {'num_gpus': 0, 'num_cpus': 1.0}, 1)
    """
    with_gpus = [m for m in machines if m.get("GPU", 0) >= 1]
    if with_gpus and os.environ.get("BILP_DEVICE") != "cpu":
        each = slots_per_device()
        slots = sum(int(m["GPU"]) * each for m in with_gpus)
        cpus = min(m.get("CPU", 0) / (m["GPU"] * each) for m in with_gpus)
        return slots, {"num_gpus": _floor(1 / each), "num_cpus": _floor(min(cpus, 1))}, max(1, int(cpus))
    with_cpus = [m for m in machines if m.get("CPU", 0) >= 1]
    if not with_cpus:
        raise InputError("the Ray cluster has no machine with a GPU or CPU to use; `ray status` shows what it has")
    cpus = min(m["CPU"] / slots_per_device(min(int(m["CPU"]), MOST_ON_CPUS)) for m in with_cpus)
    slots = sum(int(m["CPU"] / cpus + 1e-9) for m in with_cpus)
    return slots, {"num_gpus": 0, "num_cpus": _floor(cpus)}, max(1, int(cpus))


def _floor(share: float) -> float:
    """Ray counts in ten-thousandths."""
    return math.floor(share * 1e4 + 1e-6) / 1e4


def _join() -> None:
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("auto", "local"):
        _check_address(address)
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster could be joined at RAY_ADDRESS = {address!r}: {error}. "
            "Does it want a token? Then set RAY_AUTH_MODE=token"
        ) from None


def _check_address(address: str) -> None:
    """Ray itself would try for minutes, and does not say what."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        raise InputError(
            f"RAY_ADDRESS is {address!r}; it must be HOST:PORT of a head node, or auto on one of its nodes"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"RAY_ADDRESS is {address!r}, but no Ray answers there: {error}") from None


def _here() -> str:
    return ray.get_runtime_context().get_node_id()


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


class _RayWorker:
    """The caller's side of one actor."""

    def __init__(self, share: Mapping[str, float], threads: int) -> None:
        self.share, self.threads = share, threads
        self.actor: Any = None
        self.failure: Exception | None = None

    def start(self) -> None:
        if self.actor is None:
            remote: Any = ray.remote(_Actor)
            self.actor = remote.options(**self.share).remote(_settings(), self.threads)

    def ready(self) -> None:
        actor = self.actor
        if actor is None:  # closed
            return
        try:
            hello = actor.hello.remote()
            while not ray.wait([hello], timeout=60)[0]:
                print("still waiting for a free place in the Ray cluster (see `ray status`)", file=sys.stderr)
            machine, version = ray.get(hello)
            if version != _version():
                raise InputError(f"{machine} has bilp_core {version}, but it is {_version()} here: use the same code")
        except RayError as error:
            self.actor, self.failure = None, WorkerDied(f"its worker did not start: {_reason(error)}")
        except InputError as error:
            self.failure = error

    def run(self, job: Job) -> Any:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        actor, started = self.actor, False
        if actor is None:
            raise WorkerDied("the engine was closed", started)
        try:
            for reference in actor.run.remote(job.packed):
                kind, value = pickle.loads(ray.get(reference))
                if kind not in ("progress", "started"):
                    break
                started = True
                if kind == "progress" and job.on_progress is not None:
                    job.on_progress(*value)
        except RayError as error:
            self.kill()
            raise WorkerDied(f"its worker process was lost: {_reason(error)}", started) from error
        return outcome(kind, value)

    def kill(self) -> None:
        actor, self.actor = self.actor, None
        if actor is not None:
            ray.kill(actor)


def _reason(error: RayError) -> str:
    """The last line, without the guesses that Ray adds to it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r" Some common causes include:.*", "", lines[-1])


def _version() -> str:
    return f"{__version__} (revisions of its results: {REVISIONS})"


def _settings() -> dict[str, Any]:
    """What a worker takes over from its caller: the working folder and what steers the library."""
    names = [name for name in os.environ if name.startswith("BILP_") or name == "OMP_NUM_THREADS"]
    return {"folder": os.getcwd(), "environment": {name: os.environ[name] for name in names}}  # noqa: PTH109


def _settle(settings: Mapping[str, Any]) -> None:
    os.environ.update(settings["environment"])
    if os.path.isdir(settings["folder"]):  # noqa: PTH112
        os.chdir(settings["folder"])


def _once(packed: bytes, settings: Mapping[str, Any]) -> bytes:
    """A job on some machine, in a process of its own."""
    _settle(settings)
    replies: list[bytes] = []
    perform(pickle.loads(packed), replies.append)
    return replies[-1]


class _Actor:
    """The worker's side: a process that does one job after the other."""

    def __init__(self, settings: Mapping[str, Any], threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch, not imported yet, reads it; Ray had set 1 or so
        _settle(settings)
        self.jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def hello(self) -> tuple[str, str]:
        return platform.node(), _version()

    def run(self, packed: bytes) -> Iterator[bytes]:
        """The replies to a job, as they come; the first says that it was taken up."""
        yield pickle.dumps(("started", None))
        self.jobs.put(packed)
        while True:
            reply = self.replies.get()
            yield reply
            if pickle.loads(reply)[0] != "progress":
                return

    def _work(self) -> None:
        while True:
            perform(pickle.loads(self.jobs.get()), self.replies.put)
