"""Which real batches? Random ones, those that adaptive pruning leaves, and representative ones, in equal time.

    .venv/bin/python tests/bench/batches.py DATA --out book/measurements/batches.csv
    .venv/bin/python tests/bench/batches.py DATA --out book/measurements/batches.csv --methods idc --ipc 10 --lazy 5 \
        --ways random adaptive "adaptive, by the top one" "adaptive, by the top four" "adaptive, by cotangents" \
        --options '{"inner": 10}' --minutes 6 --seeds 1

Each way runs, from the same seeds, until its time is out, to the nearest round. Time is the processor's, of all
threads, so that other work on the machine changes little; what is compiled is so before. A row goes into the table as
soon as it is there; rows that are there are not run again.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rows import destination

from bilp_core.data import load
from bilp_core.distillers import EarlyStop, distill, make
from bilp_core.evaluation import evaluate, protocol
from bilp_core.pruning import Adaptive, Representative
from bilp_core.studies.equal_time import EFFECTS
from bilp_core.trials import device, provenance

WAYS = {  # what is changed of Table 12's adaptive pruning; None: no such pruning
    "random": None,
    "adaptive, largest": {"tails": "largest"},
    "represent": None,
    **{way: {"effect": effect} for way, effect in EFFECTS.items()},
    **{f"{way}, law of the batch": {"effect": effect, "law": "batch"} for way, effect in EFFECTS.items()},
}
USUAL = ["random", "adaptive", "adaptive, largest", "represent"]
MOST = 10**6  # rounds: more than fit any time
KEY = ("data", "method", "network", "ipc", "batch", "lazy", "options", "evaluation", "seed")


def way(name: str, lazy: int) -> dict:
    """What `distill` is told."""
    if name == "represent":
        return {"represent": Representative(lazy)}
    return {} if WAYS[name] is None else {"adaptive": Adaptive(0.3, lazy=lazy, **WAYS[name])}


@dataclass(frozen=True)
class TimeOut(EarlyStop):
    """Ends with the round after which another half of one would be too much."""

    seconds: float = math.inf
    ends: list[float] = field(default_factory=lambda: [time.process_time()])

    def flat(self, losses: list[float]) -> bool:
        self.ends.append(time.process_time())
        begin, before, now = self.ends[0], *self.ends[-2:]
        return now - begin + (now - before) / 2 > self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--methods", nargs="+", default=["dm", "dc"])
    parser.add_argument("--network", default="convnet:width=32")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--lazy", type=int, default=10, help="steps of a class that one decision or clustering serves")
    parser.add_argument("--ways", nargs="+", default=USUAL, choices=WAYS, metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--options", type=json.loads, default={}, help="of the methods, as JSON")
    parser.add_argument("--evaluation", type=json.loads, default={}, help="changes to the protocol, as JSON")
    parser.add_argument("--minutes", type=float, default=4, help="of the processor, for each distillation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    train, test = load(args.data)
    name_of_data, out = args.name or Path(args.data).name, args.out
    rows = pd.read_csv(out).to_dict("records") if out.is_file() else []
    done = {tuple(str(row[k]) for k in KEY) for row in rows}
    for seed in range(args.seeds):
        for method in args.methods:
            for name in args.ways:
                row = {"data": name_of_data, "method": method, "network": args.network, "ipc": args.ipc}
                row |= {"batch": name, "lazy": args.lazy, "options": json.dumps(args.options), "seed": seed}
                row |= {"evaluation": json.dumps(args.evaluation)}
                if tuple(str(row[k]) for k in KEY) in done:
                    continue
                settings = {"ipc": args.ipc, "network": args.network, "seed": seed, **way(name, args.lazy)}

                distiller = make(method, iterations=MOST, **args.options)
                distill(distiller, train, early=EarlyStop(rounds=1), **settings)  # compiles, which is kept
                clock = TimeOut(plateau=1, seconds=60 * args.minutes)
                made = distill(distiller, train, early=clock, **settings)
                recipe = protocol(
                    method, test, args.network, ipc=args.ipc, factor=made.formation.factor, **args.evaluation
                )
                found = evaluate(made, test, network=args.network, protocol=recipe, seed=seed)
                row |= {"rounds": made.meta["rounds"], "seconds": clock.ends[-1] - clock.ends[0]}  # of the processor
                row |= {"accuracy": found.mean, "std": found.std, **provenance(device())}
                rows.append({**row, "versions": json.dumps(row["versions"])})
                pd.DataFrame(rows).round(6).to_csv(out, index=False)
                print(f"{method} {name} seed {seed}: {row['rounds']} rounds, {100 * found.mean:.1f} %", flush=True)


if __name__ == "__main__":
    main()
