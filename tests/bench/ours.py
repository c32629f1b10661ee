"""Our side of the rows: each function builds, on data in CIFAR-10's shapes, what is timed."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from bilp_core import coresets, nets
from bilp_core.data import ImageData, load
from bilp_core.distillers import Run, make
from bilp_core.evaluation import evaluate, protocol
from bilp_core.indicators import score
from bilp_core.nets import Ensemble, TensorSamples, fit
from bilp_core.pruning import Adaptive
from bilp_core.studies import ite_variants
from bilp_core.synthetic import SyntheticSet

SHAPE, CLASSES = (3, 32, 32), 10
PER_CLASS = 512
Side = Callable[[], object]  # does once what is timed


def cifar_shaped(per_class: int, device: str, classes: int = CLASSES) -> ImageData:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (classes * per_class, *SHAPE), generator=rng, dtype=torch.uint8)
    labels = torch.arange(classes).repeat_interleave(per_class)
    names = tuple(str(c) for c in range(classes))
    return ImageData(images, labels, names, (0.5,) * 3, (0.25,) * 3, "random", True).to(device)


def photographs(folder: str, device: str, classes: int = CLASSES) -> ImageData:
    """The images of the first classes of a folder, as data of no other classes."""
    train = load(folder).train
    chosen = train.subset((train.labels < classes).nonzero().flatten())
    return replace(chosen, classes=train.classes[:classes]).to(device)


def unit(device: str) -> Side:
    """A fixed piece of plain PyTorch, about as long as a step: what the machine is worth at this moment."""
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 128, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(128, 128, 3, padding=1)
    ).to(device)
    return lambda: net(images).square().mean().backward()


def started(
    data: ImageData,
    name: str,
    adaptive: Adaptive | None = None,
    ipc: int = 1,
    network: str = "convnet",
    init: str | None = None,
    **options: object,
) -> Run:
    """Before the first round, of so many that compiling pays, as in a real run; init : the method's own if None."""
    method = make(name, **{"iterations": 100_000, **options}).resolved(data, ipc)
    rng = torch.Generator(data.device).manual_seed(0)
    return Run(method, data, method.start(data, ipc, init or method.default_init, rng, network), network, rng, adaptive)


def step(
    device: str,
    name: str,
    adaptive: Adaptive | None = None,
    ipc: int = 1,
    classes: int = CLASSES,
    data: ImageData | None = None,
    network: str = "convnet",
    stage: object = None,
    outputs: int = 0,
    rounds: int = 1,
    folder: str = "",
    **options: object,
) -> Side:
    """So many rounds, from noise on random numbers, or on the images of `folder` from what the method starts from.

    stage : what the method's first stage would have made. outputs : of the network, where the data are some of its
    classes alone.
    """
    data = data or (photographs(folder, device, classes) if folder else cifar_shaped(PER_CLASS, device, classes))
    run = started(data, name, adaptive, ipc, network, None if folder else "noise", **options)
    run.stage = stage
    if outputs:
        run.net = nets.network(network, data.shape, outputs).to(device)
    run.state = run.method.prepare(run)
    return lambda: [run.method.step(run) for _ in range(rounds)]


class Expert:
    """Stands for experts: random parameters, others after each epoch."""

    def __init__(self, spec: str, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES) -> None:
        self.spec, self.shape, self.classes = spec, shape, classes

    @cached_property
    def net(self) -> nn.Module:
        return nets.network(self.spec, self.shape, self.classes)

    def __len__(self) -> int:
        return 1

    def parameters(self, expert: int, epoch: int, device: object) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(0)
        nets.initialise(self.net, rng)
        rng.manual_seed(1 + epoch)
        moved = {name: p + 0.01 * torch.randn(p.shape, generator=rng) for name, p in self.net.named_parameters()}
        return {name: p.detach() for name, p in moved.items()}


def ite(device: str, name: str, variant: str, **options: object) -> Side:
    data = cifar_shaped(PER_CLASS, device)
    return lambda: ite_variants.measure(make(name, **options), data, 10, variants=[variant])


def loss(device: str, speed_mode: str = "auto", per_class: int = PER_CLASS, **options: int) -> Side:
    data = cifar_shaped(per_class, device)
    os.environ["BILP_SPEED"] = speed_mode
    return lambda: score(data, "loss", **options)


def evaluation(device: str) -> Side:
    test = cifar_shaped(1000, device)
    images = torch.randn(CLASSES, *SHAPE, device=device)
    synthetic = SyntheticSet(images, torch.arange(CLASSES), test.classes, test.mean, test.std)
    recipe = protocol("dc", test)
    return lambda: evaluate(synthetic, test, protocol=recipe, repeats=5)


def training(device: str, ipc: int, epochs: int, network: str = "convnet") -> Side:
    """Some epochs of the five networks that judge a set by the protocol of DSA, compiled as for all of its epochs."""
    data = cifar_shaped(1, device)
    images = torch.randn(CLASSES * ipc, *SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    samples, whole = TensorSamples(images, data.labels.repeat_interleave(ipc)), protocol("dsa", data)
    positions = 5 * whole.epochs * len(samples) * data.positions
    ensemble = Ensemble(
        network, SHAPE, CLASSES, range(5), device, batch=min(len(samples), whole.batch), positions=positions, mixed=True
    )
    return lambda: fit(ensemble, samples, replace(whole.recipe(), epochs=epochs))


def loading(device: str, folder: str) -> Side:
    return lambda: load(folder).train.to(device)


class Selection:
    """A linear layer on `per_class` random samples of each class, and a tenth as many held out, to choose from."""

    SIZE, SHARE = 128, 0.3

    def __init__(self, device: str, per_class: int = 300) -> None:
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

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | float = 0.0) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight), bias

    def forward(self, x: torch.Tensor, last: bool = False, freeze: bool = False):
        out = x @ self.weight.T + self.bias
        return (out, x) if last else out

    def get_embedding_dim(self) -> int:
        return self.weight.shape[1]


def selection(device: str, name: str) -> Side:
    return getattr(Selection(device), name)
