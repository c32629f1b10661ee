"""How many of a batch survive adaptive pruning? Its law asks for 70 %; every fresh network upsets the running one.

    .venv/bin/python tests/bench/survivors.py DATA --name "CIFAR-10 (JPEG)" --out book/measurements/survivors.csv

On random numbers, from noise, as `bench.py` takes times without a folder, and on DATA, from what the method starts
from, as it takes them with one: a decision for each class at every round, as at IPC 1, in rounds that are as short as
they can be. Table 12's share is dropped, half of it at each end, by the running law and by that of the batch.
"""

import argparse
import statistics
from itertools import product
from typing import Any

import ours
import torch
from rows import destination, origin, write

from bilp_core.data import ImageData, load
from bilp_core.pruning import LAWS, Adaptive

RATE = 0.3
SHORT: dict[str, dict[str, Any]] = {
    "dc": {"outer": 1},
    "dsa": {"outer": 1},
    "dm": {},
    "idc": {"inner": 1, "network_images": 400},
}


def shares(
    method: str, data: ImageData, ipc: int, network: str, init: str | None, rounds: int, law: str = "running"
) -> list[float]:
    """What share of its batch every decision left."""
    options = {**SHORT[method], "iterations": rounds}
    run = ours.started(data, method, Adaptive(RATE, lazy=1, law=law), ipc, network, init, **options)
    run.state = run.method.prepare(run)
    found: list[float] = []
    for _ in range(rounds):
        before = run.batches.seen
        run.method.step(run)
        assert run.batches.seen - before == len(run.batches.survivors) * run.method.batch, "not one decision a class"
        found += [len(left) / run.method.batch for left in run.batches.survivors]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--name", help="how the data are called in the file; their own name if not given")
    parser.add_argument("--methods", nargs="+", default=list(SHORT), choices=SHORT)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--network", default="convnet:width=32")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=destination, help="CSV file to write", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, data, init in (
        ("random numbers", ours.cifar_shaped(ours.PER_CLASS, "cpu"), "noise"),
        (args.name or args.data, load(args.data).train, None),
    ):
        for method, law in product(args.methods, LAWS):
            found = shares(method, data, args.ipc, args.network, init, args.rounds, law)
            row = {"data": name, "method": method, "law": law, "ipc": args.ipc, "network": args.network}
            row |= {"asked": 1 - RATE, "decisions": len(found), "share": round(statistics.mean(found), 4)}
            row |= {"least": round(min(found), 4), "most": round(max(found), 4)}
            rows.append({**row, **origin("cpu")})
            print(row, flush=True)
            write(args.out, rows)


if __name__ == "__main__":
    main()
