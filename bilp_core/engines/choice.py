"""Engines by name."""

import importlib.util
import os
from collections.abc import Callable

from ..errors import InputError
from .jobs import InlineEngine
from .local import LocalEngine
from .pool import Engine
from .slots import MOST_ON_CPUS, slots_per_device, visible_gpus


def _ray() -> Engine:
    from .ray import RayEngine

    return RayEngine()


ENGINES: dict[str, Callable[[], Engine]] = {"local": LocalEngine, "inline": InlineEngine, "ray": _ray}
_engines: dict[str, Engine] = {}


def check(name: str | None = None) -> str:
    """The name of the engine that `engine(name)` would give. InputError if that cannot be, before anything starts.

    >>> import os
    >>> from bilp_core.engines import check
    >>> check()
    'local'
    >>> os.environ["BILP_ENGINE"] = "inline"
    >>> check()
    'inline'
    >>> check("cloud")
    Traceback (most recent call last):
    bilp_core.errors.InputError: engine is 'cloud'; allowed: local, inline, ray (argument or $BILP_ENGINE)
    """
    name = name or os.environ.get("BILP_ENGINE") or "local"
    if name not in ENGINES:
        raise InputError(f"engine is {name!r}; allowed: {', '.join(ENGINES)} (argument or $BILP_ENGINE)")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("engine is 'ray', but Ray is not installed: pip install 'bilp-book[cluster]'")
    slots_per_device()
    return name


def engine(name: str | None = None) -> Engine:
    """The engine of that name, or of $BILP_ENGINE, or 'local'; one a process, so its workers stay warm.

    Raises InputError as `check` does.

    >>> from bilp_core.engines import engine
    >>> engine("inline").submit("math.sqrt", (9,)).result()
    3.0
    >>> engine("inline") is engine("inline")
    True
    """
    name = check(name)
    if name not in _engines:
        _engines[name] = ENGINES[name]()
    return _engines[name]


def for_small_jobs() -> dict[str, str]:
    """What to add to the environment for many small jobs on CPUs: a worker a core, of one thread, is done soonest.

    Nothing where $BILP_SLOTS is set or a GPU is seen; Ray's engine has the same default of its own.

    >>> import os
    >>> from bilp_core.engines import for_small_jobs
    >>> os.environ["BILP_DEVICE"] = "cpu"
    >>> for_small_jobs() == {"BILP_SLOTS": str(min(os.cpu_count(), 8))}
    True
    >>> os.environ["BILP_SLOTS"] = "2"
    >>> for_small_jobs()
    {}
    """
    if os.environ.get("BILP_SLOTS") or check() == "ray" or visible_gpus():
        return {}
    return {"BILP_SLOTS": str(min(os.cpu_count() or 1, MOST_ON_CPUS))}
