"""How many of a batch survive adaptive pruning? Its running law asks for 70 %; every fresh network upsets it.

    .venv/bin/python tests/bench/survivors.py DATA --name "CIFAR-10 (JPEG)" --out book/measurements/survivors.csv

On the random numbers that `bench.py` takes its times with, and on DATA beside them: a decision for each class at every
round, as at IPC 1, in rounds that are as short as they can be. Table 12's share is dropped, half of it at each end.
"""

import argparse
import statistics
from typing import Any

import ours
import torch
from rows import destination, origin, write

from bilp_core.data import ImageData, load
from bilp_core.distillers import Run, make
from bilp_core.pruning import Adaptive

RATE = 0.3
SHORT: dict[str, dict[str, Any]] = {
    "dc": {"outer": 1},
    "dsa": {"outer": 1},
    "dm": {},
    "idc": {"inner": 1, "network_images": 400},
}


def shares(method: str, data: ImageData, ipc: int, network: str, rounds: int) -> list[float]:
    """What share of its batch every decision left."""
    distiller = make(method, iterations=rounds, **SHORT[method]).resolved(data, ipc)
    rng = torch.Generator(data.device).manual_seed(0)
    start = distiller.start(data, ipc, distiller.default_init, rng, network)
    run = Run(distiller, data, start, network, rng, Adaptive(RATE, lazy=1))
    run.state = distiller.prepare(run)
    found: list[float] = []
    for _ in range(rounds):
        before = run.batches.seen
        distiller.step(run)
        assert run.batches.seen - before == len(run.batches.survivors) * distiller.batch, "not one decision a class"
        found += [len(left) / distiller.batch for left in run.batches.survivors]
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
    for name, data in (
        ("random numbers", ours.cifar_shaped(ours.PER_CLASS, "cpu")),
        (args.name or args.data, load(args.data).train),
    ):
        for method in args.methods:
            found = shares(method, data, args.ipc, args.network, args.rounds)
            row = {"data": name, "method": method, "ipc": args.ipc, "network": args.network, "asked": 1 - RATE}
            row |= {"decisions": len(found), "share": round(statistics.mean(found), 4)}
            row |= {"least": round(min(found), 4), "most": round(max(found), 4)}
            rows.append({**row, **origin("cpu")})
            print(row, flush=True)
            write(args.out, rows)


if __name__ == "__main__":
    main()
