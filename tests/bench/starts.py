r"""What compiling costs and gives: the first step with nothing kept, the first step of a later process, and a step.

    .venv/bin/python tests/bench/starts.py --out book/measurements/starts.csv

Each first step is that of a new process; `cold` has an empty folder for what torch compiles, `kept` the same folder
again. Steps after it are timed turn by turn with those of a process that compiles nothing. Compiling is forced, as long
runs choose it by themselves; rows `digits-*` are of small images, in batches that are larger than their classes. Freed
memory is kept, as our commands do. Processor's seconds of one thread for steps (medians), seconds on the wall for first
steps, in which the C++ compiler is a process of its own.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from functools import partial

import history
import ours
import torch
from rows import destination, origin, read, write
from talking import Process

from bilp_core.data import load
from bilp_core.nets import speed

PAIRS = 5
WHAT = {
    "dc": partial(ours.step, name="dc"),
    "dm": partial(ours.step, name="dm"),
    "idc": partial(ours.step, name="idc", inner=2, network_images=64),
    "digits-dc": lambda device: ours.step(device, "dc", data=load("digits").train),
    "digits-dm": lambda device: ours.step(device, "dm", data=load("digits").train),
}


def job(name: str) -> None:
    """The first step, and one more for each line read."""
    torch.set_num_threads(1)
    speed.prepare("cpu")
    run = WHAT[name]("cpu")
    begun = time.perf_counter()
    run()
    print("first", time.perf_counter() - begun, flush=True)
    for _ in sys.stdin:
        begun = time.process_time()
        run()
        print("step", time.process_time() - begun, flush=True)


def process(name: str, compiled: bool, kept: str) -> Process:
    """A new process with compiling forced or forbidden."""
    env = {**os.environ, "BILP_COMPILE": str(int(compiled)), "TORCHINDUCTOR_CACHE_DIR": kept}
    return Process([sys.executable, "-W", "ignore", __file__, "--job", name], env)


def measured(name: str) -> dict[str, str | int]:
    with tempfile.TemporaryDirectory() as kept:
        with process(name, True, kept) as alone:
            (cold,) = alone.heard("first")
        with process(name, True, kept) as compiling, process(name, False, kept) as plain:
            (warm,) = compiling.heard("first")
            plain.heard("first")
            times = [[float(one.asked("step")[0]) for one in (compiling, plain)] for _ in range(PAIRS)]
    ratios = [compiled / plain for compiled, plain in times]
    return {
        "what": name,
        "first_cold": f"{float(cold):.3g}",
        "first_kept": f"{float(warm):.3g}",
        "step": f"{statistics.median(compiled for compiled, _ in times):.3g}",
        "step_plain": f"{statistics.median(plain for _, plain in times):.3g}",
        "ratio": f"{statistics.median(ratios):.3f}",
        "spread": history.span(ratios),
        "pairs": PAIRS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--out", type=destination, help="CSV file to add rows to; a row of the same name goes")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        return job(args.job)
    about = origin("cpu")
    for name in args.only:
        row = measured(name) | about
        print(row, flush=True)
        if args.out:
            write(args.out, [*(old for old in read(args.out) if old["what"] != name), row])
    return None


if __name__ == "__main__":
    main()
