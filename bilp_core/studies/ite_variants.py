"""How well, and how fast, the approximate ITE ranks the samples of a batch: Sec. 2 and Fig. 1 of the supplement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.images import ImageData
from ..distillers.matching import Separable
from ..distillers.run import Run
from ..pruning import ite

if TYPE_CHECKING:
    import pandas as pd


DROPPED = 0.3  # the share of a batch that Table 12 drops
DEFINITION = "by definition"  # a variant here: the loss recomputed without each sample in turn


def measure(
    method: Separable,
    data: ImageData,
    ipc: int,
    *,
    network: str = "convnet",
    init: str | None = None,
    rounds: int = 0,
    ages: Iterable[int] = (0,),
    labels: Iterable[int] = (0,),
    variants: Iterable[str] = tuple(ite.VARIANTS),
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> pd.DataFrame:
    """The ITE of every sample of one real batch, by each variant, for each network and class.

    rounds : of the method, on all of `data`, that the synthetic images have behind them; networks and batches do not
    depend on them.
    ages : for each network, SGD steps on real data (batches of 64, rate 0.01, momentum 0.9) since it was fresh.
    labels : the classes. variants : of `ite.Effect`, and `DEFINITION` (slow).
    Returns columns method, network (its number), age, class, variant, sample, effect, and seconds: what all effects
    of the batch took, the statistics of its samples included.
    Source: supplement Sec. 2; the variants are those of `pruning.ite`.

    >>> from bilp_core import load, make
    >>> from bilp_core.studies import ite_variants
    >>> train, _ = load("digits")
    >>> effects = ite_variants.measure(
    ...     make("dm", iterations=1, batch=16), train, ipc=1, network="convnet:depth=1,width=4", labels=[3],
    ...     variants=["exact", "taylor", ite_variants.DEFINITION],
    ... )
    >>> effects["variant"].value_counts().to_dict()
    {'exact': 16, 'taylor': 16, 'by definition': 16}
    """
    import pandas as pd

    rng = torch.Generator(data.device).manual_seed(seed)
    start = method.start(data, ipc, init or method.default_init, rng, network)
    run = Run(method.resolved(data, ipc), data, start, network, rng)
    run.state = run.method.prepare(run)
    ages, labels, variants = list(ages), list(labels), list(variants)
    drawn = run.draws
    for _ in range(rounds):
        run.method.step(run)
    run.draws = drawn  # the networks and batches that images without rounds meet
    rows: list[pd.DataFrame] = []
    done = 0
    for number, age in enumerate(ages):
        run.fresh_network()
        _train(run, age)
        for label in labels:
            picks = run.batches.indices(label)
            drawn = run.draws
            for variant in variants if not rows else ():
                _effects(run, label, picks[:2], variant)  # what only a first call costs is not timed
            for variant in variants:
                run.draws = drawn  # every variant sees the same augmentation
                begin = time.perf_counter()
                effects = _effects(run, label, picks, variant).cpu()
                seconds = time.perf_counter() - begin
                rows.append(
                    pd.DataFrame(
                        {
                            "method": method.name,
                            "network": number,
                            "age": age,
                            "class": data.classes[label],
                            "variant": variant,
                            "sample": picks.cpu(),
                            "effect": effects,
                            "seconds": seconds,
                        }
                    )
                )
                done += 1
                if progress:
                    progress(done, len(ages) * len(labels) * len(variants), f"{method.name} {variant}")
    return pd.concat(rows, ignore_index=True)


def errors(effects: pd.DataFrame, against: str = "exact") -> pd.DataFrame:
    """One row a method, network, class and variant: the ranking error against another variant, the overlap with it, and
    seconds.

    effects : as `measure` gives them. The overlap is the share of the samples that go where a share of `DROPPED`, half
    of it at each end, is dropped, which go with the other variant, too: what counts in the end.
    Source: supplement Sec. 2; the overlap is ours.

    >>> import pandas as pd
    >>> from bilp_core.studies import ite_variants
    >>> batch = {"method": "dm", "network": 0, "age": 0, "class": "cat", "seconds": 1.0}
    >>> rows = [{**batch, "variant": "exact", "effect": effect} for effect in (1.0, 2.0, 3.0)]
    >>> rows += [{**batch, "variant": "sketch", "effect": effect} for effect in (1.0, 3.0, 2.0)]
    >>> found = ite_variants.errors(pd.DataFrame(rows))
    >>> found[["variant", "error"]].round(3).values.tolist()
    [['exact', 0.0], ['sketch', 0.333]]
    """
    import pandas as pd

    rows = []
    batches = effects.groupby(["method", "network", "age", "class"], sort=False)
    for (name, number, age, label), batch in batches:
        values = dict(list(batch.groupby("variant", sort=False)))
        truth = torch.tensor(values[against]["effect"].to_numpy())
        for variant, part in values.items():
            found = torch.tensor(part["effect"].to_numpy())
            error, seconds = ite.rank_error(truth, found), part["seconds"].iloc[0]
            shared = len(_ends(truth) & _ends(found)) / max(len(_ends(truth)), 1)
            rows.append((name, number, age, label, variant, len(part), error, shared, seconds))
    columns = ["method", "network", "age", "class", "variant", "batch", "error", "overlap", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def after_rounds(frontier: pd.DataFrame) -> str:
    """The overlap of each sketch for images that have rounds of their method behind them, and before, on the same
    batches and networks, in words; empty if there are no such images.

    frontier : rows as `errors` gives them, with columns ipc and init, such as 'noise' and 'noise, 5 rounds'.

    >>> import pandas as pd
    >>> from bilp_core.studies import ite_variants
    >>> one = {"method": "dc", "ipc": 10, "network": 0, "age": 0, "class": "cat", "variant": "sketch"}
    >>> rows = [{**one, "init": "noise", "overlap": 0.95}, {**one, "init": "noise, 5 rounds", "overlap": 0.9}]
    >>> ite_variants.after_rounds(pd.DataFrame(rows))
    'DC at IPC 10, noise, 5 rounds (noise): `sketch` 90% (95%).'
    """
    batch = ["method", "ipc", "start", "variant", "network", "age", "class"]
    start = frontier["init"].str.replace(r", \d+ rounds$", "", regex=True)
    rows = frontier.assign(start=start)[frontier["variant"].str.match(r"(sketch|fine)\b")]
    later = rows[rows["init"] != rows["start"]]
    pairs = later.merge(rows[rows["init"] == rows["start"]], on=batch, suffixes=("", "_before"))
    sentences = []
    for (method, ipc, init, before), found in pairs.groupby(["method", "ipc", "init", "start"], sort=False):
        means = found.groupby("variant", sort=False)[["overlap", "overlap_before"]].mean()
        shares = ", ".join(f"`{row.Index}` {row.overlap:.0%} ({row.overlap_before:.0%})" for row in means.itertuples())
        sentences.append(f"{str(method).upper()} at IPC {ipc}, {init} ({before}): {shares}.")
    return " ".join(sentences)


def _ends(effects: Tensor) -> set[int]:
    """Indices of the smallest and the largest effects."""
    each, order = round(DROPPED / 2 * len(effects)), effects.argsort().tolist()
    return set(order[:each]) | set(order[len(order) - each :])


def _effects(run: Run, label: int, picks: Tensor, variant: str) -> Tensor:
    method = run.method
    assert isinstance(method, Separable)
    if variant != DEFINITION:
        effect = ite.Effect.read(variant)
        return effect.norms(method.treatments(run, label, picks, effect.top), run.rng)
    drawn = run.draws

    def loss(subset: Tensor) -> Tensor:
        run.draws = drawn
        return method.loss_against(run, label, picks[subset])

    return ite.leave_one_out(loss, run.images, len(picks))


def _train(run: Run, steps: int) -> None:
    optimizer = torch.optim.SGD(run.net.parameters(), 0.01, 0.9)
    for _ in range(steps):
        picks = torch.randint(len(run.data), (64,), generator=run.rng, device=run.rng.device)
        optimizer.zero_grad()
        F.cross_entropy(run.net(run.data.batch(picks)), run.data.labels[picks]).backward()
        optimizer.step()
