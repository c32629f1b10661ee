"""How good a synthetic set is: accuracies of fresh networks trained on it."""

import warnings
from dataclasses import dataclass, field, replace
from statistics import fmean, pstdev

import torch

from ..data import whitening
from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble, Epochs, Samples, TensorSamples
from ..nets.networks import check_frames, default_network, evaluation_spec
from ..nets.training import fit, measure
from ..nets.views import Viewed, views_of
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report, patience
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
    >>> str(found), str(Accuracies([0.5]))
    ('50.00 ± 25.00 %', '50.00 %')
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

    def __str__(self) -> str:
        """One network has no spread."""
        return f"{100 * self.mean:.2f}" + (f" ± {100 * self.std:.2f} %" if len(self.values) > 1 else " %")


def seen(synthetic: SyntheticSet, data: ImageData) -> ImageData:
    """`data` as the data were that `synthetic` was made of: normalised or whitened by those, mirrored where both may
    be, with the settings of the data set of ours that they were.

    Raises InputError where classes, their order, or sizes differ.

    >>> from dataclasses import replace
    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import seen
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=1, init="real", rng=torch.Generator().manual_seed(0))
    >>> darker = replace(test, mean=(0.1,), std=(0.9,))  # as a folder with other training images has it
    >>> torch.equal(seen(made, darker).batch(), test.batch())
    True
    """
    check_same(synthetic, data)
    flip = data.flip and bool(synthetic.meta.get("flip", True))
    named = str(synthetic.meta.get("named", data.named))
    data = replace(data, mean=synthetic.mean, std=synthetic.std, flip=flip, named=named)
    return whitening.with_whitening(data, synthetic.whitening)


def check_same(synthetic: SyntheticSet, data: ImageData) -> None:
    """Raise InputError where classes, their order, or sizes of the set and the data differ.

    >>> from dataclasses import replace
    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import check_same
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=1, init="noise", rng=torch.Generator().manual_seed(0))
    >>> check_same(made, test)
    >>> check_same(made, replace(test, classes=("zero", *test.classes[1:])))
    Traceback (most recent call last):
    bilp_core.errors.InputError: class 0 is '0' in the synthetic set and 'zero' in digits: they must be the same classes
    """
    shape, has = tuple(synthetic.images.shape[1:]), len(synthetic.classes)
    if synthetic.frames != data.frames:
        raise InputError(
            f"the synthetic set has {synthetic.frames} frames a sample, {data.name} has {data.frames}: must be the same"
        )
    if shape != data.shape or has != data.num_classes:
        raise InputError(
            f"the synthetic set has {has} classes of {list(shape)} images, {data.name} has {data.num_classes} of "
            f"{list(data.shape)}: they must be the same classes"
            + ("; --size changes a folder's" * (shape != data.shape))
        )
    for label, (ours, theirs) in enumerate(zip(synthetic.classes, data.classes, strict=True)):
        if ours != theirs:
            order = ", in the same order" if set(synthetic.classes) == set(data.classes) else ""
            raise InputError(
                f"class {label} is {ours!r} in the synthetic set and {theirs!r} in {data.name}: they must be the same "
                f"classes{order}"
            )


def evaluate(
    synthetic: SyntheticSet,
    test_data: ImageData,
    *,
    network: str | None = None,
    protocol: Protocol,
    repeats: int = 5,
    seed: int = 0,
    progress: Report | None = None,
) -> Accuracies:
    """Train `repeats` fresh networks together on `synthetic` and test them on `test_data`.

    network, protocol : what they are, and how they are trained; None: the network it was distilled with, BatchNorm
               replaced. progress : called with (epochs done, of all, note).
    Test images are normalised or whitened as those were that `synthetic` was made of, whatever `test_data` says; its
    labels may be soft.
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
    synthetic.check()
    for doubt in synthetic.doubts():
        warnings.warn(doubt, stacklevel=2)
    test_data = seen(synthetic, test_data)
    if protocol.loss in ("cross_entropy", "divergence") and synthetic.labels.ndim == 2 and (synthetic.labels < 0).any():
        raise InputError("some labels of the synthetic set are negative, so they are no shares: evaluate with loss=mse")
    network = network or judge_of(synthetic)
    samples = samples_of(synthetic, protocol, test_data.device)
    return trained_on(samples, test_data, network, protocol, seeds("evaluation", seed, repeats), progress)


def samples_of(synthetic: SyntheticSet, protocol: Protocol, device: torch.device | str) -> Samples:
    """What networks are trained on: the views that a teacher has labelled, where the set has them and the protocol
    wants them, else images and labels.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import Protocol
    >>> from bilp_core.evaluation.accuracies import samples_of
    >>> from bilp_core.synthetic import initial
    >>> made = initial(load("digits").train, ipc=1, init="noise", rng=torch.Generator().manual_seed(0))
    >>> len(samples_of(made, Protocol(), "cpu"))
    10
    """
    if synthetic.relabelled and views_of(protocol.augment):
        return synthetic.relabelled.samples(synthetic.images.to(device), protocol.temperature)
    images, labels = synthetic.materialise()
    return TensorSamples(images.to(device), labels.to(device))


def judge_of(synthetic: SyntheticSet) -> str:
    """The network that evaluates a set where none is named: the one it was distilled with, BatchNorm replaced.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import judge_of
    >>> from bilp_core.synthetic import initial
    >>> judge_of(initial(load("digits").train, ipc=1, init="noise", rng=torch.Generator().manual_seed(0)))
    'convnet:depth=2,width=32'
    """
    spec = synthetic.meta.get("network")
    channels, height, width = synthetic.images.shape[1:]
    return evaluation_spec(str(spec)) if spec else default_network((channels, height, width), synthetic.frames)


def trained_on(
    samples: Samples,
    test_data: ImageData,
    network: str,
    protocol: Protocol,
    seeds: list[int],
    progress: Report | None = None,
) -> Accuracies:
    """Accuracies on `test_data` of networks that are trained on any samples, one for each of the seeds."""
    if not seeds:
        raise InputError("repeats = 0: must be at least 1")
    if not len(test_data):
        raise InputError(f"{test_data.name} has no test images")
    check_frames(network, test_data.frames)
    if test_data.frames > 1 and (protocol.augment != "none" or protocol.cutmix):
        raise InputError(
            f"augment = {protocol.augment!r}, cutmix = {protocol.cutmix:g} of the evaluation: must be 'none' and 0, "
            f"since {test_data.name} has clips, of which no augmentation is defined"
        )
    recipe = protocol.recipe()
    if protocol.loss == "divergence" and not isinstance(samples, Epochs):
        recipe = replace(recipe, temperature=1.0)  # there is no teacher
    if views_of(protocol.augment):
        recipe = replace(recipe, augment="none")
        if not isinstance(samples, Epochs):
            classes, size = test_data.num_classes, test_data.shape[1:]
            samples = Viewed(samples, protocol.augment, classes, size, test_data.flip, seeds[0])
    tests = 1 + (recipe.epochs // protocol.test_every if protocol.test_every else 0)
    ensemble = Ensemble(
        network,
        test_data.shape,
        test_data.num_classes,
        seeds,
        test_data.device,
        batch=min(len(samples), protocol.batch),
        positions=len(seeds) * test_data.positions * (recipe.epochs * len(samples) + tests * len(test_data)),
        mixed=True,
    )
    curves: dict[str, list] = {"test_epoch": [], "test_loss": [], "test_accuracy": []}

    def on_epoch(epoch: int) -> None:
        if protocol.test_every and (epoch + 1) % protocol.test_every == 0:
            accuracy, loss = measure(ensemble, test_data)
            curves["test_epoch"].append(epoch)
            curves["test_loss"].append(loss.tolist())
            curves["test_accuracy"].append(accuracy.tolist())
        if progress and ((epoch + 1) % 10 == 0 or patience(progress) == 0):
            progress(epoch + 1, recipe.epochs, "evaluating")

    history = fit(ensemble, samples, recipe, on_epoch=on_epoch)
    accuracy, _ = measure(ensemble, test_data)
    return Accuracies([float(a) for a in accuracy.double()], {"train_loss": history.tolist(), **curves})
