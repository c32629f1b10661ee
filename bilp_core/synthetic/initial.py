"""How synthetic images start."""

import torch
from torch import Generator

from ..coresets import herding
from ..data.images import ImageData
from ..errors import InputError
from ..nets.probe import features_of_trained_network
from .set import SyntheticSet

INITS = ("noise", "real", "herd")


def initial(data: ImageData, ipc: int, init: str, rng: Generator, *, network: str = "convnet") -> SyntheticSet:
    """`ipc` images for each class of `data` (already pruned), class by class.

    init : 'noise' N(0, 1) in normalised space; 'real' random samples; 'herd' the samples that herding picks on
    the features of one network trained on `data`. Labels are hard, in class order.
    network : whose features herding stands on. rng : on the device of the data.
    Raises InputError for an unknown init, or a class with fewer than `ipc` samples where real ones are needed.
    Source: supplement Sec. 3.1 (Table 4) names the three; how the network for herding is trained is ours.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.synthetic import initial
    >>> train, _ = load("digits")
    >>> start = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> tuple(start.images.shape), start.labels[:6].tolist()
    ((20, 1, 8, 8), [0, 0, 1, 1, 2, 2])
    """
    if init not in INITS:
        raise InputError(f"init = {init!r}: must be one of {', '.join(INITS)}")
    if ipc < 1:
        raise InputError(f"ipc = {ipc}: must be at least 1")
    labels = torch.arange(data.num_classes, device=data.device).repeat_interleave(ipc)
    if init == "noise":
        shape = (len(labels), *data.shape)
        images = torch.randn(shape, generator=rng, device=data.device)
    else:
        for c, count in enumerate(data.counts().tolist()):
            if count < ipc:
                name = data.classes[c]
                raise InputError(f"class {name!r} has {count} samples: too few for init {init!r} with ipc = {ipc}")
        if init == "herd":
            features = features_of_trained_network(data, network, rng)
            picks = [data.of_class(c)[herding(features[data.of_class(c)], ipc)] for c in range(data.num_classes)]
        else:
            picks = [
                members[torch.randperm(len(members), generator=rng, device=rng.device)[:ipc]]
                for members in map(data.of_class, range(data.num_classes))
            ]
        images = data.batch(torch.cat(picks))
    return SyntheticSet(images, labels, data.classes, data.mean, data.std, whitening=data.whitening, frames=data.frames)
