"""What stands beside an accuracy, so that it says something: chance, random real images, all of them."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch

from ..data.images import ImageData
from ..nets.ensemble import TensorSamples
from ..synthetic.initial import initial
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report
from ..utils.seeds import seeds
from .accuracies import Accuracies, judge_of, samples_of, seen, trained_on
from .protocols import Protocol, known, protocol

FULL_EPOCHS = 20  # that a training on all real images takes at least
CHECK_IMAGES, CHECK_EPOCHS, CHECK_POSITIONS = 1000, 300, 20_000_000


@dataclass(frozen=True)
class Beside:
    """What is to be read beside an accuracy.

    chance : as `chance`. images : real images a class that `real` was trained on. seed : of what is drawn.
    real : None where there is no training half, or it was not asked for; then `missing` says why.
    every : of all `count` training images, after `epochs`; None if not asked for.

    >>> from bilp_core.evaluation import Accuracies, Beside
    >>> Beside(0.1, 1, 0, real=Accuracies([0.3, 0.32])).verdict(Accuracies([0.5, 0.52]))
    'the set is better than as many random real images by 20.00 points'
    """

    chance: float
    images: int
    seed: int
    real: Accuracies | None = None
    every: Accuracies | None = None
    count: int = 0
    epochs: int = 0
    missing: str = ""

    def report(self) -> dict[str, Any]:
        """JSON values."""
        found: dict[str, Any] = {"chance": self.chance}
        if self.real:
            about = {"mean": self.real.mean, "std": self.real.std, "accuracies": self.real.values}
            found["random_real"] = {**about, "images_per_class": self.images, "seed": self.seed}
        if self.every:
            found["all_real"] = {"accuracy": self.every.mean, "images": self.count, "epochs": self.epochs}
        return found

    def lines(self, found: Accuracies) -> list[str]:
        """In words, beside what was found of the synthetic set."""
        lines = [f"chance {100 * self.chance:.2f} %"]
        if self.missing:
            lines.append(f"not compared with real images: {self.missing}")
        if self.real:
            draws = len(self.real.values)
            what = f"{self.images} random real image{'s' * (self.images > 1)} a class"
            lines.append(
                f"{what} {self.real}, same network and protocol ({draws} draw{'s' * (draws > 1)}, seed {self.seed})"
            )
        if self.every:
            lines.append(f"all {self.count} real images {self.every} (1 network, {self.epochs} epochs)")
        return [*lines, self.verdict(found)]

    def verdict(self, found: Accuracies) -> str:
        remedy = "more iterations, another method, network or --set image_lr may help (see bilp methods)"
        if hardly(found.mean, self.chance):
            return f"the set is next to chance: {remedy}"
        if not self.real:
            return "without real images to compare with, nothing more can be said"
        gain = found.mean - self.real.mean
        spread = (found.std**2 / len(found.values) + self.real.std**2 / len(self.real.values)) ** 0.5
        if gain <= 2 * spread:
            return f"the set is not clearly better than as many random real images: {remedy}"
        return f"the set is better than as many random real images by {100 * gain:.2f} points"


def beside(
    synthetic: SyntheticSet,
    train: ImageData,
    test: ImageData,
    *,
    network: str,
    protocol: Protocol,
    repeats: int = 5,
    full: bool = False,
    seed: int = 0,
    progress: Report | None = None,
) -> Beside:
    """Chance, `repeats` networks on random real images (none for 0), and if `full` one on all of them.

    train : may be empty: then there is only chance.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import Accuracies, Protocol, beside
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> settings = dict(network="convnet:depth=1,width=8", protocol=Protocol(epochs=5, lr=0.1), repeats=2)
    >>> found = beside(made, train.subset(torch.arange(0)), test, **settings)
    >>> for line in found.lines(Accuracies([0.3])):
    ...     print(line)
    chance 10.11 %
    not compared with real images: the data have no training half
    without real images to compare with, nothing more can be said
    """
    ipc = stored(synthetic)
    least = int(train.counts().min()) if len(train) else 0
    missing = "" if repeats else "it was not asked for"
    if not len(train):
        missing = "the data have no training half"
    elif repeats and least < ipc:
        name = train.classes[int(train.counts().argmin())]
        missing = f"class {name!r} has {least} of them, and {ipc} are needed"
    real, every, epochs = None, None, 0
    settings: Any = {"network": network, "protocol": replace(protocol, test_every=0), "seed": seed}
    if not missing:
        real = random_real(synthetic, train, test, repeats=repeats, progress=progress, **settings)
    if full and len(train):
        every, epochs = all_real(synthetic, train, test, progress=progress, **settings)
    return Beside(chance(test), ipc, seed, real, every, len(train), epochs, missing)


def hardly(accuracy: float, by_chance: float) -> bool:
    """Whether an accuracy is next to chance: a fifth of the way from there to 1 at most, and at most three times it.

    >>> from bilp_core.evaluation import hardly
    >>> hardly(0.25, 0.1), hardly(0.31, 0.1), hardly(0.35, 0.25), hardly(0.01, 0.001)
    (True, False, True, False)
    """
    return accuracy < min(by_chance + 0.2 * (1 - by_chance), 3 * by_chance)


def taught(synthetic: SyntheticSet, data: ImageData, *, seed: int = 0) -> float:
    """The share of the real images it was made of that a network trained on the set names right: a quick look.

    By the protocol of its method, but no longer than CHECK_POSITIONS allow; on CHECK_IMAGES images at most.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import taught
    >>> from bilp_core.synthetic import initial
    >>> train, _ = load("digits")
    >>> made = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> 0.4 < taught(made, train) < 1
    True
    """
    data = seen(synthetic, data)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    _, network, recipe = judged_by(synthetic, data)
    samples = samples_of(synthetic, recipe, data.device)
    most = max(50, CHECK_POSITIONS // (len(samples) * data.positions))
    recipe = replace(recipe, epochs=min(recipe.epochs, CHECK_EPOCHS, most))
    return trained_on(samples, data.subset(order[:CHECK_IMAGES]), network, recipe, seeds("taught", seed, 1)).mean


def chance(data: ImageData) -> float:
    """The accuracy of always naming the class that has most of the samples.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation import chance
    >>> round(chance(load("digits").test), 2)
    0.1
    """
    return int(data.counts().max()) / max(len(data), 1)


def random_real(
    synthetic: SyntheticSet,
    train: ImageData,
    test: ImageData,
    *,
    network: str,
    protocol: Protocol,
    repeats: int = 5,
    seed: int = 0,
    progress: Report | None = None,
) -> Accuracies:
    """What `evaluate` would give for as many random images of `train` a class as `synthetic` stores.

    Each of the `repeats` networks is trained on a draw of its own; draw k follows from `seed` and k alone.
    Raises InputError where a class has too few images.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import Protocol, random_real
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=2, init="noise", rng=torch.Generator().manual_seed(0))
    >>> settings = dict(network="convnet:depth=1,width=8", protocol=Protocol(epochs=20, lr=0.1), repeats=2)
    >>> random_real(made, train, test, **settings).mean > 0.3  # by chance 0.1
    True
    """
    train, test = seen(synthetic, train), seen(synthetic, test)
    ipc = stored(synthetic)
    found = []
    for k, own in enumerate(seeds("real images", seed, repeats)):
        drawn = initial(train, ipc, "real", torch.Generator(train.device).manual_seed(own))
        found += trained_on(TensorSamples(drawn.images, drawn.labels), test, network, protocol, [own]).values
        if progress:
            progress(k + 1, repeats, "random real images")
    return Accuracies(found)


def all_real(
    synthetic: SyntheticSet,
    train: ImageData,
    test: ImageData,
    *,
    network: str,
    protocol: Protocol,
    seed: int = 0,
    progress: Report | None = None,
) -> tuple[Accuracies, int]:
    """The accuracy of one network trained on all of `train`, and the epochs it had.

    As many steps as on `synthetic`, but at least 20 epochs, and never more than the protocol has.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import Protocol, all_real
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=1, init="noise", rng=torch.Generator().manual_seed(0))
    >>> judged = Protocol(epochs=3, lr=0.1, batch=64)
    >>> found, epochs = all_real(made, train, test, network="convnet:depth=1,width=8", protocol=judged)
    >>> found.mean > 0.5, epochs
    (True, 3)
    """
    train, test = seen(synthetic, train), seen(synthetic, test)
    steps = protocol.epochs * ceil(len(synthetic.materialise()[0]) / protocol.batch)
    epochs = min(protocol.epochs, max(FULL_EPOCHS, ceil(steps / ceil(len(train) / protocol.batch))))
    settings = replace(protocol, epochs=epochs, test_every=0)
    return trained_on(train, test, network, settings, seeds("all real images", seed, 1), progress), epochs


def stored(synthetic: SyntheticSet) -> int:
    """Stored images a class; the mean, rounded, where classes differ. Of a parameterised set: the images a class that
    have as many numbers. Of a set that was exported decoded: as many as there were.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import stored
    >>> from bilp_core.synthetic import initial
    >>> stored(initial(load("digits").train, ipc=2, init="noise", rng=torch.Generator().manual_seed(0)))
    2
    """
    decoded = synthetic.meta.get("decoded", {})
    return int(decoded.get("ipc", 0)) or max(1, round(synthetic.budget))


def judged_by(
    synthetic: SyntheticSet, data: ImageData, method: str | None = None, network: str | None = None, **options: Any
) -> tuple[str, str, Protocol]:
    """Method, network and protocol by which a set is evaluated on data. method, network : None for its own.

    options : of the protocol, to change. A learning rate that was learned with the set counts by its own method only.
    Raises InputError for an unknown method or option.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import judged_by
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=1, init="real", rng=torch.Generator().manual_seed(0))
    >>> method, network, recipe = judged_by(made, test, network="mlp", epochs=7)
    >>> method, network, recipe.epochs
    ('dm', 'mlp', 7)
    """
    own = known(str(synthetic.meta.get("method", "dm")))
    method, network = known(method) if method else own, network or judge_of(synthetic)
    recipe = protocol(
        method, data, network, ipc=stored(synthetic), factor=factor_of(synthetic),
        learned_lr=synthetic.meta.get("lr") if method == own else None, **options,
    )  # fmt: skip
    return method, network, recipe


def factor_of(synthetic: SyntheticSet) -> int:
    """The factor of its formation, by which a protocol may go; of a set that was exported decoded, what it was.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.evaluation import factor_of
    >>> from bilp_core.synthetic import Formation
    >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    >>> factor_of(SyntheticSet(images, labels, ("cat", "dog"), (0.5,), (0.25,), formation=Formation(2)))
    2
    """
    return int(synthetic.meta.get("decoded", {}).get("factor", synthetic.formation.factor))
