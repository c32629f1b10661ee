"""Does the loss sort samples as the norm of its derivative does? Asked in each epoch of a training."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from .. import report
from ..data.images import ImageData
from ..indicators.el2n import error_norm
from ..indicators.recording import Curve, Watch, cross_entropy, record
from ..nets import Probe
from ..utils.progress import Report
from .overlap import common


def common_share(a: Tensor, b: Tensor, share: float) -> float:
    """Of the `share` of samples that are largest by a, how many are among the largest by b. a, b : [N].

    >>> import torch
    >>> from bilp_core.studies.derivative import common_share
    >>> common_share(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 4.0, 2.0, 3.0]), share=0.5)
    0.5
    """
    count = max(1, round(share * len(a)))
    return common(a.topk(count).indices, b.topk(count).indices, a.new_zeros(len(a), dtype=torch.int64))


def by_epoch(
    data: ImageData, probe: Probe, seed: int, shares: Sequence[float], progress: Report | None = None
) -> pd.DataFrame:
    """Loss beside the norm of its derivative in the logits, over all training samples: a row a trial, epoch and share.

    shares : of the samples, in (0, 1).
    Columns: trial, epoch (from 1), loss (mean, nats), correlation (Spearman's), share, hardest and easiest: how much of
    that share with the largest, and with the smallest, the two orders have in common.
    Raises FloatingPointError when a trial diverges.
    Source: supplement Sec. 1.

    >>> from bilp_core import load
    >>> from bilp_core.nets import Probe
    >>> from bilp_core.studies.derivative import by_epoch
    >>> train, _ = load("digits")
    >>> found = by_epoch(train, Probe(trials=1, epochs=2, network="convnet:depth=1,width=4"), 0, [0.1])
    >>> found[["epoch", "share"]].values.tolist(), bool((found["correlation"] > 0.9).all())
    ([[1.0, 0.1], [2.0, 0.1]], True)
    """
    watches = {"loss": Watch(probe.epochs, cross_entropy, Curve), "norm": Watch(probe.epochs, error_norm, Curve)}
    curves = record(data, probe, seed, watches, progress)
    rows = []
    for trial in range(probe.trials):
        for epoch in range(probe.epochs):
            loss, norm = curves["loss"][trial, epoch], curves["norm"][trial, epoch]
            about = {"trial": trial, "epoch": epoch + 1, "loss": float(loss.mean())}
            about["correlation"] = float(spearmanr(loss, norm).statistic)
            for share in shares:
                ends = {"hardest": common_share(loss, norm, share), "easiest": common_share(-loss, -norm, share)}
                rows.append({**about, "share": share, **ends})
    return pd.DataFrame(rows)


def derivative_figure(found: pd.DataFrame) -> Figure:
    """Left the rank correlation by epoch, right what the two orders have in common at either end. found : see
    `by_epoch`; a line is the mean over trials.

    >>> import pandas as pd
    >>> from bilp_core.studies.derivative import derivative_figure
    >>> found = pd.DataFrame({"epoch": [1, 2], "correlation": 0.9, "share": 0.1, "hardest": 0.8, "easiest": 0.9})
    >>> figure = derivative_figure(found)
    >>> len(figure.axes[1].lines)
    2
    >>> import matplotlib.pyplot as plt
    >>> plt.close(figure)
    """
    report.style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.0))
    left.plot(found.groupby("epoch")["correlation"].mean(), "o-")
    left.set_ylabel("rank correlation")
    for share, part in found.groupby("share"):
        for end, line in (("hardest", "o-"), ("easiest", "s--")):
            right.plot(100 * part.groupby("epoch")[end].mean(), line, label=f"{end} {share:.0%}")
    right.set_ylabel("in common (%)")
    for axis in (left, right):
        axis.set_xlabel("epochs of training")
        axis.xaxis.get_major_locator().set_params(integer=True)
    report.legend(figure)
    return figure
