"""Why rows of Table 1 differ: the luck of a random draw, and what the network had learned that chose a coreset.

    .venv/bin/python tests/bench/draws.py DATA --out book/measurements/draws.csv

Trials of the chapter `coresets`, preset `photos`, at the ratio at which it compares: random removal with many seeds,
and coresets from networks of several ages. Each row has what was kept: the mean percentile of its loss inside a class,
and the mean distance of its images relative to the class. Rows are added as trials finish; those that are in the table
are not run again, so the command can be stopped.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from rows import destination, read, write

from bilp_core import trials
from bilp_core.book import planned
from bilp_core.data import load
from bilp_core.pruning import relative_diversity
from bilp_core.studies.overlap import mean_percentile
from bilp_core.trials import Store, Trial
from bilp_core.trials.work import kept_indices

AGES = (0, 1, 2, 5, 15)  # epochs that the network has trained
COLUMNS = ["device", "date", "versions", "commit", "seed", "key"]


def asked(data: str, seeds: int, ages: Iterable[int]) -> list[tuple[str, Trial]]:
    """Trials by what they are tried for, most telling first."""
    own = planned("coresets", "photos", {"data": data})
    ratio = max(trial.ratio for trial in own)
    first = {t.criterion: t for t in own if t.ratio == ratio and t.seed == 0}
    draws = [("draw", replace(first["random"], seed=seed)) for seed in range(seeds)]
    coresets = [
        (str(age), replace(first[name], score={**first[name].score, "epochs": age}))
        for age in ages
        for name in ("gradmatch", "glister", "craig")
    ]
    return [("chosen", first["loss"]), *draws, *coresets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ages", type=int, nargs="+", default=AGES)
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    store, train = Store(), load(args.data, need="train").train
    wanted = asked(args.data, args.seeds, args.ages)
    rows = read(args.out)
    name = args.name or Path(args.data).name
    there = {(row["data"], row["study"], row["criterion"], row["seed"]) for row in rows}
    kept_indices(wanted[0][1], train, store)  # by the loss, by which all are judged
    losses = store.scores(wanted[0][1].score_key)
    assert losses is not None
    for study, trial in wanted:
        if (name, study, trial.criterion, str(trial.seed)) in there:
            continue
        record = trials.run([trial], store).iloc[0]
        kept = kept_indices(trial, train, store)
        row = {
            "data": name,
            "study": study,
            "criterion": trial.criterion,
            "ratio": trial.ratio,
            "accuracy": record["accuracy"],
            "std": record["std"],
            "percentile": mean_percentile(kept, torch.from_numpy(losses[0]), train.labels),
            "diversity": float(relative_diversity(train.images, train.labels, kept).mean()),
            **{name: record[name] for name in COLUMNS},
        }
        rows.append({k: str(round(v, 6) if isinstance(v, float) else v) for k, v in row.items()})
        write(args.out, rows)
        print(f"{study} {trial.criterion} seed {trial.seed}: {100 * row['accuracy']:.1f} %", flush=True)


if __name__ == "__main__":
    main()
