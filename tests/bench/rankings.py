"""Does the ranking by loss hold on photographs? Agreement of halves of the trials, early, late, narrow and wide.

    .venv/bin/python tests/bench/rankings.py DATA --out book/measurements/rankings.csv

The study of the chapter `rankings`, preset `photos`. Trials that are finished are kept in the store, so the command can
be stopped, and goes on when it is given again. Rows are written as soon as there are two trials of a kind, of as many
trials as each kind then has.
"""

import argparse
import json
from pathlib import Path

import torch

from bilp_core import book, trials
from bilp_core.book import chapters
from bilp_core.data import load
from bilp_core.studies import rankings
from bilp_core.utils.files import Unfinished
from bilp_core.utils.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--trials", type=int, help="of each kind (those of the preset)")
    parser.add_argument("--out", help="CSV file to write", required=True)
    args = parser.parse_args()
    chapter = next(each for each in chapters() if each.name == "rankings")
    own = book.settings(chapter, "photos")
    train = load(args.data, need="train").train.to(trials.device())
    kept = Unfinished(trials.Store().scoring)
    most = args.trials or own["score"]["trials"]
    for count in range(2, most + 1, 2):
        kinds: dict[str, torch.Tensor] = {}
        for network in (own["score"]["network"], own["other_network"]):
            options = {**own["score"], "network": network, "trials": count}
            with Progress(f"{count} trials of {network}") as bar:
                found = rankings.losses(train, own["early"], progress=bar, kept=kept, **options)
            kinds |= {f"{name}, {network}": rows for name, rows in found.items()}
            table = rankings.agreements(kinds, train.labels.cpu(), own["shares"], own["splits"])
            probe = {name: value for name, value in own["score"].items() if name not in ("trials", "network")}
            about = {"data": args.name or Path(args.data).name, "trials": count, "early": own["early"]}
            about |= {"probe": json.dumps(probe), **trials.provenance(trials.device())}
            table.assign(**about).round(6).to_csv(args.out, index=False)
            print(table.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
