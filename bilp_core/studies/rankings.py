"""Does a ranking hold? That from some trials against that from other trials, of the same kind or another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.images import ImageData, fingerprint
from ..errors import InputError
from ..indicators import early_loss, loss, over_trials, resolve
from ..indicators.finished import Finished
from ..indicators.recording import record
from ..nets import speed
from ..nets.probe import Probe
from ..utils.files import Unfinished
from ..utils.progress import Report
from ..utils.revisions import changed
from .comparing import SHARES, compare

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@contextmanager
def speed_mode(mode: str) -> Iterator[None]:
    """$BILP_SPEED is `mode` in the block, and what it was after it. Raises InputError for an unknown mode.

    >>> from bilp_core.nets import speed
    >>> from bilp_core.studies.rankings import speed_mode
    >>> with speed_mode("mixed"):
    ...     speed.mode()
    'mixed'
    """
    if mode not in speed.MODES:
        raise InputError(f"mode = {mode!r}: must be one of {', '.join(speed.MODES)}")
    before = os.environ.get("BILP_SPEED")
    os.environ["BILP_SPEED"] = mode
    try:
        yield
    finally:
        os.environ.pop("BILP_SPEED")
        if before is not None:
            os.environ["BILP_SPEED"] = before


def losses(
    data: ImageData, early: int, *, seed: int = 0, progress: Report | None = None, kept: Unfinished | None = None,
    **options: Any,
) -> dict[str, Tensor]:  # fmt: skip
    """The empirical loss, `late`, and the mean loss of the first `early` epochs, of each trial: [trials, N] each.

    options : of the indicator `loss`. One training serves both. kept : where trials are kept, to go on from.
    Raises InputError as `score` does, and for more early epochs than there are.

    >>> from bilp_core import load
    >>> from bilp_core.studies.rankings import losses
    >>> found = losses(load("digits").train, 1, trials=2, epochs=2, network="convnet:depth=1,width=4")
    >>> {name: tuple(rows.shape) for name, rows in found.items()}
    {'late': (2, 1352), 'early': (2, 1352)}
    """
    settings = resolve("loss", data, options)
    probe = Probe(**{name: settings[name] for name in Probe.names()})
    if not 1 <= early <= probe.epochs:
        raise InputError(f"early = {early}: must be from 1 to the {probe.epochs} epochs of a trial")
    watches = {"late": loss.watch(probe.epochs, settings["sigma"]), "early": early_loss.watch(early)}
    own = {name: value for name, value in settings.items() if name not in ("trials", "together")}
    about = {"losses": own, "early": early, "seed": seed, "data": fingerprint(data), **changed(["indicator:loss"])}
    return record(data, probe, seed, watches, progress, Finished(kept, about))


def agreements(
    kinds: Mapping[str, Tensor], labels: Tensor, shares: Sequence[float] = SHARES, splits: int = 5, seed: int = 0
) -> pd.DataFrame:
    """How far half of the trials of the first kind rank as the other half of each kind does, the first among them.

    kinds  : trials of each kind, [trials, N]; trial k of any kind has the same seed, so halves share none.
    shares : kept of each class, as in `compare`.
    Both sides are means over half of the trials, so that the first row, where the kind is the same, is what no other
    can be expected to surpass. Columns: kind; value and std, mean and population deviation over random splits of
    Spearman's correlation inside classes; share, both and chance, a row for each share.
    Raises InputError for fewer than two trials, or other numbers of them.

    >>> import torch
    >>> from bilp_core.studies.rankings import agreements
    >>> rng, labels = torch.Generator().manual_seed(0), torch.arange(2).repeat(200)
    >>> level = torch.rand(400, generator=rng)
    >>> kinds = {"a": level + torch.rand(4, 400, generator=rng), "b": torch.rand(4, 400, generator=rng)}
    >>> found = agreements(kinds, labels, shares=[0.1]).set_index("kind")
    >>> bool(found["value"]["a"] > 0.5 > 0.2 > found["value"]["b"]), bool(found["both"]["a"] > found["both"]["b"])
    (True, True)
    """
    import pandas as pd

    count = {len(rows) for rows in kinds.values()}
    if len(count) != 1 or (trials := count.pop()) < 2:
        raise InputError(f"trials of {', '.join(kinds)}: must be as many of each, at least two")
    rng, (first, *_) = torch.Generator().manual_seed(seed), kinds
    found = []
    for _ in range(splits):
        order = torch.randperm(trials, generator=rng)
        one, other = order[: trials // 2], order[trials // 2 : trials // 2 * 2]
        here = over_trials(kinds[first][one], labels)[0]
        for name, rows in kinds.items():
            report = compare(here, over_trials(rows[other], labels)[0], labels, shares)
            found += [{"kind": name, "correlation": report["mean"], **row} for row in report["kept"]]
    grouped = pd.DataFrame(found).groupby(["kind", "share"], sort=False)
    means = grouped.mean().rename(columns={"correlation": "value"})
    means.insert(1, "std", grouped["correlation"].std(ddof=0))
    return means.reset_index()


def kept_by_both(table: pd.DataFrame) -> Figure:
    """What both keep against the share kept, one line a kind, and chance. table : as `agreements` gives it.

    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from bilp_core.studies.rankings import kept_by_both
    >>> rows = [("a", 0.01, 0.3, 0.01), ("a", 0.1, 0.5, 0.1)]
    >>> figure = kept_by_both(pd.DataFrame(rows, columns=["kind", "share", "both", "chance"]))
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['a', 'by chance']
    >>> plt.close(figure)
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    from ..report.figures import style

    style()
    figure, axis = plt.subplots(figsize=(5.4, 3.2))
    looks = zip(sns.color_palette(), "osD^vPX<>", strict=False)
    for (name, part), (colour, marker) in zip(table.groupby("kind", sort=False), looks, strict=False):
        axis.plot(100 * part["share"], 100 * part["both"], color=colour, marker=marker, markersize=4, label=name)
    chance = table[table["kind"] == table["kind"].iloc[0]]
    axis.plot(100 * chance["share"], 100 * chance["chance"], color="0.5", linestyle="--", label="by chance")
    axis.set_xscale("log")
    axis.set_xticks([], minor=True)
    axis.set_xticks([1, 10, 40, 100], ["1", "10", "40", "100"])
    axis.set(xlabel="kept of each class (%)", ylabel="of it, kept by both (%)", ylim=(0, 103))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
