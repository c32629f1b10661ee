"""How good a synthetic set is: accuracies of fresh networks trained on it."""

from dataclasses import dataclass, field
from statistics import fmean, pstdev

import torch

from ..data import whitening
from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble, TensorSamples
from ..nets.training import fit, measure
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report
from ..utils.seeds import seeds
from .protocols import Protocol


@dataclass(frozen=True)
class Accuracies:
    """values : test accuracy of each network, a fraction. curves : train_loss [epochs][K], of the protocol's loss, and
    for the epochs in `test_epoch`, test_loss (cross-entropy, nats) and test_accuracy, each [len(test_epoch)][K].

    >>> from bilp_core.evaluation import Accuracies
    >>> found = Accuracies([0.25, 0.75])
    >>> found.mean, found.std
    (0.5, 0.25)
    """

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
    progress: Report | None = None,
) -> Accuracies:
    """Train `repeats` fresh networks together on `synthetic` and test them on `test_data`.

    network, protocol : what they are, and how they are trained. progress : called with (epochs done, of all, note).
    Test images are whitened as those were that `synthetic` was made of; its labels may be soft.
    Network k of them depends on `seed` and k alone. Raises InputError when the two sets do not fit each other.
    Source: the protocols', see `protocol`; five repeats as in supplement Sec. 6.3.

    >>> import torch
    >>> import bilp_core
    >>> from bilp_core.evaluation import Protocol
    >>> from bilp_core.synthetic import initial
    >>> train, test = bilp_core.load("digits")
    >>> ten_each = initial(train, ipc=10, init="real", rng=torch.Generator().manual_seed(0))
    >>> found = bilp_core.evaluate(
    ...     ten_each, test, network="convnet:depth=1,width=8", protocol=Protocol(epochs=20, lr=0.1), repeats=2
    ... )
    >>> len(found.values), found.mean > 0.5  # by chance 0.1
    (2, True)
    """
    if repeats < 1:
        raise InputError(f"repeats = {repeats}: must be at least 1")
    images, labels = synthetic.materialise()
    if tuple(images.shape[1:]) != test_data.shape or synthetic.classes != test_data.classes:
        raise InputError(
            f"the synthetic set has {len(synthetic.classes)} classes of {list(images.shape[1:])} images, "
            f"{test_data.name} has {test_data.num_classes} of {list(test_data.shape)}: they must be the same classes"
        )
    if tuple(labels.shape) not in ((len(images),), (len(images), len(synthetic.classes))):
        raise InputError(f"labels {list(labels.shape)} of {len(images)} images: must be [M], or [M, classes] if soft")
    if not torch.isfinite(labels).all():
        raise InputError("some soft labels of the synthetic set are not finite")
    if protocol.loss == "cross_entropy" and labels.ndim == 2 and (labels < 0).any():
        raise InputError("some labels of the synthetic set are negative, so they are no shares: evaluate with loss=mse")
    device = test_data.device
    test_data = whitening.with_whitening(test_data, synthetic.whitening)
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
        mixed=True,
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
