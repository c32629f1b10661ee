"""Where jobs run: in this process, in worker processes of this machine, or on a Ray cluster."""

from .choice import ENGINES, check, engine, for_small_jobs
from .jobs import InlineEngine, report
from .local import LocalEngine
from .pool import Engine, Pool, WorkerDied
from .slots import slots_per_device, visible_gpus

__all__ = [
    "ENGINES",
    "Engine",
    "InlineEngine",
    "LocalEngine",
    "Pool",
    "WorkerDied",
    "check",
    "engine",
    "for_small_jobs",
    "report",
    "slots_per_device",
    "visible_gpus",
]
