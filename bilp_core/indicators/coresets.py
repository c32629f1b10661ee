"""Coresets as indicators: one training run, then the order in which a method takes the samples of a class.

The score is the position in that order, so that dropping the largest keeps the coreset: here "larger" means taken
later, not harder. Supplement Sec. 3 and its Tables 1 and 2 do not say which network the selection stood on. Ours is
the first network of the loss indicator's probe, at the end of its training, without augmentation.

>>> import torch
>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> few = train.subset(torch.arange(100))  # ten of each class
>>> for name in ("craig", "gradmatch", "glister", "herding"):
...     scores = score(few, name, epochs=3, network="convnet:depth=1,width=4")
...     print(name, scores[few.labels == 7].int().sort().values.tolist())
craig [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
gradmatch [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
glister [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
herding [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import coresets
from ..coresets.glister import SCOPES
from ..coresets.gradmatch import PICKS, target
from ..coresets.last_layer import GRADIENTS, LastLayer
from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble
from ..nets.memory import split
from ..nets.probe import probe_options
from ..nets.recipe import Recipe
from ..nets.training import fit
from ..pruning.classwise import removed
from ..utils.progress import Report
from ..utils.seeds import seeds
from .base import Indicator

PASS = 1024  # images whose features are computed at a time
UNTRAINED = {"epochs": 0}  # a network as it starts may choose, too


def last_layer(
    data: ImageData, train: Tensor | None, seed: int, report: Callable[[int], None] | None = None, **probe: Any
) -> LastLayer:
    """The last layer of one network, trained with the probe's settings, on all of `data`.

    train  : indices to train on; None for all. report : called with the number of epochs done.
    probe  : epochs (0: a fresh network), lr, batch, network, momentum, as in `Probe`.
    """
    samples = data if train is None else data.subset(train)
    work = probe["epochs"] * len(samples) * data.positions
    ensemble = Ensemble(
        probe["network"], data.shape, data.num_classes, seeds("probe", seed, 1), data.device,
        positions=work, stacked=False,
    )  # fmt: skip
    if probe["epochs"]:
        recipe = Recipe(probe["epochs"], probe["lr"], probe["momentum"], 0.0, probe["batch"])
        fit(ensemble, samples, recipe, on_epoch=lambda epoch: report(epoch + 1) if report else None)
    ensemble.train(False)
    (member,) = ensemble.members
    with torch.no_grad():
        parts = torch.arange(len(data), device=data.device).split(PASS)
        features = torch.cat([member.embed(images) for part in parts for images in split(data.batch(part))])
        return LastLayer(features, member.classifier(features), data.labels)


def _options(**own: Any) -> Callable[[ImageData | str], dict[str, Any]]:
    """The probe's options, without those of many networks, then the method's own."""
    return lambda data: {**{k: v for k, v in probe_options(data).items() if k not in ("trials", "together")}, **own}


class _Steps:
    """Progress over the epochs of the training run and then over the samples."""

    def __init__(self, progress: Report | None, data: ImageData, epochs: int) -> None:
        self.progress, self.epochs, self.samples = progress, epochs, len(data)
        self.counts = [count for count in data.counts().tolist() if count]

    def trained(self, epochs: int) -> None:
        self._report(epochs, 0, f"epoch {epochs} of {self.epochs}")

    def classes(self, done: int) -> None:
        self._report(self.epochs, sum(self.counts[:done]) / self.samples, f"class {done} of {len(self.counts)}")

    def taken(self, done: int, total: int) -> None:
        self._report(self.epochs, done / total, "selecting")

    def _report(self, epochs: int, share: float, note: str) -> None:
        if self.progress:  # half for each
            trained = epochs / self.epochs if self.epochs else 1
            self.progress(int(500 * (trained + share)), 1000, note)


def _scores(orders: Sequence[Tensor], data: ImageData, seed: int) -> Tensor:
    """What no method took follows in random order."""
    rng = torch.Generator().manual_seed(seed)
    groups = [data.of_class(c) for c in range(data.num_classes) if len(data.of_class(c))]
    return coresets.ranks(
        [coresets.completed(order, members, rng) for order, members in zip(orders, groups, strict=True)], len(data)
    )


def herding(data: ImageData, seed: int, progress: Report | None, **probe: Any) -> Tensor:
    steps = _Steps(progress, data, probe["epochs"])
    layer = last_layer(data, None, seed, steps.trained, **probe)
    orders = []
    for members in layer.classes():
        orders.append(members[coresets.herding(layer.features[members], len(members))])
        steps.classes(len(orders))
    return _scores(orders, data, seed)


def craig(data: ImageData, seed: int, progress: Report | None, *, gradient: str, **probe: Any) -> Tensor:
    coresets.check_gradient(gradient)
    steps = _Steps(progress, data, probe["epochs"])
    layer = last_layer(data, None, seed, steps.trained, **probe)
    return _scores(coresets.craig(layer, gradient, steps.classes), data, seed)


def gradmatch(
    data: ImageData, seed: int, progress: Report | None,
    *, budget: float, lam: float, eps: float, picks: str, gradient: str, **probe: Any,
) -> Tensor:  # fmt: skip
    """Warns of how many samples within the budget the pursuit, stopping early, left to chance."""
    coresets.check_gradmatch(budget, picks, gradient)
    steps = _Steps(progress, data, probe["epochs"])
    layer = last_layer(data, None, seed, steps.trained, **probe)
    orders = coresets.gradmatch(layer, budget, lam=lam, eps=eps, picks=picks, gradient=gradient, progress=steps.classes)
    wanted = [target(budget, len(members)) for members in layer.classes()]
    missing = sum(wanted) - sum(len(order) for order in orders)
    if missing:
        warnings.warn(
            f"gradmatch: {missing} of {sum(wanted)} samples within the budget follow at random, as the pursuit "
            f"stopped early (lam = {lam}, eps = {eps}); fewest taken in a class: {min(map(len, orders))}",
            stacklevel=2,
        )
    return _scores(orders, data, seed)


def glister(
    data: ImageData, seed: int, progress: Report | None,
    *, validation: float, eta: float, rounds: int, scope: str, gradient: str, **probe: Any,
) -> Tensor:  # fmt: skip
    """The held-out samples, which cannot be taken, come last in their class."""
    coresets.check_glister(rounds, scope, gradient)
    held = held_out(data, validation, seed)
    train = all_but(held, len(data))
    steps = _Steps(progress, data, probe["epochs"])
    layer = last_layer(data, train, seed, steps.trained, **probe)
    chooser = layer.subset(train)
    judge = layer.subset(held) if len(held) else chooser
    orders = coresets.glister(
        chooser, judge, eta=eta, rounds=rounds, scope=scope, gradient=gradient, progress=steps.taken
    )
    return _scores([train[order] for order in orders], data, seed)


def held_out(data: ImageData, share: float, seed: int) -> Tensor:
    """Indices of floor(share x class size) random samples of each class, int64, sorted.

    Raises InputError for a share outside [0, 1).

    >>> from bilp_core import load
    >>> from bilp_core.indicators.coresets import held_out
    >>> train, _ = load("digits")
    >>> held = held_out(train, 0.1, seed=0)
    >>> train.subset(held).counts().tolist()
    [13, 13, 13, 13, 13, 13, 13, 13, 13, 13]
    """
    if not 0 <= share < 1:
        raise InputError(f"validation = {share}: the share of each class held out must be in [0, 1)")
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for c in range(data.num_classes):
        members = data.of_class(c)
        parts.append(
            members[torch.randperm(len(members), generator=rng)[: removed(share, len(members))].to(data.device)]
        )
    return torch.cat(parts).sort().values


def all_but(held: Tensor, count: int) -> Tensor:
    """The indices below `count` that are not in `held`, int64, sorted.

    >>> import torch
    >>> from bilp_core.indicators.coresets import all_but
    >>> all_but(torch.tensor([0, 3]), 5).tolist()
    [1, 2, 4]
    """
    return torch.ones(count, dtype=torch.bool, device=held.device).index_fill(0, held, False).nonzero().flatten()


INDICATORS = {
    "craig": Indicator(
        "CRAIG: order in which facility location takes the samples of a class (supplement Sec. 3)",
        craig,
        _options(gradient="logits"),
        least=UNTRAINED,
        choices={"gradient": GRADIENTS},
    ),
    "gradmatch": Indicator(
        "GradMatch: order in which matching pursuit takes the samples of a class (supplement Sec. 3)",
        gradmatch,
        _options(budget=0.7, lam=0.5, eps=1e-4, picks="positive", gradient="layer"),
        least=UNTRAINED,
        choices={"gradient": GRADIENTS, "picks": PICKS},
    ),
    "glister": Indicator(
        "GLISTER: order in which samples lower the loss of held-out ones most (supplement Sec. 3)",
        glister,
        _options(validation=0.1, eta=0.01, rounds=1000, scope="all", gradient="layer"),
        least=UNTRAINED,
        choices={"gradient": ("layer", "logits"), "scope": SCOPES},
    ),
    "herding": Indicator(
        "herding: order in which it takes the samples of a class", herding, _options(), least=UNTRAINED
    ),
}
