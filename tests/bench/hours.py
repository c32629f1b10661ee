r"""What a preset would take at full size: one go of each piece of its work, at a few small sizes, on true shapes.

    .venv/bin/python tests/bench/hours.py --out book/measurements/hours.csv
    .venv/bin/python tests/bench/hours.py --only round --data imagenet-64

A row is a round of a method for so many classes, or so many images of a student's step (MTT); or a training step, or
a test, of one network, of so many images. All else is as in the preset `paper` of the chapter on large data, whose
trials say what pieces there are (`bilp_core.studies.hours`): shapes, width, real batch, IPC, augmentation. Images are
random numbers. From three sizes follow what is fixed, what goes with the size, and whether a straight line holds.

Operations of convolutions and of products are counted as PyTorch asks for them (`steps.py`), and in the same run the
bytes of all tensors that are alive (`Alive`); but for the data: uncompiled, every batch as one, and networks that are
trained or tested stacked, as they are on a GPU. What an operator takes and frees inside of itself is not seen.
`stays_mb` is what is alive when the go has ended: images, their gradients and momentum, networks. Seconds are of a
second go as it runs on this CPU, compiled and in parts where that is usual: one of each size, and sizes repeat each
other. With one thread they are processor time, with more those of the wall; `load` is how many others wanted to run.
"""

import argparse
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import history
import ours
import steps
import torch
from rows import PROVENANCE, destination, origin
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bilp_core.book import planned
from bilp_core.distillers import METHODS
from bilp_core.distillers.trajectory import Trajectory
from bilp_core.nets import Ensemble, Recipe, TensorSamples, fit, measure, memory, speed
from bilp_core.studies.hours import Piece, shaped, shares, variants

WORKS = ("round", "training", "test")
# the least of the sizes: classes; or images, of a student's step such that all of its steps have as many
FIRST = {"round": 1, "student": 5, "training": 32, "test": 32}
FIELDS = (
    *(field.name for field in fields(Piece)), "unit", "size", "convolution_gflop", "product_gflop", "seconds",
    "peak_mb", "stays_mb", "threads", "clock", "load",
)  # fmt: skip
COLUMNS = (*FIELDS, *PROVENANCE)


class Alive(TorchDispatchMode):
    """Inside, `now` is the number of bytes of tensors that were made inside and are alive, `peak` its largest value.

    Storages are counted, so that a view takes nothing; nor do tensors of before, and the data, which alone are uint8.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage._cdata for storage in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            key, size = storage._cdata, storage.nbytes()
            if key not in given and key not in self._known:
                self._known.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, key, size)
        return made

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _storages(tree: object) -> list[torch.UntypedStorage]:
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.dtype != torch.uint8)
    return [tensor.untyped_storage() for tensor in tensors]


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Every batch passes as one, and nothing is compiled."""
    chunk, memory.CHUNK = memory.CHUNK, 2**62
    try:
        with steps.uncompiled():
            yield
    finally:
        memory.CHUNK = chunk


def pieces() -> dict[Piece, dict[str, Any]]:
    """Those that the trials of the preset consist of, and of a round how it is made: see `ours.step`."""
    found: dict[Piece, dict[str, Any]] = {}
    for trial in variants(planned("large-data", "paper")):
        options = {name: value for name, value in trial.options.items() if name != "iterations"}
        for share in shares(trial):
            alone = METHODS[trial.method].parts == "task"  # then the network has the classes of a part
            outputs = int(share.size) if alone else shaped(trial.data).num_classes
            found.setdefault(share.piece, {**options, "outputs": outputs} if share.part == "rounds" else {})
    return found


def is_student(piece: Piece) -> bool:
    return piece.work == "round" and issubclass(METHODS[piece.method], Trajectory)


def sizes(piece: Piece) -> list[int]:
    """Three of them. A frame of a clip counts as an image does."""
    first, frames = FIRST["student" if is_student(piece) else piece.work], shaped(piece.data).frames
    return [times * (first if unit(piece) == "classes" else max(1, first // frames)) for times in (1, 2, 4)]


def unit(piece: Piece) -> str:
    return "classes" if piece.work == "round" and not is_student(piece) else "images"


def built(piece: Piece, size: int, settings: dict[str, Any], *, stacked: bool | None = None) -> ours.Side:
    """One go. stacked : None as is usual on this machine."""
    data, stage = shaped(piece.data), None
    shape, classes = data.shape, data.num_classes
    if piece.work == "round":
        if is_student(piece):
            data, stage = shaped(piece.data, per_class=1), ours.Expert(piece.network, shape, classes)
            settings = {**settings, "batch_synthetic": size}
        else:
            data = shaped(piece.data, size, ours.PER_CLASS)
        return ours.step(
            "cpu", piece.method, ipc=piece.ipc, data=data, network=piece.network, stage=stage, **settings
        )  # fmt: skip
    images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
    samples = TensorSamples(images, torch.zeros(size, dtype=torch.int64))
    ensemble = Ensemble(piece.network, shape, classes, [0], batch=size, positions=1e12, stacked=stacked, mixed=True)
    if piece.work == "test":
        return lambda: measure(ensemble, samples, chunk=size)
    recipe = Recipe(epochs=1, lr=0.01, batch=size, augment=piece.settings)
    return lambda: fit(ensemble, samples, recipe)


def counted(make: Callable[[], ours.Side]) -> dict[str, str]:
    """Of a go, made and run once: operations of convolutions and of products, and bytes, as on a GPU."""
    with as_on_a_gpu(), Alive() as alive:
        run = make()
        found = steps.operations(run)
        alive_after = alive.now
    convolution = sum(count for operator, count in found.items() if "conv" in operator)
    return {
        "convolution_gflop": f"{convolution / 1e9:.8g}",
        "product_gflop": f"{(sum(found.values()) - convolution) / 1e9:.8g}",
        "peak_mb": f"{alive.peak / 1e6:.6g}",
        "stays_mb": f"{alive_after / 1e6:.6g}",
    }


def row(piece: Piece, size: int, settings: dict[str, Any]) -> dict[str, Any]:
    clock_name, clock = steps.clock_of_threads()
    stacked = None if piece.work == "round" else True
    count = counted(partial(built, piece, size, settings, stacked=stacked))
    run = built(piece, size, settings)
    run()
    taken = steps.seconds(run, clock)
    about = {"unit": unit(piece), "size": size, "seconds": f"{taken:.4g}"}
    about |= {"threads": torch.get_num_threads(), "clock": clock_name, "load": steps.load()}
    found = asdict(piece) | count | about
    return {name: found[name] for name in FIELDS} | origin("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=WORKS, metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--data", nargs="+", help="names of data sets (all)")
    parser.add_argument("--method", nargs="+", help="of rounds (all)")
    parser.add_argument("--threads", type=int, default=1, help="0: as many as PyTorch takes by itself")
    parser.add_argument("--out", type=destination, help="CSV file to add rows to")
    args = parser.parse_args()
    if args.out:
        history.check(args.out, COLUMNS)
    if args.threads:
        torch.set_num_threads(args.threads)
    speed.prepare("cpu")
    warnings.filterwarnings("ignore")
    for piece, settings in pieces().items():
        asked = piece.work in args.only and piece.data in (args.data or [piece.data])
        if asked and piece.method in (args.method or [piece.method]):
            for size in sizes(piece):
                found = row(piece, size, settings)
                print(found, flush=True)
                if args.out:
                    history.add(args.out, found, COLUMNS)


if __name__ == "__main__":
    main()
