"""The training runs that indicators watch."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Generator, Tensor

from ..data import ImageData
from ..training import Ensemble, Recipe, fit, seeds
from .base import Progress


@dataclass(frozen=True)
class Probe:
    """Training runs whose per-sample losses are recorded (supplement Sec. 6.4).

    The paper gives trials, epochs, lr and batch; optimiser and augmentation are unpublished. Ours: SGD with
    momentum 0.9, no weight decay, no augmentation. A sample's loss in an epoch is the one it had when its batch
    came by, before the update, so recording costs nothing.
    """

    trials: int = 5
    epochs: int = 20
    lr: float = 3e-3
    batch: int = 512
    network: str = "convnet"
    momentum: float = 0.9


# Supplement Sec. 6.4; digits, not in the paper, is small enough for many epochs of small batches.
PROBES: dict[str, Probe] = {
    "cifar10": Probe(trials=50, epochs=100, lr=3e-3, batch=512),
    "cifar100": Probe(trials=50, epochs=250, lr=5e-3, batch=512),
    "mnist": Probe(trials=50, epochs=50, lr=3e-4, batch=512),
    "svhn": Probe(trials=50, epochs=100, lr=1e-3, batch=512),
    "tiny-imagenet": Probe(trials=50, epochs=100, lr=5e-3, batch=512),
    "imagenet-64": Probe(trials=30, epochs=20, lr=3e-3, batch=256),
    "kinetics-400": Probe(trials=10, epochs=20, lr=1e-2, batch=128),
    "digits": Probe(trials=5, epochs=30, lr=3e-3, batch=64, network="convnet:width=32"),
}


def probe_for(data_name: str) -> Probe:
    """The published probe of a data set; for any other, few trials and epochs: a ranking needs no more."""
    return PROBES.get(data_name, Probe())


def probe_options(data_name: str) -> dict[str, Any]:
    """The fields of a data set's probe, as options of an indicator."""
    probe = probe_for(data_name)
    return {f.name: getattr(probe, f.name) for f in fields(Probe)}


def loss_curves(data: ImageData, probe: Probe, seed: int, progress: Progress | None = None) -> Tensor:
    """Per-sample losses of every trial, [trials, epochs, N] in nats, on the CPU. All trials train together."""
    area = data.shape[1] * data.shape[2]
    ensemble = Ensemble(
        probe.network,
        data.shape,
        data.num_classes,
        seeds("probe", seed, probe.trials),
        data.device,
        batch=probe.batch,
        positions=probe.trials * probe.epochs * len(data) * area,
    )
    recipe = Recipe(probe.epochs, probe.lr, probe.momentum, 0.0, probe.batch)
    curves = torch.empty(probe.trials, probe.epochs, len(data))
    now = torch.empty(probe.trials, len(data), device=data.device)

    def losses(epoch: int, picks: list[Tensor] | None, values: Tensor) -> None:  # noqa: ARG001
        for k in range(probe.trials):
            now[k, slice(None) if picks is None else picks[k]] = values[k]

    def on_epoch(epoch: int) -> None:
        curves[:, epoch] = now.cpu()
        if progress:
            progress(epoch + 1, probe.epochs, f"{probe.trials} trials")

    fit(ensemble, data, recipe, losses=losses, on_epoch=on_epoch)
    return curves


def features_of_trained_network(data: ImageData, network: str, rng: Generator) -> Tensor:
    """Features [N, E] of one network trained on `data` with its probe's settings: what herding stands on."""
    probe = probe_for(data.name)
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    ensemble = Ensemble(network, data.shape, data.num_classes, [seed], data.device, stacked=False)
    fit(ensemble, data, Recipe(probe.epochs, probe.lr, probe.momentum, 0.0, probe.batch))
    ensemble.train(False)
    (member,) = ensemble.members
    with torch.no_grad():
        return torch.cat([member.embed(data.batch(p)) for p in torch.arange(len(data), device=data.device).split(256)])
