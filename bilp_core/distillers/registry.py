"""Methods by name. A new one is a file here with a class, and an entry in `METHODS`."""

from dataclasses import fields
from typing import Any

from ..errors import InputError
from ..utils.options import merged
from .dc import DC
from .dm import DM
from .dsa import DSA
from .frepo import FRePo
from .idc import IDC
from .method import Distiller
from .mtt import MTT

METHODS: dict[str, type[Distiller]] = {cls.name: cls for cls in (DC, DSA, DM, IDC, FRePo, MTT)}


def options_of(name: str) -> dict[str, Any]:
    """The hyper-parameters of a method with their defaults. Raises InputError for an unknown name.

    >>> from bilp_core.distillers import options_of
    >>> options_of("dm")
    {'iterations': 20000, 'image_lr': 1.0, 'image_momentum': 0.5, 'batch': 256, 'zca': 'none', 'augment': True}
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown; there are: {', '.join(METHODS)}")
    return {f.name: getattr(METHODS[name](), f.name) for f in fields(METHODS[name])}  # type: ignore[call-arg]


def make(name: str, **options: Any) -> Distiller:
    """A method with `options` over its defaults; their names, types and ranges are checked (InputError).

    name : one of `METHODS`.

    >>> from bilp_core import make
    >>> make("dm", iterations=100)
    DM(iterations=100, image_lr=1.0, image_momentum=0.5, batch=256, zca='none', augment=True)
    >>> make("dm", image_lr=-1)
    Traceback (most recent call last):
    bilp_core.errors.InputError: dm: image_lr = -1.0 is out of range (finite, not negative)
    """
    checked = merged(f"method {name!r}", options_of(name), options)
    return METHODS[name](**checked)
