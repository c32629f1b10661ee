"""Methods by name. A new one is a file here with a class of it, and nothing else."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..data.images import ImageData
from ..errors import InputError
from ..utils.options import merged
from .method import SMALL, Distiller


def _methods(base: type[Distiller]) -> Iterator[type[Distiller]]:
    """The named classes derived from `base`."""
    for cls in base.__subclasses__():
        if "name" in vars(cls):
            yield cls
        yield from _methods(cls)


for _file in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if f"{__package__}.{_file.name}" != __name__:
        importlib.import_module(f"{__package__}.{_file.name}")
METHODS: dict[str, type[Distiller]] = {cls.name: cls for cls in sorted(_methods(Distiller), key=lambda c: c.name)}  # type: ignore[type-abstract]


def options_of(name: str) -> dict[str, Any]:
    """The hyper-parameters of a method with their defaults. Raises InputError for an unknown name.

    >>> from bilp_core.distillers import options_of
    >>> options_of("dm")
    {'iterations': 20000, 'image_lr': 1.0, 'image_momentum': 0.5, 'batch': 256, 'zca': 'none', 'augment': True}
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown; there are: {', '.join(METHODS)}")
    return {f.name: getattr(METHODS[name](), f.name) for f in fields(METHODS[name])}  # type: ignore[call-arg]


def suited(name: str, data: ImageData) -> dict[str, Any]:
    """Options in which a method should differ from its published defaults on `data`: shorter runs for small data.

    Papers' settings are for their data sets and for a GPU. Here small data are our digits and folders of up to two
    million pixels (2000 images of 32x32), on which the method's `small` and `tiny` options were tried. Others: none.

    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import suited
    >>> train, _ = load("digits")
    >>> own = suited("dm", train)
    >>> own["iterations"] < make("dm").iterations == make("dm", **{**own, "iterations": 20000}).iterations
    True
    """
    options_of(name)
    small = data.named in ("", "digits") and len(data) * data.positions <= SMALL
    tiny = small and min(data.shape[1:]) < 16
    return {**(METHODS[name].small if small else {}), **(METHODS[name].tiny if tiny else {})}


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
