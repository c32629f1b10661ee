"""Several sets as one, and a set in the terms of other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ...data.images import Map
from ...data.listing import natural as natural_order
from ...data.whitening import of_pixels
from ...errors import InputError
from ..set import SyntheticSet
from .layout import Stats


def in_terms_of(synthetic: SyntheticSet, stats: Stats, whitening: Map | None = None) -> SyntheticSet:
    """The same pixels, normalised or whitened otherwise.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.synthetic import in_terms_of
    >>> made = SyntheticSet(torch.ones(2, 1, 2, 2), torch.tensor([0, 1]), ("cat", "dog"), mean=(0.5,), std=(0.25,))
    >>> in_terms_of(made, ((0.0,), (0.5,))).images.unique().tolist()
    [1.5]
    """
    same = (synthetic.whitening and synthetic.whitening.identity) == (whitening and whitening.identity)
    if same and (whitening or stats == (synthetic.mean, synthetic.std)):
        return synthetic
    pixels = synthetic.natural()
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in stats)
    images = of_pixels(whitening.to(pixels.device), pixels) if whitening else (pixels - mean) / std
    return replace(synthetic, images=images, mean=stats[0], std=stats[1], whitening=whitening, decoder=None)


def merged(sets: Mapping[str, SyntheticSet], classes: Sequence[str] | None = None) -> SyntheticSet:
    """Sets of different classes as one of all their classes.

    sets    : by the names that messages call them.
    classes : their order; None: that of folders, 2 before 10.
    Mean and deviation are those of all classes together, each class counting alike, unless all sets have the same; the
    pixels stay what they are. What all have learned alike (method, network, learning rate) is kept.
    Raises InputError for a class in two sets, other sizes, formations or whitenings, and labels to regress on.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.synthetic import merged
    >>> one, two = (
    ...     SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), names, (0.5,), (0.25,), {"method": "dm"})
    ...     for names in (("cat", "dog"), ("ant", "bee"))
    ... )
    >>> both = merged({"one": one, "two": two})
    >>> both.classes, both.labels.tolist(), both.meta["method"]
    (('ant', 'bee', 'cat', 'dog'), [0, 1, 2, 3], 'dm')
    """
    if len(sets) < 2:
        raise InputError(f"{len(sets)} sets to merge: must be at least 2")
    where: dict[str, str] = {}
    first, some = next(iter(sets.items()))
    for name, one in sets.items():
        for label in one.classes:
            if label in where:
                raise InputError(f"class {label!r} is in {where[label]} and in {name}: sets of different classes merge")
            where[label] = name
        for what, ours, theirs in (
            ("images of", tuple(some.images.shape[1:]), tuple(one.images.shape[1:])),
            ("frames", some.frames, one.frames),
            ("formation", some.formation, one.formation),
            ("whitening", some.whitening and some.whitening.identity, one.whitening and one.whitening.identity),
        ):
            if ours != theirs:
                raise InputError(f"{what} {ours} in {first}, {theirs} in {name}: must be the same")
        if one.relabelled or (one.labels.ndim == 2 and one.labels.min() < 0):
            raise InputError(f"{name}: labels of views, or labels to regress on, have no meaning for more classes")
    order = tuple(sorted(where, key=natural_order) if classes is None else classes)
    if len(set(order)) != len(order) or set(order) != set(where):
        raise InputError(f"classes = {', '.join(order)}: must be those of the sets, {', '.join(where)}, each once")
    stats = pooled(list(sets.values()))
    parts = [in_terms_of(one, stats, some.whitening) for one in sets.values()]
    soft = any(part.labels.ndim == 2 for part in parts)
    images, labels = [], []
    for part in parts:
        places = torch.tensor([order.index(name) for name in part.classes])
        wide = torch.zeros(len(part.images), len(order))
        if part.labels.ndim == 2:
            wide[:, places] = part.labels
        else:
            wide[torch.arange(len(wide)), places[part.labels]] = 1
        images.append(part.images)
        labels.append(wide if soft else places[part.labels])
    hard = torch.cat([one.argmax(1) if soft else one for one in labels])
    by_class = hard.argsort(stable=True)
    metas = [one.meta for one in sets.values()]
    alike = {
        key: metas[0][key]
        for key in ("method", "network", "lr", "ipc", "options", "init")
        if all(key in meta and meta[key] == metas[0][key] for meta in metas)
    }
    about = {**alike, "named": "", "flip": all(meta.get("flip", True) for meta in metas), "merged": list(sets)}
    made = SyntheticSet(
        torch.cat(images)[by_class],
        torch.cat(labels)[by_class],
        order,
        *stats,
        about,
        some.formation,
        some.whitening,
        frames=some.frames,
    )
    made.check("the merged set")
    return made


def pooled(sets: Sequence[SyntheticSet]) -> Stats:
    """Mean and deviation of pixels of all classes together, each class counting alike."""
    if len({(one.mean, one.std) for one in sets}) == 1:
        return sets[0].mean, sets[0].std
    weights = torch.tensor([len(one.classes) for one in sets]).double()[:, None]
    mean, std = (torch.tensor([getattr(one, name) for one in sets]).double() for name in ("mean", "std"))
    centre = (weights * mean).sum(0) / weights.sum()
    spread = (weights * (std**2 + mean**2)).sum(0) / weights.sum() - centre**2
    return tuple(centre.tolist()), tuple(spread.sqrt().tolist())
