"""How good is a synthetic set: the accuracy of fresh networks trained on it alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev

from . import augment
from .data import ImageData
from .errors import InputError
from .networks import parse
from .options import merged
from .synthetic import SyntheticSet
from .training import Ensemble, Recipe, TensorSamples, fit, measure, seeds

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Protocol:
    """An evaluation's settings. `epochs` counts as the reference does: it trains epochs + 1 times, and after
    epoch epochs // 2 + 1 the learning rate falls to a tenth with a fresh optimiser.

    test_every : epochs between two points of the test curves; 0 tests only at the end.
    """

    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augment: str = "none"
    test_every: int = 0

    def recipe(self) -> Recipe:
        return Recipe(
            epochs=self.epochs + 1,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch=self.batch,
            drop_after=self.epochs // 2 + 1,
            augment=self.augment,
        )


def protocol(method: str, data: ImageData, network: str = "convnet", **overrides: object) -> Protocol:
    """The protocol that `method` was published with.

    dc       : 300 epochs without augmentation; but 1000 with one random crop, scaling or rotation an image on
               MNIST and on our small digits, with crop or noise for a ConvNet with BatchNorm.
    dsa, dm  : 1000 epochs with DSA augmentation, without flip on digit data.
    Raises InputError for an unknown override, naming those there are.
    """
    if method == "dc":
        strategy = "none"
        if data.name in ("mnist", "digits"):
            strategy = "dc:crop_scale_rotate"
        name, options = parse(network)
        if name == "convnet" and options.get("norm") == "batch":
            strategy = "dc:crop_noise"
    else:
        strategy = augment.dsa_strategy(data.flip)
    base = Protocol(epochs=300 if strategy == "none" else 1000, augment=strategy)
    return Protocol(**merged(f"the evaluation of {method!r}", asdict(base), overrides))


@dataclass(frozen=True)
class Accuracies:
    """values : test accuracy of each network, a fraction. curves : train_loss [epochs][K] (nats), and for the
    epochs in `test_epoch`, test_loss and test_accuracy, each [len(test_epoch)][K]."""

    values: list[float]
    curves: dict[str, list] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation, as the reference reports it."""
        return pstdev(self.values)


def evaluate(
    synthetic: SyntheticSet,
    test_data: ImageData,
    *,
    network: str = "convnet",
    protocol: Protocol,
    repeats: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Accuracies:
    """Train `repeats` fresh networks together on `synthetic` and test them on `test_data`.

    Network k of them depends on `seed` and k alone. Raises InputError when the two sets do not fit each other.
    """
    if repeats < 1:
        raise InputError(f"repeats = {repeats}: must be at least 1")
    images, labels = synthetic.materialise()
    if tuple(images.shape[1:]) != test_data.shape or synthetic.classes != test_data.classes:
        raise InputError(
            f"the synthetic set has {len(synthetic.classes)} classes of {list(images.shape[1:])} images, "
            f"{test_data.name} has {test_data.num_classes} of {list(test_data.shape)}: they must be the same classes"
        )
    device = test_data.device
    samples = TensorSamples(images.to(device), labels.to(device))
    recipe = protocol.recipe()
    area = images.shape[-2] * images.shape[-1]
    tests = 1 + (recipe.epochs // protocol.test_every if protocol.test_every else 0)
    ensemble = Ensemble(
        network,
        test_data.shape,
        test_data.num_classes,
        seeds("evaluation", seed, repeats),
        device,
        batch=min(len(samples), protocol.batch),
        positions=repeats * area * (recipe.epochs * len(samples) + tests * len(test_data)),
    )
    curves: dict[str, list] = {"test_epoch": [], "test_loss": [], "test_accuracy": []}

    def on_epoch(epoch: int) -> None:
        if protocol.test_every and (epoch + 1) % protocol.test_every == 0:
            accuracy, loss = measure(ensemble, test_data)
            curves["test_epoch"].append(epoch)
            curves["test_loss"].append(loss.tolist())
            curves["test_accuracy"].append(accuracy.tolist())
        if progress and (epoch + 1) % 10 == 0:
            progress(epoch + 1, recipe.epochs, "evaluating")

    history = fit(ensemble, samples, recipe, on_epoch=on_epoch)
    accuracy, _ = measure(ensemble, test_data)
    return Accuracies([float(a) for a in accuracy.double()], {"train_loss": history.tolist(), **curves})
