"""Which real batches? Random ones, those that adaptive pruning leaves, and representative ones, in equal time.

    .venv/bin/python tests/bench/batches.py DATA --out book/measurements/batches.csv

A few rounds of each way are timed; then each gets as many rounds as fit the same time, from the same seeds. Time is
the processor's, of all threads, so that other work on the machine changes little. A row goes into the table as soon as
it is there; rows that are there are not run again.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd

from bilp_core.data import load
from bilp_core.distillers import distill, make
from bilp_core.evaluation import evaluate, protocol
from bilp_core.pruning import Adaptive, Representative
from bilp_core.trials import device, provenance

WAYS = {
    "random": {},
    "adaptive": {"adaptive": Adaptive(0.3, lazy=10)},
    "adaptive, largest": {"adaptive": Adaptive(0.3, lazy=10, tails="largest")},
    "represent": {"represent": Representative(10)},
}
TIMED = 20  # rounds more, which say how long one takes: two clusterings, two decisions


def seconds(method: str, data, settings: dict, way: dict, rounds: int):
    begin = time.process_time()
    made = distill(make(method, iterations=rounds), data, **settings, **way)
    return made, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--methods", nargs="+", default=["dm", "dc"])
    parser.add_argument("--network", default="convnet:width=32")
    parser.add_argument("--minutes", type=float, default=4, help="of the processor, for each distillation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", help="CSV file to write", required=True)
    args = parser.parse_args()
    train, test = load(args.data)
    name_of_data, out = args.name or Path(args.data).name, Path(args.out)
    rows = pd.read_csv(out).to_dict("records") if out.is_file() else []
    done = {(row["data"], row["method"], row["batch"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for method in args.methods:
            settings = {"ipc": 1, "network": args.network, "seed": seed}
            for name, way in WAYS.items():
                if (name_of_data, method, name, seed) in done:
                    continue
                # what a start takes, such as compiling, is in both
                short, long = (seconds(method, train, settings, way, rounds)[1] for rounds in (TIMED, 2 * TIMED))
                rounds = max(TIMED, round(TIMED * 60 * args.minutes / (long - short)))
                made, taken = seconds(method, train, settings, way, rounds)
                found = evaluate(made, test, protocol=protocol(method, test, args.network), seed=seed)
                row = {"data": name_of_data, "method": method, "network": args.network, "ipc": 1}
                row |= {"batch": name, "seed": seed, "rounds": rounds, "seconds": taken}  # of the processor
                row |= {"accuracy": found.mean, "std": found.std, **provenance(device())}
                rows.append({**row, "versions": json.dumps(row["versions"])})
                pd.DataFrame(rows).round(6).to_csv(out, index=False)
                print(f"{method} {name} seed {seed}: {rounds} rounds, {100 * found.mean:.1f} %", flush=True)


if __name__ == "__main__":
    main()
