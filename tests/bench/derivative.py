"""Does the loss sort photographs as the norm of its derivative does?

    .venv/bin/python tests/bench/derivative.py DATA --out book/measurements/derivative.csv

The study of the chapter on the loss and its derivative, with the network that ranks in the preset `photos`.
"""

import argparse
import json
from pathlib import Path

from rows import destination

from bilp_core import trials
from bilp_core.data import load
from bilp_core.nets import Probe
from bilp_core.studies.derivative import by_epoch
from bilp_core.utils.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--network", default="convnet:width=32")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.01, 0.1])
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    train = load(args.data, need="train").train.to(trials.device())
    probe = Probe(trials=args.trials, epochs=args.epochs, lr=0.01, batch=128, network=args.network, together=1)
    with Progress("trainings") as bar:
        found = by_epoch(train, probe, args.seed, args.shares, bar)
    made = trials.provenance(trials.device()) | {"seed": args.seed}
    about = {"data": args.name or Path(args.data).name, "network": args.network}
    found.assign(**about, **made | {"versions": json.dumps(made["versions"])}).round(6).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
