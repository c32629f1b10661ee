"""Indicators: a data set in, one score a sample out. Larger = harder, always."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Generator, Tensor

from .data import ImageData
from .errors import InputError
from .options import merged
from .training import Ensemble, Recipe, fit, seeds

Progress = Callable[[int, int, str], None]


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


def empirical_loss(curves: Tensor, sigma: float = 3.0) -> Tensor:
    """Smoothed loss of each sample at the last epoch: the preemptive criterion.

    curves : [trials, epochs, N] per-sample cross-entropy in nats, one row an epoch.
    sigma  : width of the Gaussian filter along epochs, in epochs; 0 takes the last epoch as it is.
    Returns [N]; larger = harder. Raises InputError on an empty or non-finite curve.
    Source: supplement Sec. 6.4. The filter reflects at the end, so about the last 8 epochs count.
    """
    if curves.ndim != 3 or not curves.numel():
        raise InputError(f"loss curves have shape {list(curves.shape)}: must be [trials, epochs, N], not empty")
    if not torch.isfinite(curves).all():
        raise InputError("loss curves hold values that are not finite: lower the learning rate of the probe")
    if sigma < 0:
        raise InputError(f"sigma = {sigma}: the filter's width in epochs must not be negative")
    mean = curves.mean(0).cpu().double().numpy()
    smooth = gaussian_filter1d(mean, sigma, axis=0, mode="reflect") if sigma else mean
    return torch.from_numpy(np.ascontiguousarray(smooth[-1])).float()


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


# ---- the registry ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Indicator:
    """compute(data, seed, progress, **options) -> [N]; options(data name) -> their defaults."""

    summary: str
    compute: Callable[..., Tensor]
    options: Callable[[str], dict[str, Any]] = field(default=lambda _: {})


def _probe_options(data_name: str) -> dict[str, Any]:
    probe = probe_for(data_name)
    return {f.name: getattr(probe, f.name) for f in fields(Probe)}


def _random(data: ImageData, seed: int, progress: Progress | None) -> Tensor:  # noqa: ARG001
    return torch.rand(len(data), generator=torch.Generator().manual_seed(seed))


def _loss(data: ImageData, seed: int, progress: Progress | None, *, sigma: float, **probe: Any) -> Tensor:
    return empirical_loss(loss_curves(data, Probe(**probe), seed, progress), sigma)


def _early_loss(data: ImageData, seed: int, progress: Progress | None, **probe: Any) -> Tensor:
    return loss_curves(data, Probe(**probe), seed, progress).mean((0, 1))


INDICATORS: dict[str, Indicator] = {
    "random": Indicator("uniform random numbers", _random),
    "loss": Indicator(
        "empirical loss: mean over trials, Gaussian-smoothed, at the last epoch (supplement Sec. 6.4)",
        _loss,
        lambda name: {**_probe_options(name), "sigma": 3.0},
    ),
    "early-loss": Indicator(
        "mean loss over the first epochs and the trials (main paper, Sec. 5.5)",
        _early_loss,
        lambda name: {**_probe_options(name), "epochs": 5},
    ),
}


def options_of(name: str, data_name: str = "") -> dict[str, Any]:
    """Options of an indicator with their defaults on a data set. Raises InputError for an unknown name."""
    if name not in INDICATORS:
        raise InputError(f"indicator {name!r} is unknown; there are: {', '.join(INDICATORS)}")
    return INDICATORS[name].options(data_name)


def resolve(name: str, data_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an indicator, `options` over the defaults; names, types and ranges checked."""
    settings = merged(f"indicator {name!r}", options_of(name, data_name), options)
    for key, value in settings.items():
        least = 1 if isinstance(value, int) else 0
        if not isinstance(value, str) and not least <= value < float("inf"):
            raise InputError(f"option {key} = {value!r} of indicator {name!r}: must be finite, at least {least}")
    return settings


def score(data: ImageData, name: str, *, seed: int = 0, progress: Progress | None = None, **options: Any) -> Tensor:
    """Score every sample of `data`: float32 [N] on the CPU, finite, larger = harder.

    options : those of the indicator (`options_of`), defaults by data set.
    Raises InputError for an unknown indicator or option, FloatingPointError if a probe diverges.
    """
    settings = resolve(name, data.name, options)
    scores = INDICATORS[name].compute(data, seed, progress, **settings).float().cpu()
    if not torch.isfinite(scores).all():
        raise FloatingPointError(f"indicator {name!r} gave scores that are not finite on {data.name}")
    return scores
