"""Our steps beside the reference's, in one process, turn by turn; medians and the ratio.

    make bench ARGS="--reference DIR --folder DIR"

The rows `adaptive-*` set steps with adaptive pruning (Table 12's settings for IPC 1) beside the same steps without;
`ite-*` the sketched ITE of a batch beside the definition, which recomputes the loss without each sample;
`loss-5-trials` the loss indicator (5 trials of 3 epochs, 2,000 images) beside five plain trainings with a DataLoader;
`mixed-loss` the loss indicator (2 trials of 3 epochs, 5,120 images) with BILP_SPEED=mixed beside the same with auto.

The rows `select-*` set coreset selection, from features and logits to the order of the samples, beside CORDS, which
is asked for 30 % of the samples of the same linear layer. CRAIG and GLISTER here order all of them.

--reference : a checkout of VICO-UoE/DatasetCondensation; without it only our own times are measured.
--cords     : a checkout of decile-team/cords; its solvers are imported past its packages, which need much that
              no longer installs.
--folder    : an ImageFolder of CIFAR-10; without it loading from the cache is left out.
Data are random numbers in CIFAR-10's shapes: speed does not depend on what an image shows. Network: ConvNet,
depth 3, width 128, instance norm. Compiling happens in the warm-up and is not counted, as its cost is paid once.
"""

import argparse
import csv
import importlib
import logging
import os
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from bilp_core import coresets, ite_study, speed, trials
from bilp_core.adaptive import Adaptive
from bilp_core.data import ImageData, load
from bilp_core.distill import make
from bilp_core.distill.base import Run
from bilp_core.evaluate import evaluate, protocol
from bilp_core.indicators import score
from bilp_core.networks import network
from bilp_core.synthetic import SyntheticSet

FIELDS = [
    "name",
    "ours_seconds",
    "reference_seconds",
    "ratio",
    "runs",
    "clock",
    "device",
    "date",
    "versions",
    "commit",
]
SHAPE, CLASSES = (3, 32, 32), 10
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def cifar_shaped(per_class: int, device: str) -> ImageData:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CLASSES * per_class, *SHAPE), generator=rng, dtype=torch.uint8)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    names = tuple(str(c) for c in range(CLASSES))
    return ImageData(images, labels, names, (0.5,) * 3, (0.25,) * 3, "random", True).to(device)


def our_step(
    name: str, data: ImageData, adaptive: Adaptive | None = None, steps: int = 1, **options: object
) -> Callable[[], object]:
    # so many iterations that compiling pays, as in a real run
    method = make(name, iterations=100_000, **options).resolved(data, 1)
    rng = torch.Generator(data.device).manual_seed(0)
    run = Run(method, data, method.start(data, 1, "noise", rng, "convnet"), "convnet", rng, adaptive)
    return lambda: [method.step(run) for _ in range(steps)]


def ite_of_a_batch(name: str, data: ImageData, variant: str, **options: object) -> Callable[[], object]:
    return lambda: ite_study.measure(make(name, **options), data, 10, variants=[variant])


def loss_scores(data: ImageData, trials: int, epochs: int) -> Callable[[], object]:
    return lambda: score(data, "loss", trials=trials, epochs=epochs, batch=512)


def loss_scores_at(speed_mode: str, data: ImageData) -> Callable[[], object]:
    def run() -> None:
        os.environ["BILP_SPEED"] = speed_mode
        try:
            score(data, "loss", trials=2, epochs=3, batch=128)
        finally:
            del os.environ["BILP_SPEED"]

    return run


def plain_losses(data: ImageData, trials: int, epochs: int) -> Callable[[], object]:
    """The same as most would write it: one network after the other, the images in a DataLoader."""

    def run() -> torch.Tensor:
        total = torch.zeros(len(data), device=data.device)
        numbered = torch.utils.data.TensorDataset(data.batch(), data.labels, torch.arange(len(data)))
        for trial in range(trials):
            torch.manual_seed(trial)
            net = network("convnet", data.shape, data.num_classes).to(data.device)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.9)
            curve = torch.zeros(epochs, len(data), device=data.device)
            for epoch in range(epochs):
                for images, labels, numbers in torch.utils.data.DataLoader(numbered, batch_size=512, shuffle=True):
                    losses = cross_entropy(net(images), labels, reduction="none")
                    optimizer.zero_grad()
                    losses.mean().backward()
                    optimizer.step()
                    curve[epoch, numbers] = losses.detach()
            total += curve[-1]
        return total / trials

    return run


class Reference:
    """The reference's own functions, called in the order of its main programs."""

    def __init__(self, folder: str, data: ImageData, batch: int) -> None:
        sys.path.insert(0, folder)
        self.utils = importlib.import_module("utils")
        self.batch, self.device = batch, data.device
        self.real = data.batch()
        self.members = [data.of_class(c) for c in range(CLASSES)]
        self.images = torch.randn(CLASSES, *SHAPE, device=self.device, requires_grad=True)
        self.args = types.SimpleNamespace(
            device=self.device.type, dis_metric="ours", dsa=False, dsa_strategy="none", dc_aug_param=None,
            lr_net=0.01, epoch_eval_train=300, batch_train=256, dsa_param=self.utils.ParamDiffAug(),
        )  # fmt: skip

    def network(self) -> torch.nn.Module:
        return self.utils.get_network("ConvNet", 3, CLASSES, SHAPE[1:]).train()

    def batch_of(self, c: int) -> torch.Tensor:
        return self.real[self.members[c][torch.randperm(len(self.members[c]), device=self.device)[: self.batch]]]

    def dc_step(self) -> None:
        net = self.network()
        parameters, optimizer = list(net.parameters()), torch.optim.SGD([self.images], lr=0.1, momentum=0.5)
        loss = torch.zeros((), device=self.device)
        for c in range(CLASSES):
            real = self.batch_of(c)
            target = torch.autograd.grad(
                cross_entropy(net(real), torch.full((len(real),), c, device=self.device)), parameters
            )
            target = [g.detach().clone() for g in target]
            own = cross_entropy(net(self.images[c : c + 1]), torch.full((1,), c, device=self.device))
            loss = loss + self.utils.match_loss(
                torch.autograd.grad(own, parameters, create_graph=True), target, self.args
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def dm_step(self) -> None:
        net, strategy = self.network().requires_grad_(False), "color_crop_cutout_flip_scale_rotate"
        optimizer = torch.optim.SGD([self.images], lr=1.0, momentum=0.5)
        loss = torch.zeros((), device=self.device)
        for c in range(CLASSES):
            # its Siamese lines fail on current PyTorch; parameters drawn for each image cost the same
            batches = (self.batch_of(c), self.images[c : c + 1])
            real, own = (self.utils.DiffAugment(x, strategy, seed=-1, param=self.args.dsa_param) for x in batches)
            loss = loss + ((net.embed(real).detach().mean(0) - net.embed(own).mean(0)) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def evaluate(self, test: ImageData) -> None:
        labels = torch.arange(CLASSES, device=self.device)
        loader = torch.utils.data.DataLoader(self.utils.TensorDataset(test.batch(), test.labels), batch_size=256)
        for k in range(5):
            self.utils.evaluate_synset(k, self.network(), self.images.detach(), labels, loader, self.args)


class Selection:
    """A linear layer on `per_class` random samples of each class, and a tenth as many held out, to choose from."""

    SIZE, SHARE = 128, 0.3

    def __init__(self, device: torch.device, per_class: int = 300) -> None:
        rng = torch.Generator().manual_seed(0)
        self.count, held = CLASSES * per_class, CLASSES * per_class // 10
        self.features = torch.rand(self.count + held, self.SIZE, generator=rng).to(device)
        self.labels = (torch.arange(self.count + held) % CLASSES).to(device)
        centres = torch.randn(CLASSES, self.SIZE, generator=rng).to(device)
        self.features += 0.2 * centres[self.labels]
        self.model = Linear(0.1 * centres)

    def layer(self) -> coresets.LastLayer:
        with torch.no_grad():
            return coresets.LastLayer(self.features, self.model(self.features), self.labels)

    def parts(self) -> tuple[coresets.LastLayer, coresets.LastLayer]:
        everything = torch.arange(len(self.labels), device=self.labels.device)
        whole = self.layer()
        return whole.subset(everything[: self.count]), whole.subset(everything[self.count :])

    def craig(self) -> object:
        return coresets.craig(self.parts()[0])

    def gradmatch(self) -> object:
        return coresets.gradmatch(self.parts()[0], self.SHARE)

    def glister(self) -> object:
        return coresets.taylor_greedy(*self.parts(), eta=0.01, rounds=self.count)


class Linear(torch.nn.Module):
    """As CORDS wants a model: logits and, if asked, the features."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x: torch.Tensor, last: bool = False, freeze: bool = False):
        out = x @ self.weight.T
        return (out, x) if last else out

    def get_embedding_dim(self) -> int:
        return self.weight.shape[1]


class Cords:
    """CORDS's selection strategies on the samples of a `Selection`."""

    PACKAGES = (
        "cords",
        "cords.selectionstrategies",
        "cords.selectionstrategies.helpers",
        "cords.selectionstrategies.SL",
    )

    def __init__(self, folder: str, selection: Selection) -> None:
        for name in self.PACKAGES:  # in place of the packages' own first lines, which import what is gone
            package = types.ModuleType(name)
            package.__path__ = [str(Path(folder, *name.split(".")))]
            sys.modules[name] = package
        with np.errstate():  # it makes NumPy raise at every underflow
            solvers = importlib.import_module(f"{self.PACKAGES[2]}.omp_solvers")
        vars(sys.modules[self.PACKAGES[2]]).update(vars(solvers))
        self.model, self.budget = selection.model, int(selection.SHARE * selection.count)
        samples = torch.utils.data.TensorDataset(selection.features, selection.labels)
        where = torch.arange(len(samples)).split(selection.count)
        subsets = (torch.utils.data.TensorDataset(*samples[part]) for part in where)
        loaders = [torch.utils.data.DataLoader(subset, batch_size=1000) for subset in subsets]
        loss = torch.nn.CrossEntropyLoss(reduction="none")
        self.common = (*loaders, self.model, loss)
        self.place = (selection.features.device.type, CLASSES)
        self.log = logging.getLogger("cords")

    def _select(self, module: str, name: str, *settings: object, **more: object) -> object:
        strategy = getattr(importlib.import_module(f"{self.PACKAGES[3]}.{module}"), name)
        return strategy(*self.common, *settings, self.log, **more).select(self.budget, self.model.state_dict())

    def craig(self) -> object:
        return self._select("craigstrategy", "CRAIGStrategy", *self.place, False, False, "PerClass")

    def gradmatch(self) -> object:
        return self._select("gradmatchstrategy", "GradMatchStrategy", 0.01, *self.place, True, "PerClass", lam=0.5)

    def glister(self) -> object:
        return self._select("glisterstrategy", "GLISTERStrategy", 0.01, *self.place, True, "Supervised", "Naive")


def clock(function: Callable[[], object], device: torch.device, now: Callable[[], float]) -> float:
    start = now()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - start


def compare(
    name: str,
    ours: Callable,
    reference: Callable | None,
    runs: int,
    device: torch.device,
    now: Callable[[], float],
    warm: Sequence[Callable] = (),
) -> dict:
    """Both in turn, `runs` times after a warm-up: medians, and the median of the ratios pair by pair.

    warm : the warm-up, where the same once would take too long.
    """
    sides = [ours] if reference is None else [ours, reference]
    for side in warm or sides:
        side()
    times = [[clock(side, device, now) for side in sides] for _ in range(runs)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    row = {"name": name, "ours_seconds": f"{medians[0]:.4g}", "runs": runs}
    if reference is not None:
        row["reference_seconds"] = f"{medians[1]:.4g}"
        row["ratio"] = f"{statistics.median(a / b for a, b in times):.3f}"
    print({key: row.get(key) for key in FIELDS[:5]}, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="checkout of VICO-UoE/DatasetCondensation")
    parser.add_argument("--cords", help="checkout of decile-team/cords")
    parser.add_argument("--folder", help="ImageFolder of CIFAR-10")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of one thread, on a machine in use")
    parser.add_argument("--out", help="CSV file to write")
    args = parser.parse_args()
    now = CLOCKS[args.clock]
    if args.clock == "cpu":
        if args.device != "cpu":
            parser.error("--clock cpu measures a CPU: give --device cpu")
        torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    speed.prepare(args.device)  # both sides have what it brings

    data, test = cifar_shaped(512, args.device), cifar_shaped(1000, args.device)
    device = data.device
    rows = []

    def bench(
        name: str, ours: Callable, other: Callable | None, runs: int, where: torch.device = device, warm: Sequence = ()
    ) -> None:
        if name.startswith(args.only):
            rows.append(compare(name, ours, other, runs, where, now, warm))

    references = {n: Reference(args.reference, data, n) if args.reference else None for n in (64, 256)}
    for name, method, batch in (("dm-step", "dm", 256), ("dc-step", "dc", 64)):
        other = references[batch]
        step = getattr(other, f"{method}_step") if other else None
        bench(name, our_step(method, data, batch=batch), step, args.runs)

    images = torch.randn(CLASSES, *SHAPE, device=device)
    synthetic = SyntheticSet(images, torch.arange(CLASSES), test.classes, test.mean, test.std)
    recipe, other = protocol("dc", test), references[64]
    bench(
        "evaluate-5-networks",
        lambda: evaluate(synthetic, test, protocol=recipe, repeats=5),
        (lambda: other.evaluate(test)) if other else None,
        max(1, args.runs // 4),
    )
    lazy = Adaptive(0.3, 10)
    for name, steps, options in (("dc", 10, {}), ("idc", 1, {"inner": 10})):  # ten steps of a class: one decision
        with_it, without = our_step(name, data, lazy, steps, **options), our_step(name, data, None, steps, **options)
        bench(f"adaptive-{name}", with_it, without, args.runs)
    for name in ("dc", "idc"):
        variants = ("sketch", ite_study.DEFINITION)
        sketched, defined = (ite_of_a_batch(name, data, variant) for variant in variants)
        bench(f"ite-{name}", sketched, defined, 1, warm=[ite_of_a_batch(name, data, v, batch=32) for v in variants])
    few = cifar_shaped(200, args.device)
    bench("loss-5-trials", loss_scores(few, 5, 3), plain_losses(few, 5, 3), max(1, args.runs // 4))
    mixed, auto = (loss_scores_at(mode, data) for mode in ("mixed", "auto"))
    bench("mixed-loss", mixed, auto, max(1, args.runs // 4))
    selection = Selection(device)
    theirs = Cords(args.cords, selection) if args.cords else None
    for name in ("craig", "gradmatch", "glister"):
        other = getattr(theirs, name) if theirs else None
        bench(f"select-{name}", getattr(selection, name), other, max(1, args.runs // 2))
    if args.folder:
        bench("load-cifar10-from-cache", lambda: load(args.folder), None, args.runs, torch.device("cpu"))
    provenance = trials.provenance(args.device)
    for row in rows:
        row |= {"clock": args.clock} | {key: provenance[key] for key in ("device", "date", "versions", "commit")}
    if args.out:
        with Path(args.out).open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
