"""Images, labels or protocol? The scores of DD-Ranking for every method.

    .venv/bin/python tests/bench/fair.py digits --out book/measurements/fair.csv

Each method distils with the settings that suit the data (`suited`), and the preset's where `--preset` names one; then
`fair` judges the set. A row goes into the table as soon as it is there; methods that have theirs are not run again.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from rows import destination

from bilp_core.data import load
from bilp_core.distillers import METHODS, distill, make, seen, suited
from bilp_core.evaluation import evaluate, fair, judge_of, protocol, stored
from bilp_core.trials import device, provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a name, or a folder of images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=300, help="of evaluations that are longer than that")
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    train, test = load(args.data)
    name = args.name or Path(args.data).name
    out = args.out
    rows = pd.read_csv(out).to_dict("records") if out.is_file() else []
    done = {(row["data"], row["method"], row["ipc"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for method in args.methods:
            if (name, method, args.ipc, seed) in done:
                continue
            distiller = make(method, **suited(method, train))
            real = seen(distiller, train, args.ipc)
            made = distill(distiller, real, args.ipc, seed=seed)
            network = judge_of(made)
            settings = {"ipc": stored(made), "factor": made.formation.factor, "learned_lr": made.meta.get("lr")}
            judged = protocol(method, test, network, **settings)
            judged = protocol(method, test, network, epochs=min(judged.epochs, args.epochs), **settings)
            own = evaluate(made, test, protocol=judged, repeats=3, seed=seed)
            found = fair(
                made, own, train, test, network=network, protocol=judged, repeats=3, epochs=args.epochs, seed=seed
            )
            row = {"data": name, "method": method, "ipc": args.ipc, "network": network, "seed": seed}
            row |= {key: value.mean for key, value in vars(found).items()}
            row |= {key: getattr(found, key) for key in ("hlr", "ior", "lrs", "ars")}
            row |= {"epochs": judged.epochs, "distilled": made.meta["seconds"], **provenance(device())}
            rows.append({**row, "versions": json.dumps(row["versions"])})
            pd.DataFrame(rows).round(6).to_csv(out, index=False)
            print(f"{method} seed {seed}: LRS {found.lrs:.3f}, ARS {found.ars:.3f}", flush=True)


if __name__ == "__main__":
    main()
