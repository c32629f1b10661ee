"""When torch.compile is used."""

import os
import shutil
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import lru_cache
from types import CodeType, FunctionType

import torch

from ..errors import InputError
from . import speed

# Positions in a whole run from which compiling (about 20 s, cold) pays on a CPU. Small images need no rule of their
# own: a step of theirs gains as much (rows digits-* of book/measurements/starts.csv).
COMPILE_ABOVE = 3e7


@lru_cache(maxsize=1)
def _compiler_works() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def compiled(function: Callable, positions: float, device: torch.device, network: Hashable) -> Callable:
    """`function` through torch.compile where that pays: long runs on a CPU that has a C++ compiler.

    positions : images x height x width that will pass through it in all. network : what stands for the network that it
    is called with, and for the size of its batches.
    BILP_COMPILE = 0 or 1 overrides the choice, BILP_SPEED = plain forbids it. The result may differ by rounding.
    """
    choice = os.environ.get("BILP_COMPILE", "auto")
    if choice not in ("0", "1", "auto"):
        raise InputError(f"BILP_COMPILE = {choice!r}: must be 0, 1 or auto")
    if speed.mode() == "plain":
        return function
    pays = device.type == "cpu" and positions >= COMPILE_ABOVE and _compiler_works()
    return _of_network(function, network) if choice == "1" or (choice == "auto" and pays) else function


@lru_cache(maxsize=16)
def _of_network(function: Callable, network: Hashable) -> Callable:  # noqa: ARG001
    """A copy of its own for each network: what torch compiles it keeps with a function's code, eight versions of each,
    and runs the ninth uncompiled. When what falls out of the cache is used no longer, torch is told to drop them."""
    assert isinstance(function, FunctionType)
    code = function.__code__.replace()
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    fast = torch.compile(copy, dynamic=False)
    weakref.finalize(fast, _forget, code).atexit = False
    return fast


def _forget(code: CodeType) -> None:
    """Free the graphs of a code: by itself torch keeps them, and the code with them, as long as the process."""
    with suppress(ImportError):  # no public name does it
        from torch._C._dynamo.eval_frame import reset_code

        reset_code(code)
