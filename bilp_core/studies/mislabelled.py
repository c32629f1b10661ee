"""A standard test of indicators: do they find images that were given a wrong label on purpose?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from ..data.images import ImageData
from ..errors import InputError
from ..indicators import options_of, resolve, score
from ..nets import Ensemble, Recipe, fit, measure
from ..pruning import keep, removed
from ..utils.seeds import seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def flipped(data: ImageData, share: float, rng: Generator) -> tuple[ImageData, Tensor]:
    """The data with the labels of a share of each class changed to another, drawn at random; and which, bool [N].

    share : in (0, 1); floor(share x size) images of each class change. rng : on the CPU.
    Raises InputError for another share, where there is a single class, or where no image would change.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.studies.mislabelled import flipped
    >>> train = load("digits").train
    >>> noisy, wrong = flipped(train, 0.1, torch.Generator().manual_seed(0))
    >>> int(wrong.sum()), bool((noisy.labels[wrong] != train.labels[wrong]).all())
    (130, True)
    """
    if not 0 < share < 1:
        raise InputError(f"share = {share:g} of labels to change: must be in (0, 1)")
    labels = data.labels.cpu()
    present = labels.unique()
    if len(present) < 2:
        raise InputError("labels can only be changed where there are two classes or more")
    changed, wrong = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    for c in present:
        members = (labels == c).nonzero().flatten()
        chosen = members[torch.randperm(len(members), generator=rng)[: removed(share, len(members))]]
        others = present[present != c]
        changed[chosen] = others[torch.randint(len(others), (len(chosen),), generator=rng)]
        wrong[chosen] = True
    if not wrong.any():
        raise InputError(f"share = {share:g} of labels to change: no class is large enough for a single image")
    return replace(data, labels=changed.to(data.labels.device)), wrong


def detection(scores: Tensor, wrong: Tensor, labels: Tensor) -> dict[str, float]:
    """Area under the ROC curve of finding the wrong ones by their large scores: 1/2 is chance, 1 all found first.

    scores : [N]. wrong : bool [N]. labels : int64 [N], as the indicator saw them.
    `overall` is over all samples, `classes` the mean of the areas inside the classes, where pruning takes place; a
    class that has none of the wrong, or only wrong ones, is left out.
    Raises InputError where there are none, or only wrong ones, at all.
    Source: the ROC curve's area is scikit-learn's `roc_auc_score`.

    >>> import torch
    >>> from bilp_core.studies.mislabelled import detection
    >>> wrong, labels = torch.tensor([True, False, True, False]), torch.tensor([0, 0, 1, 1])
    >>> detection(torch.tensor([3.0, 2.0, 1.0, 0.0]), wrong, labels)  # class 1 lies below class 0
    {'overall': 0.75, 'classes': 1.0}
    """
    from sklearn.metrics import roc_auc_score

    def area(part: Tensor) -> float | None:
        mixed = 0 < int(wrong[part].sum()) < int(part.sum())
        return float(roc_auc_score(wrong[part].numpy(), scores[part].numpy())) if mixed else None

    overall = area(torch.ones_like(wrong))
    inside = [value for c in labels.unique() if (value := area(labels == c)) is not None]
    if overall is None or not inside:
        raise InputError("there is no class with both right and wrong labels: nothing can be found")
    return {"overall": overall, "classes": sum(inside) / len(inside)}


def accuracies(
    train: ImageData, test: ImageData, scores: Mapping[str, Tensor], shares: Sequence[float], recipe: Recipe,
    *, network: str, repeats: int = 2, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Accuracy on the test half after removing so much of each class, from either end of each score.

    shares : removed, in [0, 1). recipe : of a training on everything; on less it has as many more epochs as keep the
    number of samples seen, so that no curve falls for want of steps.
    Columns: score, removed ('largest' or 'smallest'), share, value and std in per cent, over `repeats` networks.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.nets import Recipe
    >>> from bilp_core.studies.mislabelled import accuracies
    >>> train, test = load("digits")
    >>> found = accuracies(train, test, {"mean": train.images.float().mean((1, 2, 3))}, [0.5], Recipe(2, 0.05),
    ...                    network="convnet:depth=1,width=4")
    >>> found[["score", "removed", "share"]].values.tolist()
    [['mean', 'largest', 0.5], ['mean', 'smallest', 0.5]]
    """
    import pandas as pd

    rows, own, known = [], seeds("mislabelled", seed, repeats), dict[bytes, Tensor]()
    for name, values in scores.items():
        for end in ("largest", "smallest"):
            for share in shares:
                kept = keep(values, train.labels.cpu(), share, end)
                found = known.get(kept.numpy().tobytes())  # where nothing goes, the same is left by all
                if found is None:
                    left = train.subset(kept)
                    longer = replace(recipe, epochs=max(1, round(recipe.epochs * len(train) / len(left))))
                    ensemble = Ensemble(network, train.shape, train.num_classes, own, train.device, batch=recipe.batch)
                    fit(ensemble, left, longer)
                    found = known[kept.numpy().tobytes()] = 100 * measure(ensemble, test)[0].double().cpu()
                rows.append((name, end, share, float(found.mean()), float(found.std(correction=0))))
    return pd.DataFrame(rows, columns=["score", "removed", "share", "value", "std"])


def scored_by(
    data: ImageData, names: Sequence[str], options: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]] | None = None, *, seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """The scores of each indicator, float32 [N].

    options : each indicator takes those it has. own : what it has beside, by its name.
    Raises InputError as `score` does, for any of them before the first is scored.

    >>> from bilp_core import load
    >>> from bilp_core.studies.mislabelled import scored_by
    >>> few = dict(trials=1, epochs=1, network="convnet:depth=1,width=4")
    >>> list(scored_by(load("digits").train, ["loss", "random"], few))
    ['loss', 'random']
    """
    chosen = {}
    for name in names:
        has = options_of(name, data)
        chosen[name] = {key: value for key, value in options.items() if key in has} | dict((own or {}).get(name, {}))
        resolve(name, data, chosen[name])
    return {name: score(data, name, seed=seed, **chosen[name]) for name in names}


def curves(table: pd.DataFrame) -> Figure:
    """`accuracies` as a picture: a panel for each score, a line for each end that goes.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies.mislabelled import curves
    >>> rows = [("loss", end, share, 90.0, 1.0) for end in ("largest", "smallest") for share in (0.1, 0.5)]
    >>> figure = curves(pd.DataFrame(rows, columns=["score", "removed", "share", "value", "std"]))
    >>> [axis.get_title() for axis in figure.axes], [line.get_label() for line in figure.axes[0].lines[:1]]
    (['loss'], ['the largest go'])
    >>> plt.close(figure)
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    from ..report.figures import style

    style()
    panels = list(table.groupby("score", sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(min(7.2, 1.2 + 2.6 * len(panels)), 2.8), sharey=True, squeeze=False
    )
    for axis, (name, part) in zip(axes.flat, panels, strict=True):
        for (end, line), colour, mark in zip(
            part.groupby("removed", sort=False), sns.color_palette(), "os", strict=False
        ):
            axis.plot(
                100 * line["share"], line["value"], color=colour, marker=mark, markersize=4, label=f"the {end} go"
            )
            low, high = line["value"] - line["std"], line["value"] + line["std"]
            axis.fill_between(100 * line["share"], low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(title=name, xlabel="removed of each class (%)")
    axes[0, 0].set_ylabel("test accuracy (%)")
    axes[0, 0].legend(frameon=False)
    return figure
