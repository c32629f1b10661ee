"""GraNd, the gradient norm: how much a sample would move the weights, at the start of training.

Source: Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet: Finding Important Examples Early in Training,
NeurIPS 2021, Definition 2.1: E ||g(x)||_2, g the gradient of the sample's loss by all parameters, the expectation
over random initialisations and over the training up to there.

>>> from bilp_core import load, score
>>> train, _ = load("digits")
>>> scores = score(train, "grand", trials=2, network="convnet:depth=1,width=4")
>>> scores.shape, bool((scores > 0).all())
(torch.Size([1352]), True)
"""

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble
from ..nets.networks import network
from ..nets.probe import Probe, probe_for
from ..nets.training import fit
from ..utils.progress import Report
from ..utils.seeds import seeds
from .base import Indicator
from .finished import Finished

FLOATS = {"cpu": 2**24, "cuda": 2**28}  # of sample gradients that are held at once: 64 MB and 1 GB


def gradient_norms(net: nn.Module, images: Tensor, labels: Tensor, chunk: int | None = None) -> Tensor:
    """L2 norm of the gradient of each sample's cross-entropy by all parameters: images [N, C, H, W] -> [N].

    chunk : samples at once, by default as many as FLOATS allows; the norms do not depend on it.

    >>> import torch
    >>> from bilp_core.indicators.grand import gradient_norms
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    >>> _ = torch.nn.init.zeros_(net[1].weight)  # each probability is 1/2
    >>> images = torch.stack([torch.ones(1, 2, 2), 3 * torch.ones(1, 2, 2)])
    >>> norms = gradient_norms(net, images, torch.tensor([0, 1]))  # |p - onehot| |image|
    >>> [round(float(norm / 0.5**0.5), 4) for norm in norms]
    [2.0, 6.0]
    """
    at = {name: p.detach() for name, p in net.named_parameters()}
    chunk = chunk or max(1, min(256, FLOATS[images.device.type] // sum(p.numel() for p in at.values())))

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, parameters, (image[None],)), label[None])

    def norm(image: Tensor, label: Tensor) -> Tensor:
        slopes = grad(loss)(at, image, label)
        return torch.stack([slope.square().sum() for slope in slopes.values()]).sum().sqrt()

    return vmap(norm, chunk_size=chunk)(images, labels)


def compute(data: ImageData, seed: int, progress: Report | None, finished: Finished, **options: Any) -> Tensor:
    """The norm in each of `trials` networks after `epochs` epochs, [trials, N]; 0: as they are initialised."""
    probe = Probe(**options)
    if any(True for _ in network(probe.network, data.shape, data.num_classes).buffers()):
        raise InputError(f"network = {probe.network!r}: grand needs one without BatchNorm, which mixes the samples")
    rows = []
    for trial, own in enumerate(seeds("probe", seed, probe.trials)):
        found = finished.get(trial)
        if found is None:
            found = {"norms": _of_one_network(data, probe, own, trial, progress)}
            finished.put({trial: found})
        rows.append(found["norms"])
    return torch.stack(rows)


def _of_one_network(data: ImageData, probe: Probe, seed: int, trial: int, progress: Report | None) -> Tensor:
    ensemble = Ensemble(probe.network, data.shape, data.num_classes, [seed], data.device, stacked=False)
    if probe.epochs:
        fit(ensemble, data, probe.recipe())
    norms = []
    for picks in torch.arange(len(data), device=data.device).split(1024):
        norms.append(gradient_norms(ensemble.members[0], data.batch(picks), data.labels[picks]))
        if progress:
            progress(trial * len(data) + int(picks[-1]) + 1, probe.trials * len(data), f"network {trial + 1}")
    return torch.cat(norms).cpu()


def options(data: ImageData | str) -> dict[str, Any]:
    found = {**asdict(probe_for(data)), "trials": 10, "epochs": 0}
    del found["together"]  # one network at a time
    return found


INDICATOR = Indicator(
    "GraNd: norm of the sample's gradient at initialisation, or after some epochs (Paul et al. 2021)",
    compute,
    options,
    least={"epochs": 0},
    trials="trials",
)
