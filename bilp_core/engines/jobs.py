"""Jobs: functions by name with their arguments, what they report, and how they end."""

import importlib
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from ..errors import InputError
from ..utils.progress import Report

Function = Callable[..., Any] | str  # a function, or 'module.name': then only the worker imports the module

_report: Report | None = None  # where this process's running job sends its progress


def report(done: int, total: int, note: str = "") -> None:
    """Called by a job: pass its progress to the `on_progress` it was submitted with.

    done, total : in any unit. note : a few words for people.

    >>> from bilp_core.engines import InlineEngine, report
    >>> def job():
    ...     report(1, 2, "half of it")
    >>> InlineEngine().submit(job, on_progress=lambda *news: print(news)).result()
    (1, 2, 'half of it')
    """
    if _report is not None:
        _report(done, total, note)


class InlineEngine:
    """Runs each job in this process, at once: for debugging and tests. See `Engine`.

    >>> from bilp_core.engines import InlineEngine
    >>> engine = InlineEngine()
    >>> engine.submit(max, ([3, 5],)).result()
    5
    >>> engine.submit(max, ([],)).exception() is None  # what a job raises is its result
    False
    """

    slots = 1

    def submit(self, function: Function, args: Sequence[Any] = (), on_progress: Report | None = None) -> Future:
        global _report
        future: Future = Future()
        _report = on_progress
        try:
            future.set_result(located(function)(*args))
        except Exception as error:
            future.set_exception(error)
        finally:
            _report = None
        return future

    def close(self) -> None:
        pass

    def everywhere(self, function: Function, args: Sequence[Any] = ()) -> None:
        pass


def located(function: Function) -> Callable[..., Any]:
    """The function that a name stands for."""
    if not isinstance(function, str):
        return function
    module, _, name = function.rpartition(".")
    return getattr(importlib.import_module(module), name)


def pack(function: Function, args: Sequence[Any]) -> bytes:
    """The job as bytes, the function by name: a failure to pickle shows in the caller."""
    if isinstance(function, str):
        return pickle.dumps((*function.rsplit(".", 1), pickle.dumps(tuple(args))))
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise InputError(f"function {function.__qualname__!r}: workers must be able to import it from a module")
    return pickle.dumps((function.__module__, function.__qualname__, pickle.dumps(tuple(args))))


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
