"""The coresets that CORDS takes of photographs beside ours, and DC by its authors beside ours, from the same data.

    .venv/bin/python tests/bench/beside.py DATA --cords DIR --reference DIR --out book/measurements/beside.csv

Settings are those of the chapter `coresets`, preset `photos`, at the ratio at which it compares. Both sides choose from
the last layer of one network. `common` is the share of CORDS's samples that ours takes, too; `percentile` the mean
percentile of their loss under that network, inside a class. For `random`, both sides have the samples of seed 0.
GLISTER is left out: in CORDS it chooses among all classes at once, and may leave one empty.
A row goes into the table as soon as it is there; rows that are there are not run again.

--cords : a checkout of decile-team/cords, see `bench.py`. --reference : one of VICO-UoE/DatasetCondensation.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from others import Cords, Reference
from ours import Linear
from rows import destination, origin, read, write
from torch import Tensor
from torch.nn.functional import cross_entropy

from bilp_core import coresets, distill, keep, make, score
from bilp_core.book import planned
from bilp_core.data import ImageData, Splits, load
from bilp_core.evaluation import evaluate, protocol
from bilp_core.indicators import resolve
from bilp_core.indicators.coresets import last_layer
from bilp_core.studies.overlap import mean_percentile
from bilp_core.trials import Trial

GREEDY = ("craig", "gradmatch")


class Choosing:
    """What the two sides choose from."""

    def __init__(self, name: str, trial: Trial, train: ImageData) -> None:
        self.own = dict(resolve(name, train, trial.score))
        probe = {key: self.own.pop(key) for key in ("epochs", "lr", "batch", "network", "momentum")}
        self.layer = last_layer(train, None, 0, **probe)
        self.losses = cross_entropy(self.layer.logits, self.layer.labels, reduction="none")

    def ours(self, name: str, count: int) -> Tensor:
        """Indices among all samples: `count` of each class, in the order of our method."""
        orders = getattr(coresets, name)(self.layer, **self.own)
        return torch.cat([order[:count] for order in orders])

    def theirs(self, name: str, share: float, folder: str) -> Tensor:
        features, labels = self.layer.features, self.layer.labels
        selection = SimpleNamespace(
            model=Linear(*_linear(self.layer)),
            SHARE=share,
            count=len(labels),
            # its strategies ask for held-out samples even where they do not use them
            features=torch.cat([features, features[:1000]]),
            labels=torch.cat([labels, labels[:1000]]),
        )
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        picked, _ = getattr(Cords(folder, selection), name)()
        return torch.as_tensor([int(i) for i in picked])


def _linear(layer: coresets.LastLayer) -> tuple[Tensor, Tensor]:
    """Weight and bias that make the logits of the features."""
    ones = torch.ones(len(layer), 1)
    found = torch.linalg.lstsq(torch.cat([layer.features, ones], 1).double(), layer.logits.double()).solution.float()
    return found[:-1].T.contiguous(), found[-1]


def ours_on(picks: Tensor, trial: Trial, splits: Splits) -> list[float]:
    """Accuracies of our DC from the samples `picks`."""
    method = make(trial.method, **trial.options)
    made = distill(
        method, splits.train.subset(picks), trial.ipc, network=trial.network, init=trial.init, seed=trial.seed
    )
    recipe = protocol(trial.method, splits.test, trial.network, ipc=trial.ipc, **trial.evaluation)
    found = evaluate(made, splits.test, network=trial.network, protocol=recipe, repeats=5, seed=trial.seed)
    return list(found.values)


def theirs_on(picks: Tensor, trial: Trial, splits: Splits, folder: str) -> list[float]:
    """The same by the authors' code."""
    torch.manual_seed(trial.seed)
    width = trial.network.removeprefix("convnet:width=")
    reference = Reference(folder, splits.train.subset(picks), batch=256, model=f"ConvNetW{width}")
    for _ in range(trial.options["iterations"]):
        reference.dc_step()
    return reference.evaluate(splits.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--cords", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", type=destination, required=True)
    args = parser.parse_args()
    splits = load(args.data)
    own = planned("coresets", "photos", {"data": args.data})
    ratio = max(trial.ratio for trial in own)
    first = {t.criterion: t for t in own if t.ratio == ratio and t.seed == 0}
    rows, data = read(args.out), args.name or Path(args.data).name

    def add(criterion: str, side: str, accuracies: list[float], **more: object) -> None:
        row = {
            "data": data, "criterion": criterion, "side": side, "ratio": ratio,
            "accuracy": float(np.mean(accuracies)), "std": float(np.std(accuracies)), "common": "", "percentile": "",
            **more, **origin("cpu"),
        }  # fmt: skip
        rows.append({k: str(round(v, 5) if isinstance(v, float) else v) for k, v in row.items()})
        write(args.out, rows)
        print(rows[-1], flush=True)

    there = {(row["criterion"], row["side"]) for row in rows if row["data"] == data}
    drawn = first["random"]
    picks = keep(score(splits.train, "random", seed=0), splits.train.labels, ratio)
    if ("random", "ours") not in there:
        add("random", "ours", ours_on(picks, drawn, splits))
    if ("random", "theirs") not in there:
        add("random", "theirs", theirs_on(picks, drawn, splits, args.reference))
    for name in GREEDY:
        if {(name, "ours"), (name, "theirs")} <= there:
            continue
        choosing = Choosing(name, first[name], splits.train)
        sides = {"ours": choosing.ours(name, len(picks) // splits.train.num_classes)}
        sides["theirs"] = choosing.theirs(name, len(picks) / len(splits.train), args.cords)
        both = len({*sides["ours"].tolist()} & {*sides["theirs"].tolist()}) / len(sides["theirs"])
        known: dict[tuple[int, ...], list[float]] = {}  # the same samples give the same set
        for side, chosen in sides.items():
            percentile = mean_percentile(chosen, choosing.losses, splits.train.labels)
            print(name, side, len(chosen), both, percentile, flush=True)
            if (name, side) in there:
                continue
            samples = tuple(chosen.sort().values.tolist())
            accuracies = known[samples] = known.get(samples) or ours_on(torch.tensor(samples), first[name], splits)
            add(name, side, accuracies, common=float(both), percentile=float(percentile))


if __name__ == "__main__":
    main()
