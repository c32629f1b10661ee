r"""What the selection of a coreset takes at full size: seconds, memory, and samples left to chance.

    .venv/bin/python tests/bench/selection.py DATA --epochs 3 --lr 0.01 --batch 128 \
        --out book/measurements/selection.csv

One network is trained on DATA, or what it makes of the data is read from --layer, and written there where there is no
such file. Then each method chooses from its last layer, with the options it has by default, in a process of its own.
Seconds are the processor's, of one thread, so that other work on the machine changes little. Memory is the most that
this process held at a time, less what it held before it began, which includes the features and logits of all samples.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rows import destination, origin, write

from bilp_core import coresets, trials
from bilp_core.coresets.gradmatch import target
from bilp_core.data import load
from bilp_core.indicators import options_of
from bilp_core.indicators.coresets import all_but, held_out, last_layer

METHODS = ("craig", "gradmatch", "glister", "herding")
FIELDS = ("data", "method", "samples", "classes", "budget", "seconds", "clock", "peak_mb", "left_to_chance", "probe")


def choose(layer: coresets.LastLayer, method: str, options: dict, held: torch.Tensor) -> tuple[int, int]:
    """Samples that the method should take, and how many it took."""
    sizes = [len(members) for members in layer.classes()]
    if method == "craig":
        orders = coresets.craig(layer, options["gradient"])
    elif method == "herding":
        orders = [coresets.herding(layer.features[m], len(m)) for m in layer.classes()]
    elif method == "gradmatch":
        own = {name: options[name] for name in ("lam", "eps", "picks", "gradient")}
        orders = coresets.gradmatch(layer, options["budget"], **own)
        sizes = [target(options["budget"], size) for size in sizes]
    else:
        free = all_but(held, len(layer))
        own = {name: options[name] for name in ("eta", "rounds", "scope", "gradient")}
        orders = coresets.glister(layer.subset(free), layer.subset(held), **own)
        sizes = [len(free)]
    return sum(sizes), sum(len(order) for order in orders)


def one(method: str, place: Path, data: str) -> None:
    """In a process of its own: print seconds, MB and samples left to chance."""
    saved = torch.load(place, weights_only=True)
    layer = coresets.LastLayer(saved["features"], saved["logits"], saved["labels"])
    Path("/proc/self/clear_refs").write_text("5")  # the most it held so far is forgotten
    before = most_held()
    torch.set_num_threads(1)
    start = time.process_time()
    wanted, taken = choose(layer, method, options_of(method, data), saved["held"])
    seconds = time.process_time() - start
    print(seconds, most_held() - before, wanted - taken)


def most_held() -> float:
    """The most memory this process held at a time, in MB. Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a data set's name or a folder of images")
    parser.add_argument("--name", help="what to call the data in the table")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=destination, help="CSV file to write")
    parser.add_argument("--layer", type=Path, help="file of features, logits and labels")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args.one[0], Path(args.one[1]), args.data)
    about = origin("cpu")  # of the code that is loaded now
    trials.device()
    train = load(args.data).train
    probe = {**options_of("herding", args.data), "epochs": args.epochs, "lr": args.lr, "batch": args.batch}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = args.layer or Path(folder, "layer.pt")
        if not place.exists():
            layer = last_layer(train, None, 0, lambda epoch: print("epoch", epoch, file=sys.stderr), **probe)
            held = held_out(train, options_of("glister", args.data)["validation"], 0)
            parts = {"features": layer.features, "logits": layer.logits, "labels": layer.labels, "held": held}
            torch.save({**parts, "probe": str(probe)}, place)
        if (known := torch.load(place, weights_only=True).get("probe")) != str(probe):
            raise SystemExit(
                f"--layer {place}: of a network trained with {known}, not {probe}: remove it, or ask for the same"
            )
        for method in METHODS:
            command = [sys.executable, __file__, args.data, "--one", method, str(place)]
            seconds, peak, left = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            budget = options_of(method, args.data).get("budget", 1.0)
            values = (args.name or Path(args.data).name, method, len(train), train.num_classes, budget)
            found = (f"{float(seconds):.1f}", "cpu, 1 thread", f"{float(peak):.0f}", left)
            row = dict(zip(FIELDS, (*values, *found, f"{args.epochs} epochs, lr {args.lr}"), strict=True))
            rows.append(row | about)
            print(rows[-1], flush=True)
    if args.out:
        write(args.out, rows)
    return None


if __name__ == "__main__":
    main()
