"""Our steps beside the reference's, each side a process, turn by turn: medians, the ratio and its spread.

    make bench ARGS="--reference DIR --folder DIR --out book/measurements/bench.csv"

At least five pairs of runs a row; the spread is from the lower to the upper quartile of their ratios, `p` of Wilcoxon's
signed-rank test that ratios lie about 1 (0.06 is the least that five pairs can give). Before each run its process does
a fixed piece of plain PyTorch; what we take in such units tells this machine's mood from a change of ours, and `bench`
says where the last row of the same name in --history differs by more than a tenth and its noise. Rows are added
to --out as they are measured; nothing that is there goes.

The rows `adaptive-*` set as many loops as a decision of adaptive pruning serves (Table 12's settings for CIFAR-10: 10
at IPC 1, 5 at 10 and 50) beside the same without, by all synthetic images and by a few, DM by the finer sketch, by the
running law and by that of the batch. They have two classes of the ten, and so a fifth of the work: a network trains on
a fifth of the images, too. How many of a batch survive depends on what the images show (`survivors.py`), so they want
--folder: photographs, from what the method starts from, in place of random numbers;
`ite-*` the sketched ITE of a batch beside the definition, which recomputes the loss without each sample;
`loss-5-trials` the loss indicator (5 trials of 3 epochs, 2,000 images) beside five plain trainings with a DataLoader;
`mixed-loss` the loss indicator (2 trials of 3 epochs, 5,120 images) with BILP_SPEED=mixed beside the same with auto.

The rows `compiled-*` and `batched-*` are of what was tried and is not done (`attempts.py`), beside what is done.

The rows `select-*` set coreset selection, from features and logits to the order of the samples, beside CORDS, which
is asked for 30 % of the samples of the same linear layer. CRAIG and GLISTER here order all of them.

--large DIR, alone: what large data take on a disk with room, and whether that keeps to its bars (`large.py`); status 1
where it does not.

--reference : a checkout of VICO-UoE/DatasetCondensation; without it only our own times are measured.
--idc, --mtt : the same for one inner loop of IDC and ten student's steps of MTT, checkouts of
              snu-mllab/Efficient-Dataset-Condensation and of GeorgeCazenavette/mtt-distillation.
--cords     : a checkout of decile-team/cords; its solvers are imported past its packages, which need much that
              no longer installs. CRAIG there needs apricot-select, on the PYTHONPATH.
--folder    : an ImageFolder of CIFAR-10; without it loading from the cache is left out.
Other data are random numbers in CIFAR-10's shapes: speed does not depend on what an image shows. Network: ConvNet,
depth 3, width 128, instance norm. Our process keeps freed memory, as our commands do (`speed.prepare`); that of other
code is left as PyTorch makes it. Compiling happens in the warm-up and is not counted, as its cost is paid once.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path

import attempts
import checkouts
import history
import others
import ours
import torch
from rows import destination, origin
from talking import Process

from bilp_core.nets import speed
from bilp_core.pruning import LAWS, Adaptive
from bilp_core.studies import ite_variants

ROOT = Path(__file__).parents[2]
FEWEST = 5  # pairs of a row
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time, "events": None}  # the last is the GPU's own


@dataclass(frozen=True)
class Row:
    """What is compared: functions that build, on a device, what does the work of a side once.

    foreign : the other side is not this library, so its process stays as PyTorch makes it.
    warm    : what is done before, where the same once would take too long.
    """

    ours: Callable[[str], ours.Side]
    other: Callable[[str], ours.Side] | None
    foreign: bool = False
    warm: dict[str, Callable[[str], ours.Side]] | None = None


def all_rows(args: argparse.Namespace) -> dict[str, Row]:
    """The rows by name; nothing is built yet."""
    theirs = args.reference
    rows = {}
    for method, batch in (("dm", 256), ("dc", 64)):
        other = partial(others.reference_step, folder=theirs, method=method, batch=batch) if theirs else None
        rows[f"{method}-step"] = Row(partial(ours.step, name=method, batch=batch), other, foreign=True)
    for name, both, own in (
        ("idc", {"network_images": 2000}, {"inner": 1, "cutmix": "on"}),
        ("mtt", {"steps": 10}, {"stage": ours.Expert("convnet")}),
    ):
        folder = getattr(args, name)
        other = partial(getattr(checkouts, name), folder=folder, **both) if folder else None
        rows[f"{name}-step"] = Row(partial(ours.step, name=name, **both, **own), other, foreign=True)
    other = partial(others.reference_evaluation, folder=theirs) if theirs else None
    rows["evaluate-5-networks"] = Row(ours.evaluation, other, foreign=True)
    for name, loops, variant, own in (
        ("dc", "outer", "sketch", {}),
        ("dsa", "outer", "sketch", {}),
        ("dm", "rounds", "fine", {}),
        ("idc", "inner", "sketch", {"network_images": 400}),
    ):
        few_images = [variant, *(f"{variant}:top={few}" for few in (8, 4, 2, 1))]
        for (ipc, effect), law in product([(1, variant), *product((10, 50), few_images)], LAWS):
            lazy = 10 if ipc == 1 else 5  # as Table 12 has it for CIFAR-10
            without = partial(ours.step, name=name, ipc=ipc, classes=2, folder=args.folder, **{loops: lazy}, **own)
            size = "" if ipc == 1 else f"-ipc{ipc}"
            few = effect.removeprefix(variant).replace(":top=", "-top-")
            of_law = "" if law == "running" else f"-law-of-the-{law}"
            pruned = partial(without, adaptive=Adaptive(0.3, lazy, effect=effect, law=law))
            rows[f"adaptive-{name}{size}{few}{of_law}"] = Row(pruned, without)
    for ipc, images, steps in ((1, 10, 10), (10, 100, 3)):
        kinds = (attempts.Compiled, attempts.Student)
        sides = (partial(attempts.student, kind=kind, images=images, steps=steps) for kind in kinds)
        rows[f"compiled-mtt-ipc{ipc}"] = Row(*sides)
    for name in ("dc", "dm"):
        sides = (partial(attempts.products, name=name, together=together) for together in (True, False))
        rows[f"batched-{name}-ipc10"] = Row(*sides)
    for name in ("dc", "idc"):
        sketch, definition = (partial(ours.ite, name=name, variant=v) for v in ("sketch", ite_variants.DEFINITION))
        warm = {"ours": partial(sketch, batch=32), "other": partial(definition, batch=32)}
        rows[f"ite-{name}"] = Row(sketch, definition, warm=warm)
    five = {"per_class": 200, "trials": 5, "epochs": 3}
    plain = partial(others.plain_losses, **five)
    rows["loss-5-trials"] = Row(partial(ours.loss, batch=512, **five), plain, foreign=True)
    auto = partial(ours.loss, trials=2, epochs=3, batch=128)
    rows["mixed-loss"] = Row(partial(auto, speed_mode="mixed"), auto)
    for name in ("craig", "gradmatch", "glister"):
        other = partial(others.cords_selection, folder=args.cords, name=name) if args.cords else None
        rows[f"select-{name}"] = Row(partial(ours.selection, name=name), other, foreign=True)
    if args.folder:
        rows["load-cifar10-from-cache"] = Row(partial(ours.loading, folder=args.folder), None)
    return rows


# ---- one side, in a process of its own: what a process keeps (memory, threads, switches) is its own, too ------------


def work(row: Row, side: str, args: argparse.Namespace) -> None:
    """Build and warm up, then for each line read do it once and print the seconds."""
    if not (row.foreign and side == "other"):
        speed.prepare(args.device)
    warnings.filterwarnings("ignore")
    run = getattr(row, side)(args.device)
    (row.warm[side](args.device) if row.warm else run)()
    print("\nready", flush=True)
    unit = ours.unit(args.device)
    unit()
    for _ in sys.stdin:
        mood = seconds(unit, args.clock, args.device)
        print(f"\nseconds {seconds(run, args.clock, args.device)} {mood}", flush=True)


def seconds(run: ours.Side, clock: str, device: str) -> float:
    """What doing it once takes, to the end of what was asked of the GPU."""
    if clock == "events":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    now = CLOCKS[clock]
    begun = now()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return now() - begun


def worker(name: str, side: str, clock: str) -> Process:
    """The process of one side of a row, ready."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if clock == "cpu" else {}
    found = Process([sys.executable, *sys.argv, "--side", name, side], {**os.environ, **one_thread})
    found.heard("ready")
    return found


def compare(name: str, row: Row, runs: int, clock: str) -> dict:
    """Both sides in turn, `runs` times after a warm-up: seconds of the work, and of the unit before it."""
    with ExitStack() as open_ones:
        sides = [side for side in ("ours", "other") if getattr(row, side) is not None]
        workers = [open_ones.enter_context(worker(name, side, clock)) for side in sides]
        times = [[tuple(map(float, one.asked("seconds"))) for one in workers] for _ in range(runs)]
    return {"name": name, **history.summary(times), "clock": clock}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="checkout of VICO-UoE/DatasetCondensation")
    parser.add_argument("--idc", help="checkout of snu-mllab/Efficient-Dataset-Condensation")
    parser.add_argument("--mtt", help="checkout of GeorgeCazenavette/mtt-distillation")
    parser.add_argument("--cords", help="checkout of decile-team/cords")
    parser.add_argument("--folder", default="", help="ImageFolder of CIFAR-10")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=FEWEST, help=f"pairs a row, at least {FEWEST}")
    parser.add_argument("--only", nargs="+", default=["*"], help="rows by name, or by patterns such as 'adaptive-*'")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: of one thread, on a machine in use; events: CUDA's"
    )
    parser.add_argument("--out", type=destination, help="CSV file to add rows to")
    parser.add_argument("--history", type=Path, default=ROOT / "book/measurements/bench.csv")
    parser.add_argument(
        "--large", type=Path, metavar="DIR", help="folder on a disk with 5 GB of room: the bars of large data"
    )
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.large:  # in a process without torch, whose memory counts
        command = [sys.executable, str(Path(__file__).with_name("large.py")), "all", str(args.large)]
        raise SystemExit(subprocess.run([*command, *(["--out", str(args.out)] if args.out else [])]).returncode)
    if args.clock == "cpu" and args.device != "cpu":
        parser.error("--clock cpu measures a CPU: give --device cpu")
    if args.clock == "events" and args.device != "cuda":
        parser.error("--clock events measures a GPU: give --device cuda")
    if args.runs < FEWEST:
        parser.error(f"--runs {args.runs}: at least {FEWEST} pairs make a row")
    rows = all_rows(args)
    if args.side:
        return work(rows[args.side[0]], args.side[1], args)
    if args.out:
        history.check(args.out)
    about = origin(args.device)
    known = history.read(args.history)
    for name, row in rows.items():
        if any(fnmatchcase(name, pattern) for pattern in args.only):
            found = compare(name, row, args.runs, args.clock) | about | {"command": history.command(sys.argv[1:])}
            print(
                {key: found[key] for key in ("name", "ours_seconds", "reference_seconds", "ratio", "spread")},
                flush=True,
            )
            print(history.verdict(found, known), flush=True)
            if args.out:
                history.add(args.out, found)
    return None


if __name__ == "__main__":
    main()
