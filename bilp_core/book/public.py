"""The library's public names, which the reference shows and pages link to."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
ROOMS = (
    "data", "nets", "synthetic", "pruning", "evaluation", "distillers", "coresets", "indicators", "engines", "trials",
    "report", "book", "studies", "utils", "errors",
)  # fmt: skip


def files(module: ModuleType) -> list[ModuleType]:
    """The modules right inside a package."""
    inside = pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}.")
    return [importlib.import_module(each.name) for each in inside]


def public(module: ModuleType) -> list[str]:
    """Full names of what a module offers: its `__all__`; without one, what its files define and do not hide."""
    if hasattr(module, "__all__"):
        return [f"{module.__name__}.{name}" for name in module.__all__]
    return [
        full_name(value)
        for file in [module, *files(module)]
        for name, value in vars(file).items()
        if name[0] != "_" and is_defined(value) and value.__module__ == file.__name__
    ]


@cache
def names() -> dict[str, Any]:
    """All public names in full, and their values."""
    full = [name for room in ROOMS for name in public(importlib.import_module(f"{PACKAGE}.{room}"))]
    return {name: named(name) for name in full}


def named(full: str) -> Any:
    """The value of a full name."""
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def is_defined(value: Any) -> bool:
    """Whether it is a function or a class, which know where they are from."""
    return inspect.isfunction(value) or inspect.isclass(value)


def meant(name: str, near: str, own: Iterable[str] = ()) -> str | None:
    """The public name in full that `name` stands for in a docstring of `near`, a name in full; None if it is none.

    own : names that mean something else there, as parameters do. Outside of its own room only a name with a capital
          is recognised: words such as `score` are parameters as often.
    """
    if name in own:
        return None
    room = ".".join(near.split(".")[:2])
    fitting = [full for full in names() if full.endswith(f".{name}")]
    return next((full for full in fitting if full.startswith(f"{room}.") or name[:1].isupper()), None)
