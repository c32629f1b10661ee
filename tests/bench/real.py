"""What random real images reach under each method's protocol: what a synthetic set must beat.

    .venv/bin/python tests/bench/real.py DATA --out book/measurements/real.csv

As many images as a set stores, drawn anew for each network, for the methods of the chapter `methods`, preset `photos`,
of which the store has a set. Rows are added as they are there; what is in the table is not run again.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from rows import destination

from bilp_core import trials
from bilp_core.book import planned
from bilp_core.data import load
from bilp_core.studies.methods import beside_real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--preset", default="photos")
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    train, test = (half.to(trials.device()) for half in load(args.data))
    store, name, out = trials.Store(), args.name or Path(args.data).name, args.out
    rows = pd.read_csv(out).to_dict("records") if out.is_file() else []
    done = {(row["data"], row["method"], row["ipc"]) for row in rows}
    stored = [t for t in planned("methods", args.preset, {"data": args.data}) if store.get(t) is not None]
    for trial in stored:
        if (name, trial.method, trial.ipc) in done:
            continue
        found = beside_real([trial], trials.run([trial], store), train, test)
        done.add((name, trial.method, trial.ipc))
        made = trials.provenance(trials.device()) | {"seed": trial.seed}
        about = {"data": name, "repeats": trial.repeats, "network": trial.network}
        rows += found.assign(**about, **made | {"versions": json.dumps(made["versions"])}).to_dict("records")
        pd.DataFrame(rows).round(4).to_csv(out, index=False)
        print(found.to_string(header=False), flush=True)


if __name__ == "__main__":
    main()
