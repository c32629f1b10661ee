"""Labelled images: named data sets, folders, whitening. Names are loaded when they are first used: processes that only
decode need no torch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import cache_home
    from .checking import check, check_folder
    from .datasets import DATASETS, DataSet, load
    from .images import ImageData, Splits, fingerprint, measured, strips
    from .stored import Stored
    from .whitening import WHITENINGS, Whitening, whitened, with_whitening

_FILES = {
    "cache": ("cache_home",),
    "checking": ("check", "check_folder"),
    "datasets": ("DATASETS", "DataSet", "load"),
    "images": ("ImageData", "Splits", "fingerprint", "measured", "strips"),
    "stored": ("Stored",),
    "whitening": ("WHITENINGS", "Whitening", "whitened", "with_whitening"),
}
__all__ = [
    "DATASETS",
    "WHITENINGS",
    "DataSet",
    "ImageData",
    "Splits",
    "Stored",
    "Whitening",
    "cache_home",
    "check",
    "check_folder",
    "fingerprint",
    "load",
    "measured",
    "strips",
    "whitened",
    "with_whitening",
]


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(importlib.import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
