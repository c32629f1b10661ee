r"""How well the ITE of a few synthetic images ranks the samples of a batch, at one, ten and fifty images a class.

    .venv/bin/python tests/bench/frontier.py DATA --name "CIFAR-10 (JPEG)" --out book/measurements/frontier.csv

Real batches of four classes, networks after 0, 100 and 1,000 steps on real data. A cell, a method at an
IPC, is measured as a whole, so that its times are of one run; a cell that has every variant is not measured again. The
synthetic images are those that a set starts from: noise is much alike, real images (`--init real`) are not; or those
that so many rounds of the method make of them (`--rounds`; `init` names them then).
Seconds are the processor's, of one thread.
"""

import argparse
import time
from pathlib import Path

import torch
from rows import destination, origin, read, write

from bilp_core.data import load
from bilp_core.distillers import make
from bilp_core.studies import ite_variants

AGES, LABELS = (0, 100, 1000), (0, 3, 5, 8)
VARIANTS = ("exact", "sketch", "exact:top=1", "sketch:top=1", "sketch:top=2", "sketch:top=4", "probes", "cotangent")
BATCHES = {"idc": 64}  # real images of a class, where not 256
METHODS = ("dc", "dsa", "dm", "idc", "cafe", "idm")
FINE = ("fine", "fine:top=2", "fine:top=4")  # of those that match features, beside
OWN = {"dm": FINE, "cafe": FINE, "idm": FINE, "idc": ("sketch:top=8", "sketch:top=16")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--name", help="how the data are called in the file; their own name if not given")
    parser.add_argument("--out", type=destination, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--ipcs", nargs="+", type=int, default=[1, 10, 50])
    parser.add_argument("--network", default="convnet")
    parser.add_argument("--labels", nargs="+", type=int, default=LABELS, help="classes, by number")
    parser.add_argument("--init", help="how synthetic images start, if not as the method has it")
    parser.add_argument("--rounds", type=int, default=0, help="of the method before; 0 for a set as it starts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # what `measure` takes its times with
    train, name = load(args.data).train, args.name or Path(args.data).name
    found = read(args.out)
    for ipc in args.ipcs:
        for method in args.methods:
            distiller = make(method, iterations=max(args.rounds, 1), batch=BATCHES.get(method, 256))
            init = args.init or distiller.default_init
            images = f"{init}, {args.rounds} rounds" if args.rounds else init
            about = {"data": name, "ipc": str(ipc), "spec": args.network, "init": images}
            cell = about | {"method": method, "batch": str(distiller.batch)}
            there = [row for row in found if all(row[k] == v for k, v in cell.items())]
            matched = ipc * distiller.formation().factor ** 2
            few = [v for v in (*VARIANTS, *OWN.get(method, ())) if "=" not in v or int(v.split("=")[1]) < matched]
            if {row["variant"] for row in there} >= set(few):
                continue
            effects = ite_variants.measure(
                distiller, train, ipc, network=args.network, init=init, rounds=args.rounds, ages=AGES,
                labels=args.labels, variants=few,
                progress=lambda done, total, what: print(done, total, what, flush=True),
            )  # fmt: skip
            about |= {name: str(value) for name, value in origin("cpu").items()}
            rows = ite_variants.errors(effects).round({"error": 5, "overlap": 4, "seconds": 4}).astype(str)
            found = [row for row in found if row not in there]
            found += [{**row, **about} for row in rows.to_dict("records")]
            write(args.out, found)


if __name__ == "__main__":
    main()
