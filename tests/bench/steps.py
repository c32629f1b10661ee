r"""Where the time of a step goes: products that have to be computed, at this machine's measured speed, and all else.

    .venv/bin/python tests/bench/steps.py --out book/measurements/steps.csv
    .venv/bin/python tests/bench/steps.py --only dc dm --threads 2

A row is a round of a method, or a few epochs of the networks that judge a set, at IPC 1 and 10: ConvNet of depth 3 and
width 128, random numbers in CIFAR-10's shapes, compiled as usual. What a row sets (`settings`) shortens a round, and
has DC match batches of 64 as in `bench.py`; all else is the method's default for CIFAR-10, but nothing is whitened.

`gflop` counts the convolutions and matrix products of one such round, uncompiled, as PyTorch asks for them, by
`torch.utils.flop_counter`; neither elementwise operations nor solvers of linear systems (FRePo's: of 200 images at
most, under a thousandth of its products) are in it. The floor is the time of as many operations at the greatest speed
that was measured, just before in the same process with as many threads: of products of two square matrices and of each
of the network's convolutions, forward, 64 images at a time (`peak_of` says which). `convolution_gflops` is what all
these convolutions together reach.

`parts` is of one more round, under `torch.profiler`: the share of each group of operators (`GROUPS`), by their names,
that are neither convolution nor product; these are `products`. An operator that was compiled is named after all that is
fused in it and counts for the first of the groups, so activations and pooling with the norm before them. The second
derivative of a norm is made of elementwise operations and counts as such. With one thread seconds are processor time,
with more those of the wall; `load` is how many others wanted to run.
"""

import argparse
import os
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import history
import ours
import torch
from rows import PROVENANCE, destination, origin
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bilp_core.nets import network, speed

# what a round of a row is, where that is not the method's default for the data; epochs of five networks
ROWS: dict[tuple[str, int], dict[str, Any]] = {
    ("dc", 1): {"batch": 64},
    ("dc", 10): {"batch": 64, "outer": 2, "inner": 10},
    ("dm", 1): {},
    ("dm", 10): {},
    ("idc", 1): {"inner": 1},
    ("idc", 10): {"inner": 1},
    ("mtt", 1): {"steps": 10},
    ("mtt", 10): {"steps": 3},
    ("frepo", 1): {},
    ("frepo", 10): {},
    ("cafe", 1): {"most": 2},
    ("cafe", 10): {"most": 2},
    ("evaluation", 1): {"epochs": 10},
    ("evaluation", 10): {"epochs": 3},
}
METHODS = tuple(dict.fromkeys(method for method, _ in ROWS))
FEWEST = 5  # runs of a row
PRODUCTS = "convolutions and products"
GROUPS = {  # the first whose pattern is found in the operator's name
    PRODUCTS: r"^aten::\w*(conv|mm|matmul|linear$|dot|cholesky|triangular)|^mkl",
    "normalisation": r"(group|batch|layer)_norm|var_mean",
    "pooling": r"pool",
    "grids of augmentation": r"^aten::\w*(grid|upsample|gather|flip|masked_fill)",
    "elementwise": r"fused|^aten::(_foreach|_?log|add|sub|mul|div|neg|pow|square|r?sqrt|exp_?$|clamp|relu|threshold|"
    r"where|sum|mean|linalg_vector_norm|_?softmax|nll_loss|sgn|abs|a?max|[lg][te]_?$|eq$)",
    "copies, indices, random numbers": r"^aten::\w*(copy|clone|cat$|stack|fill|zero|index|rand|sort|topk|unique)",
    "other operators": r"^aten::",
    "Python and autograd": "",
}
FIELDS = (
    "method", "ipc", "settings", "seconds", "gflop", "floor_seconds", "ratio", "share_of_peak", "share_of_convolution",
    "products", "parts", "peak_gflops", "peak_of", "convolution_gflops", "network", "runs", "threads", "clock", "load",
)  # fmt: skip
COLUMNS = (*FIELDS, *PROVENANCE)
Clock = Callable[[], float]


def built(method: str, ipc: int, spec: str, settings: dict[str, Any]) -> ours.Side:
    if method == "evaluation":
        return ours.training("cpu", ipc, network=spec, **settings)
    stage = ours.Expert(spec) if method == "mtt" else None
    return ours.step("cpu", method, ipc=ipc, network=spec, stage=stage, **settings)


def operations(run: Callable[[], object]) -> dict[str, int]:
    """Of convolutions and matrix products, by operator; a multiplication and an addition are counted as two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return {str(operator): count for operator, count in counter.get_flop_counts().get("Global", {}).items()}


def flop(run: Callable[[], object]) -> int:
    """Operations of all convolutions and matrix products together."""
    return sum(operations(run).values())


def seconds(run: Callable[[], object], clock: Clock) -> float:
    begin = clock()
    run()
    return clock() - begin


@torch.no_grad()
def speeds(spec: str, clock: Clock, sides: tuple[int, ...] = (1024, 2048)) -> tuple[float, str, float]:
    """GFLOP a second, float32: the greatest, and what reaches it, of products of square matrices and convolutions of
    the network, 64 images at a time, forward; and that of all its convolutions together."""
    rng, calls = torch.Generator().manual_seed(0), dict[str, Callable[[], object]]()
    for side in sides:
        square = torch.randn(side, side, generator=rng)
        calls[f"product of {side}x{side}"] = partial(torch.mm, square, square)
    net, inputs = network(spec, ours.SHAPE, ours.CLASSES), dict[nn.Module, Tensor]()
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda of, given, _: inputs.update({of: given[0]})) for layer in layers]
    net(torch.randn(64, *ours.SHAPE, generator=rng))
    for hook in hooks:
        hook.remove()
    calls |= {f"convolution {number}": partial(layer, inputs[layer]) for number, layer in enumerate(layers, 1)}
    found = {name: (flop(call), min(seconds(call, clock) for _ in range(FEWEST))) for name, call in calls.items()}
    best = max(found, key=lambda name: found[name][0] / found[name][1])
    operations, taken = (sum(parts) for parts in zip(*list(found.values())[len(sides) :], strict=True))
    return found[best][0] / found[best][1] / 1e9, best, operations / taken / 1e9


def group(operator: str) -> str:
    return next(name for name, pattern in GROUPS.items() if re.search(pattern, operator))


def parts(run: Callable[[], object]) -> dict[str, float]:
    """The share of each group in the time of a round: a part's own time, without that of what it calls."""
    with profile(activities=[ProfilerActivity.CPU]) as found, record_function("round"):
        run()
    shares = dict.fromkeys(GROUPS, 0.0)
    for event in found.key_averages():
        shares[group(event.key)] += event.self_cpu_time_total
    whole = sum(shares.values())
    return {name: share / whole for name, share in shares.items()}


@contextmanager
def uncompiled() -> Iterator[None]:
    usual = os.environ.get("BILP_COMPILE", "auto")
    os.environ["BILP_COMPILE"] = "0"
    try:
        yield
    finally:
        os.environ["BILP_COMPILE"] = usual


def clock_of_threads() -> tuple[str, Clock]:
    """The processor's for one thread, else that of the wall; with its name."""
    return ("cpu", time.process_time) if torch.get_num_threads() == 1 else ("wall", time.perf_counter)


def load() -> str:
    """How many others want to run."""
    return f"{max(0.0, os.getloadavg()[0] - 1):.1f}"


def row(method: str, ipc: int, spec: str, runs: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Count uncompiled, then warm up, take the time of and profile the same round, compiled as usual."""
    clock_name, clock = clock_of_threads()
    with uncompiled():
        gflop = flop(built(method, ipc, spec, settings)) / 1e9
    peak, best, convolution = speeds(spec, clock)
    run = built(method, ipc, spec, settings)
    run()
    taken = statistics.median(seconds(run, clock) for _ in range(runs))
    shares = parts(run)
    products = shares.pop(PRODUCTS)
    most = sorted(shares.items(), key=lambda part: -part[1])
    floor = gflop / peak
    values = (
        method, ipc, ", ".join(f"{name}={value}" for name, value in settings.items()), f"{taken:.4g}", f"{gflop:.4g}",
        f"{floor:.4g}", f"{taken / floor:.3g}", f"{floor / taken:.3f}", f"{gflop / convolution / taken:.3f}",
        f"{products:.3f}", "; ".join(f"{name} {share:.0%}" for name, share in most if share >= 0.01), f"{peak:.4g}",
        best, f"{convolution:.4g}", spec, runs, torch.get_num_threads(), clock_name, load(),
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True)) | origin("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help=", ".join(METHODS)
    )
    parser.add_argument("--ipc", nargs="+", type=int, choices=(1, 10), default=(1, 10))
    parser.add_argument("--threads", type=int, default=1, help="0: as many as PyTorch takes by itself")
    parser.add_argument("--runs", type=int, default=FEWEST, help=f"of a row, at least {FEWEST}")
    parser.add_argument("--out", type=destination, help="CSV file to add rows to")
    args = parser.parse_args()
    if args.runs < FEWEST:
        parser.error(f"--runs {args.runs}: at least {FEWEST} make a row")
    if args.out:
        history.check(args.out, COLUMNS)
    if args.threads:
        torch.set_num_threads(args.threads)
    speed.prepare("cpu")
    warnings.filterwarnings("ignore")
    inductor.cpp.enable_kernel_profile = True  # compiled operators, too, say when they run
    for (method, ipc), settings in ROWS.items():
        if method in args.only and ipc in args.ipc:
            found = row(method, ipc, "convnet", args.runs, settings)
            print(found, flush=True)
            if args.out:
                history.add(args.out, found, COLUMNS)


if __name__ == "__main__":
    main()
