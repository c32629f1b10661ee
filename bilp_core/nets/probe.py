"""The training runs that indicators watch."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Generator, Tensor

from ..data.images import ImageData
from .ensemble import Ensemble
from .networks import default_network
from .recipe import Recipe
from .training import fit


@dataclass(frozen=True)
class Probe:
    """Training runs whose per-sample losses are recorded (supplement Sec. 6.4).

    The paper gives trials, epochs, lr and batch; optimiser and augmentation are unpublished. Ours: SGD with
    momentum 0.9, no weight decay, no augmentation. A sample's loss in an epoch is the one it had when its batch
    came by, before the update, so recording costs nothing.

    together : trials that train at once; 0: as many as fit the memory.

    >>> from bilp_core.nets import PROBES
    >>> PROBES["cifar10"].trials, PROBES["cifar10"].epochs, PROBES["cifar10"].recipe().weight_decay
    (50, 100, 0.0)
    """

    trials: int = 5
    epochs: int = 20
    lr: float = 3e-3
    batch: int = 512
    network: str = "convnet"
    momentum: float = 0.9
    together: int = 0

    @classmethod
    def names(cls) -> list[str]:
        return [f.name for f in fields(cls)]

    def recipe(self) -> Recipe:
        return Recipe(self.epochs, self.lr, self.momentum, 0.0, self.batch)


# Supplement Sec. 6.4; digits, not in the paper, is small enough for many epochs of small batches.
PROBES: dict[str, Probe] = {
    "cifar10": Probe(trials=50, epochs=100, lr=3e-3, batch=512),
    "cifar100": Probe(trials=50, epochs=250, lr=5e-3, batch=512),
    "mnist": Probe(trials=50, epochs=50, lr=3e-4, batch=512),
    "svhn": Probe(trials=50, epochs=100, lr=1e-3, batch=512),
    "tiny-imagenet": Probe(trials=50, epochs=100, lr=5e-3, batch=512),
    "imagenet-64": Probe(trials=30, epochs=20, lr=3e-3, batch=256),
    "imagenet-64-resized": Probe(trials=30, epochs=20, lr=3e-3, batch=256),
    "kinetics-400": Probe(trials=10, epochs=20, lr=1e-2, batch=128, network="convnet-gru"),
    "digits": Probe(trials=5, epochs=30, lr=3e-2, batch=64, network="convnet:width=32"),
}


OWN_STEPS = 300  # of a training on somebody's folder, at least


def probe_for(data: ImageData | str) -> Probe:
    """The published probe of a data set of ours; for a folder, one that follows its size: few trials are enough.

    data : or the name of a data set; of one without a published probe, few trials and epochs.
    In a folder of N images a batch has N/8 of them at most (a power of two, 512 at most), so that networks have at
    least 300 steps in which to learn; the network follows the size of the images. With many more steps a small folder
    is known by heart, and the loss no longer tells wrong labels from right ones.
    Source: supplement Sec. 6.4; for folders, ours.

    >>> from dataclasses import replace
    >>> from bilp_core import load
    >>> from bilp_core.nets import probe_for
    >>> probe_for("svhn").lr, probe_for("fashion_mnist").trials
    (0.001, 5)
    >>> own = replace(load("digits").train, named="")  # the same images in somebody's folder
    >>> found = probe_for(own)
    >>> found.batch, found.epochs, found.network
    (128, 28, 'convnet:depth=2,width=32')
    """
    if isinstance(data, str) or data.named:
        return PROBES.get(data if isinstance(data, str) else data.named, Probe())
    batch = 1 << min(512, max(4, len(data) // 8)).bit_length() - 1
    epochs = max(20, math.ceil(OWN_STEPS / math.ceil(max(len(data), 1) / batch)))
    return Probe(epochs=epochs, batch=batch, network=default_network(data.shape, data.frames))


def probe_options(data: ImageData | str) -> dict[str, Any]:
    """The fields of the probe of a data set, as options of an indicator."""
    return asdict(probe_for(data))


def features_of_trained_network(data: ImageData, network: str, rng: Generator) -> Tensor:
    """Features [N, E] of one network trained on `data` with its probe's settings: what herding stands on.

    network : a spec. rng : on the device of the data.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.nets import features_of_trained_network
    >>> some = load("digits").train.subset(torch.arange(64))
    >>> rng = torch.Generator().manual_seed(0)
    >>> tuple(features_of_trained_network(some, "convnet:depth=1,width=4", rng).shape)
    (64, 64)
    """
    probe = probe_for(data)
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    ensemble = Ensemble(network, data.shape, data.num_classes, [seed], data.device, stacked=False)
    fit(ensemble, data, probe.recipe())
    ensemble.train(False)
    (member,) = ensemble.members
    with torch.no_grad():
        return torch.cat([member.embed(data.batch(p)) for p in torch.arange(len(data), device=data.device).split(256)])
