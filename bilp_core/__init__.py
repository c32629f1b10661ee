"""Pruning real data before and during dataset distillation (BiLP, ECCV 2024).

The library in six names, each loaded when it is first used, so that `import bilp_core` is quick:

    load(name)                    training and test data: a data set's name, or a folder of images
    score(data, indicator)        one number a sample, larger = harder
    keep(scores, labels, ratio)   which samples stay
    distill(method, data, ipc)    a synthetic set; `make(name)` gives the method
    evaluate(synthetic, test)     accuracies of fresh networks trained on it; `protocol(...)` says how
    SyntheticSet                  what is made: saved, loaded, shown

    >>> import bilp_core
    >>> train, test = bilp_core.load("digits")
    >>> len(train), train.shape
    (1352, (1, 8, 8))
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import ImageData, load
    from .distillers import distill, make
    from .errors import Diverged, InputError
    from .evaluation import evaluate, protocol
    from .indicators import score
    from .pruning import keep
    from .synthetic import SyntheticSet

__version__ = "0.2.0"

# Idle OpenMP threads sleep instead of spinning: on shared or busy cores spinning slows small networks tenfold.
# Read when torch loads, so it has to be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_ROOMS = {
    "load": "data",
    "ImageData": "data",
    "score": "indicators",
    "keep": "pruning",
    "make": "distillers",
    "distill": "distillers",
    "protocol": "evaluation",
    "evaluate": "evaluation",
    "SyntheticSet": "synthetic",
    "InputError": "errors",
    "Diverged": "errors",
}
__all__ = [
    "Diverged",
    "ImageData",
    "InputError",
    "SyntheticSet",
    "distill",
    "evaluate",
    "keep",
    "load",
    "make",
    "protocol",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
