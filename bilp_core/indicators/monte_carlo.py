"""Monte-Carlo utility: how well what is distilled from random subsets does, averaged for each sample in them.

A run draws a random subset of every class, distils it, trains fresh networks on the result and takes their accuracy
on the class. The utility of a sample is the mean of its class's accuracy over the runs that drew it. Small utility is
to be dropped (preview code of the paper), and larger must mean harder here: the score is 1 - utility.

Unpublished, so ours: the draw goes through a shuffled class part by part, so that the numbers of times two samples are
drawn differ by one at most if the part divides the class; if not, each shuffle leaves out a rest. Accuracy is taken on
the data being scored, not on test data; a sample that was never drawn gets the mean of its class over all runs. One
sample among many moves an accuracy little, so within a class this is a small signal in noise that falls with the square
root of the runs.

Cost: `runs` distillations of `iterations`, each with the training of `repeats` networks and their pass over the data.
The defaults on data other than digits, 100 runs, are meant for a GPU.

>>> import torch
>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> few = train.subset(torch.arange(100))
>>> scores = score(few, "monte-carlo", runs=2, ratio=0.5, iterations=2, epochs=5)
>>> scores.shape, bool((scores >= 0).all() and (scores <= 1).all())
(torch.Size([100]), True)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.images import ImageData
from ..data.whitening import with_whitening
from ..distillers import make
from ..distillers.loop import distill
from ..errors import InputError
from ..evaluation.protocols import protocol
from ..nets.ensemble import Ensemble, TensorSamples
from ..nets.networks import evaluation_spec
from ..nets.probe import probe_for
from ..nets.training import fit
from ..pruning.classwise import removed
from ..utils.progress import Report
from ..utils.seeds import seeds
from .base import Indicator
from .finished import Finished

SMALL = 2000  # samples of a folder up to which it is taken for as small as our digits


def draw(data: ImageData, ratio: float, run: int, seed: int) -> Tensor:
    """Indices of the samples of one run: of each class a random share 1 - ratio, at least one; int64, sorted.

    Consecutive runs take consecutive parts of a shuffled class, and shuffle it again when less than a part is left:
    then all its samples were drawn once if the part divides the class, all but that rest if not.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.indicators.monte_carlo import draw
    >>> few = load("digits").train.subset(torch.arange(100))  # ten of each class
    >>> runs = [draw(few, 0.8, run, seed=0) for run in range(5)]
    >>> [len(drawn) for drawn in runs], torch.equal(torch.cat(runs).sort().values, torch.arange(100))
    ([20, 20, 20, 20, 20], True)
    """
    chosen = []
    for c, count in enumerate(data.counts().tolist()):
        size = count - removed(ratio, count)
        if size:
            turn, part = divmod(run, count // size)
            rng = torch.Generator().manual_seed(seeds(f"monte-carlo class {c}", seed, turn + 1)[turn])
            shuffled = torch.randperm(count, generator=rng)[part * size : (part + 1) * size]
            chosen.append(data.of_class(c)[shuffled.to(data.device)])
    return torch.cat(chosen).sort().values


def utilities(drawn: Sequence[Tensor], accuracies: Sequence[Tensor], labels: Tensor) -> Tensor:
    """The accuracy of a sample's class in each run that drew it, nan in the others: float64 [runs, N].

    drawn : for each run the indices it drew. accuracies : for each run the accuracy of each class, [classes].

    >>> import torch
    >>> from bilp_core.indicators import over_trials
    >>> from bilp_core.indicators.monte_carlo import utilities
    >>> drawn = [torch.tensor([0, 3]), torch.tensor([1, 3])]
    >>> accuracies = [torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.75])]
    >>> labels = torch.tensor([0, 0, 0, 1, 1])
    >>> rows = utilities(drawn, accuracies, labels)
    >>> rows.tolist()
    [[0.5, nan, nan, 0.25, nan], [nan, 1.0, nan, 0.75, nan]]
    >>> over_trials(rows, labels)[0].tolist()  # what no run drew has the mean of its class over all runs
    [0.5, 1.0, 0.75, 0.5, 0.5]
    """
    rows = torch.full((len(drawn), len(labels)), float("nan"), dtype=torch.float64)
    for row, indices, accuracy in zip(rows, drawn, accuracies, strict=True):
        row[indices] = accuracy.double()[labels[indices]]
    return rows


def class_accuracies(
    data: ImageData, subset: Tensor, seed: int, *, method: str, iterations: int, ipc: int, network: str, repeats: int,
    epochs: int,
) -> Tensor:  # fmt: skip
    """Accuracy of each class of `data` under networks trained on what is distilled from `subset`: [classes], CPU."""

    made = distill(make(method, iterations=iterations), data.subset(subset), ipc, network=network, seed=seed)
    judge = evaluation_spec(network)
    recipe = protocol(
        method, data, judge, ipc=ipc, factor=made.formation.factor, learned_lr=made.meta.get("lr"), epochs=epochs
    ).recipe()
    data = with_whitening(data, made.whitening)
    samples = TensorSamples(*(tensor.to(data.device) for tensor in made.materialise()))
    batch = min(len(samples), recipe.batch)
    own = seeds("monte-carlo evaluation", seed, repeats)
    ensemble = Ensemble(judge, data.shape, data.num_classes, own, data.device, batch=batch)
    fit(ensemble, samples, recipe)
    ensemble.train(False)
    correct = torch.zeros(data.num_classes, device=data.device)
    with torch.no_grad():
        for picks in torch.arange(len(data), device=data.device).split(1024):
            labels = data.labels[picks]
            hits = (ensemble.logits(data.batch(picks)).argmax(-1) == labels).float().mean(0)
            correct.index_add_(0, labels, hits)
    return (correct / data.counts().clamp(min=1)).cpu()


def compute(
    data: ImageData, seed: int, progress: Report | None, finished: Finished, *, runs: int, ratio: float, **work: Any
) -> Tensor:
    if not 0 <= ratio < 1:
        raise InputError(f"ratio = {ratio}: the share left out of a run must be in [0, 1)")
    drawn, accuracies = [], []
    for run, own in enumerate(seeds("monte-carlo", seed, runs)):
        drawn.append(draw(data, ratio, run, seed).cpu())
        found = finished.get(run)
        if found is None:
            found = {"accuracy": class_accuracies(data, drawn[-1], own, **work)}
            finished.put({run: found})
        accuracies.append(found["accuracy"])
        if progress:
            progress(run + 1, runs, f"accuracy {100 * float(accuracies[-1].mean()):.1f} %")
    return 1 - utilities(drawn, accuracies, data.labels.cpu())


def options(data: ImageData | str) -> dict[str, Any]:
    """ratio : share of each class that a run leaves out. epochs : of the training on what was distilled."""
    named = data if isinstance(data, str) else data.named
    small = named == "digits" or (not isinstance(data, str) and not named and len(data) <= SMALL)
    return {
        "runs": 40 if small else 100,
        "ratio": 0.9,
        "method": "dm",
        "iterations": 20 if small else 100,
        "ipc": 1,
        "network": "mlp" if small else probe_for(data).network,
        "repeats": 1,
        "epochs": 50 if small else 100,
    }


INDICATOR = Indicator(
    "1 - utility: accuracy of what is distilled from random subsets with the sample (preview code; slow)",
    compute,
    options,
    trials="runs",
    partial=True,
)
