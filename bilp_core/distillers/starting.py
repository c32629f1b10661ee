"""A finished set as the start of another distillation."""

from __future__ import annotations

import torch

from ..data.images import ImageData
from ..errors import InputError
from ..evaluation import check_same
from ..synthetic import SyntheticSet, in_terms_of
from .method import Distiller


def start_of(given: SyntheticSet, method: Distiller, data: ImageData, ipc: int) -> SyntheticSet:
    """Its images, class by class, normalised or whitened as `data` are; labels start as the method starts them.

    method, data : with every setting filled in, and as the method sees them.
    Raises InputError where classes, size, images a class or formation differ, and for methods that make images of
    fewer numbers.

    >>> import torch
    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import start_of
    >>> from bilp_core.synthetic import initial
    >>> train, _ = load("digits")
    >>> given = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> start = start_of(given, make("dm"), train, ipc=2)
    >>> torch.equal(start.images, given.images)
    True
    """
    given.check("the set to start from")
    check_same(given, data)
    if type(method).decoder is not Distiller.decoder:
        raise InputError(f"{method.name} makes its images of fewer numbers: it cannot start from a finished set")
    if given.formation != method.formation():
        ours, theirs = (f"factor {one.factor}, {one.decode}" for one in (method.formation(), given.formation))
        raise InputError(f"the set to start from has {theirs}, {method.name} {ours}: must be the same")
    hard = given.hard_labels
    counts = torch.bincount(hard, minlength=data.num_classes).tolist()
    for name, count in zip(data.classes, counts, strict=True):
        if count != ipc:
            raise InputError(f"ipc = {ipc}: class {name!r} has {count} images in the set to start from")
    seen = in_terms_of(given, (data.mean, data.std), data.whitening)
    order = hard.argsort(stable=True)
    return SyntheticSet(
        seen.images[order].to(data.device), hard[order].to(data.device), data.classes, data.mean, data.std,
        {"init": "set"}, given.formation, data.whitening, frames=data.frames,
    )  # fmt: skip
