r"""What a gradient through a student's training takes: seconds, and memory, by the way it is found and by steps.

    .venv/bin/python tests/bench/unrolling.py --out book/measurements/unrolling.csv

A round of MTT at IPC 1 in CIFAR-10's shapes (random numbers: speed does not depend on what an image shows), ConvNet of
depth 3 and width 128, under the augmentation of DSA. Each way and number of steps is a process of its own; those of as
many steps take turns. Memory is the most that the process held in its first round, less what it held before, in which a
round of one step was run; `stated_mb` is what `distill` says beforehand. Seconds are medians: of one thread's CPU time
by default, on a machine in use; `load` is how many others wanted to run, the most that was seen.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from ours import CLASSES, cifar_shaped
from rows import destination, origin, write
from selection import most_held

from bilp_core.distillers.trajectory import WAYS
from bilp_core.distillers.unrolling import Student, matching_loss, plan, student_bytes
from bilp_core.nets import network, speed
from bilp_core.nets.augment import dsa_strategy

FIELDS = ("way", "steps", "seconds", "held_mb", "stated_mb", "images", "network", "runs", "clock", "load")
NET = "convnet"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def one(way: str, steps: int, clock: str) -> None:
    """In a process of its own: MB held and stated, then seconds for each line read."""
    speed.prepare("cpu")
    data, rng = cifar_shaped(2, "cpu"), torch.Generator().manual_seed(0)
    net = network(NET, data.shape, CLASSES)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    target = {name: p + 0.01 * torch.randn(p.shape, generator=rng) for name, p in start.items()}
    images, lr = data.batch()[:CLASSES].requires_grad_(), torch.tensor(0.01, requires_grad=True)
    labels, finish = torch.arange(CLASSES), partial(matching_loss, start=start, target=target)

    def turn(count: int) -> None:
        planned = plan(len(images), count, 0, dsa_strategy(flip=True), data.shape[1:], rng)
        WAYS[way](Student(net, images, labels, lr, planned), start, finish, (images, lr))

    turn(1)
    Path("/proc/self/clear_refs").write_text("5")  # the most it held so far is forgotten
    before = most_held()
    turn(steps)
    stated = student_bytes(net, data, len(images), steps, whole=way == "unrolled")
    print(most_held() - before, stated / 1e6, flush=True)
    for _ in sys.stdin:
        begin = CLOCKS[clock]()
        turn(steps)
        print(CLOCKS[clock]() - begin, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--out", type=destination, help="CSV file to write")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args.one[0], int(args.one[1]), args.clock)
    made, rows = origin("cpu"), []
    env = {**os.environ, "OMP_NUM_THREADS": "1"} if args.clock == "cpu" else {**os.environ}
    for steps in args.steps:
        sides, load = {}, 0.0
        for way in WAYS:
            command = [sys.executable, __file__, "--clock", args.clock, "--one", way, str(steps)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            sides[way] = (process, process.stdout.readline().split(), [])  # one after the other
        for _ in range(args.runs):
            for process, _, seconds in sides.values():
                print(file=process.stdin, flush=True)
                seconds.append(float(process.stdout.readline()))
                load = max(load, os.getloadavg()[0] - 1)
        for way, (process, (held, stated), seconds) in sides.items():
            process.stdin.close()
            process.wait()
            values = (way, steps, f"{statistics.median(seconds):.3g}", f"{float(held):.0f}", f"{float(stated):.0f}")
            about = (CLASSES, NET, args.runs, args.clock, f"{max(load, 0):.1f}")
            row = dict(zip(FIELDS, (*values, *about), strict=True))
            rows.append(row | made)
            print(rows[-1], flush=True)
        if args.out:
            write(args.out, rows)
    return None


if __name__ == "__main__":
    main()
