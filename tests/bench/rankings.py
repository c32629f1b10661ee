"""Does the ranking by loss hold on photographs? Agreement of halves of the trials, early, late, narrow and wide.

    .venv/bin/python tests/bench/rankings.py DATA --out book/measurements/rankings.csv --beside LossConverge FILE.json

The study of the chapter `rankings`, preset `photos`. Trials that are finished are kept in the store, so the command can
be stopped, and goes on when it is given again. The table is written after each network. `--beside` compares with scores
that somebody else has made of the same samples in the same order, or class by class, as `bilp compare` reads them.
"""

import argparse
import json
from pathlib import Path

from rows import destination

from bilp_core import book, trials
from bilp_core.data import load
from bilp_core.studies import rankings
from bilp_core.studies.score_files import read_scores
from bilp_core.utils.files import Unfinished
from bilp_core.utils.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--beside", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    chapter = next(each for each in book.chapters() if each.name == "rankings")
    own = book.settings(chapter, "photos")
    train = load(args.data, need="train").train.to(trials.device())
    labels, kept = train.labels.cpu(), Unfinished(trials.Store().scoring)
    probe = {name: value for name, value in own["score"].items() if name not in ("trials", "network")}
    count = own["score"]["trials"]
    beside = {name: read_scores(file).of(labels, train.name).expand(count, -1) for name, file in args.beside}
    kinds = {}
    for network in (own["score"]["network"], own["other_network"]):
        with Progress(network) as bar:
            # one at a time, so that each is kept as soon as it is finished
            options = {**own["score"], "network": network, "together": 1}
            found = rankings.losses(train, own["early"], progress=bar, kept=kept, **options)
        kinds |= {f"{name}, {network}": rows for name, rows in found.items()}
        table = rankings.agreements({**kinds, **beside}, labels, own["shares"], own["splits"])
        about = {"data": args.name or Path(args.data).name, "trials": count, "early": own["early"]}
        about |= {"probe": json.dumps(probe), "beside": ", ".join(beside)}
        made = trials.provenance(trials.device())
        table.assign(**about, **made | {"versions": json.dumps(made["versions"])}).round(6).to_csv(
            args.out, index=False
        )
        print(table.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
