"""How far the first-order gradient of trajectory matching, TESLA's, is from the exact one, and what both cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..distillers.unrolling import Parameters, Student, checkpointed, first_order, matching_loss, plan
from ..report.figures import style


def first_order_errors(
    net: nn.Module, start: Parameters, target: Parameters, images: Tensor, labels: Tensor, *,
    steps: Sequence[int] = (1, 2, 5, 10, 20, 50), rates: Sequence[float] = (0.005, 0.02, 0.08),
    strategy: str = "none", seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row for each number of steps and step size (`lr`) of a student of all images.

    images : float32 [M, C, H, W]. labels : int64 [M], or probabilities. strategy : of augmentation, drawn from `seed`.
    Columns error : |first - exact| / |exact| of the gradient by images; cosine : of the angle between both; length :
    |first| / |exact|; by_lr : the relative error by the step size.

    >>> import torch
    >>> from bilp_core.nets import network
    >>> from bilp_core.studies.first_order import first_order_errors
    >>> rng = torch.Generator().manual_seed(0)
    >>> net = network("convnet:depth=1,width=4", (1, 8, 8), 2)
    >>> start = {name: 0.1 * torch.randn(p.shape, generator=rng) for name, p in net.named_parameters()}
    >>> target = {name: p + 0.1 * torch.randn(p.shape, generator=rng) for name, p in start.items()}
    >>> images, labels = torch.randn(4, 1, 8, 8, generator=rng), torch.tensor([0, 0, 1, 1])
    >>> rows = first_order_errors(net, start, target, images, labels, steps=[1, 5], rates=[0.01, 0.1])
    >>> small, large = (rows[(rows["lr"] == lr) & (rows["steps"] == 5)]["error"].item() for lr in (0.01, 0.1))
    >>> bool((rows[rows["steps"] == 1]["error"] < 1e-5).all()), 1e-4 < small < large
    (True, True)
    """
    net.train()
    finish, rows = partial(matching_loss, start=start, target=target), []
    for lr in rates:
        for count in steps:
            rng = torch.Generator().manual_seed(seed)
            leaf, rate = images.detach().clone().requires_grad_(), torch.tensor(lr).to(images).requires_grad_()
            size = (images.shape[2], images.shape[3])
            student = Student(net, leaf, labels, rate, plan(len(images), count, 0, strategy, size, rng))
            _, (exact, exact_lr) = checkpointed(student, start, finish, (leaf, rate))
            _, (first, first_lr) = first_order(student, start, finish, (leaf, rate))
            rows.append(
                {
                    "lr": lr,
                    "steps": count,
                    "error": float((first - exact).norm() / exact.norm()),
                    "cosine": float(nn.functional.cosine_similarity(first.flatten(), exact.flatten(), dim=0)),
                    "length": float(first.norm() / exact.norm()),
                    "by_lr": float((first_lr - exact_lr).abs() / exact_lr.abs()),
                }
            )
    return pd.DataFrame(rows)


def first_order_figure(rows: pd.DataFrame) -> Figure:
    """Left, the relative error of the first-order gradient by images over the student's steps, a line a step size;
    right, the cosine between both gradients.

    rows : as `first_order_errors` gives them.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies.first_order import first_order_figure
    >>> rows = pd.DataFrame({"lr": [0.01, 0.01], "steps": [2, 10], "error": [0.01, 0.1], "cosine": [1.0, 0.99]})
    >>> figure = first_order_figure(rows)
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.01, 0.1]
    >>> plt.close(figure)
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    for lr, own in rows.groupby("lr"):
        own = own.sort_values("steps")
        above = own[own["error"] > 1e-5]  # one step is exact: rounding is no error
        (line,) = left.plot(above["steps"], above["error"], marker="o", markersize=3, linewidth=1, label=f"step {lr:g}")
        right.plot(own["steps"], own["cosine"], marker="o", markersize=3, linewidth=1, color=line.get_color())
    left.set(xscale="log", yscale="log", ylabel="relative error")
    right.set(xscale="log", ylabel="cosine")
    for axis in (left, right):
        axis.set_xlabel("steps of the student")
        axis.set_xticks(sorted(set(rows["steps"])), labels=[f"{count:.0f}" for count in sorted(set(rows["steps"]))])
        axis.minorticks_off()
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


WAYS = {"unrolled": "exact, all steps at once", "checkpointed": "exact, step by step", "first-order": "first order"}


def costs(measured: pd.DataFrame) -> pd.DataFrame:
    """What gradients through a student took, to be shown: a row for each way and number of steps.

    measured : as `report.measurements("unrolling")`, with way, steps, seconds, held_mb and stated_mb.

    >>> import pandas as pd
    >>> from bilp_core.studies.first_order import costs
    >>> rows = [("first-order", 10, 1.5, 40, 42), ("unrolled", 10, 1.6, 300, 310)]
    >>> costs(pd.DataFrame(rows, columns=["way", "steps", "seconds", "held_mb", "stated_mb"])).values.tolist()
    [[10, 'exact, all steps at once', '1.60', '300', '310'], [10, 'first order', '1.50', '40', '42']]
    """
    found = measured.assign(place=measured["way"].map(list(WAYS).index)).sort_values(["steps", "place"])
    return pd.DataFrame(
        {
            "steps": found["steps"],
            "gradient": found["way"].map(WAYS),
            "seconds": found["seconds"].map("{:.2f}".format),
            "held (MB)": found["held_mb"].map("{:.0f}".format),
            "stated (MB)": found["stated_mb"].map("{:.0f}".format),
        }
    )


def costs_said(measured: pd.DataFrame) -> str:
    """The same in two sentences, of the most steps.

    >>> import pandas as pd
    >>> from bilp_core.studies.first_order import costs_said
    >>> rows = [("unrolled", 10, 2.0, 300, 310), ("checkpointed", 10, 2.5, 50, 42), ("first-order", 10, 1.5, 40, 42)]
    >>> print(costs_said(pd.DataFrame(rows, columns=["way", "steps", "seconds", "held_mb", "stated_mb"])))
    For 10 steps the exact gradient step by step takes 1.25 times as long as with all steps at once, and 17% of the
    memory. TESLA's takes 0.60 times as long as the exact one step by step, and 80% of its memory.
    """
    most = measured["steps"].max()
    at = measured[measured["steps"] == most].set_index("way")
    (whole, whole_mb), (exact, exact_mb), (first, first_mb) = (
        at.loc[way, ["seconds", "held_mb"]].astype(float) for way in WAYS
    )
    return (
        f"For {most} steps the exact gradient step by step takes {exact / whole:.2f} times as long as with all steps "
        f"at once, and {exact_mb / whole_mb:.0%} of the\nmemory. TESLA's takes {first / exact:.2f} times as long as "
        f"the exact one step by step, and {first_mb / exact_mb:.0%} of its memory."
    )
