"""What experts say about images: labels from teachers, and images that they recognise."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from ..data.images import ImageData
from .experts import Buffer
from .unrolling import Parameters

CHUNK = 256  # images that pass at one time


@torch.no_grad()
def answers(net: nn.Module, parameters: Parameters, images: Tensor) -> Tensor:
    """Logits of images as they are, [N, classes], without graph. A BatchNorm normalises them by themselves.

    >>> import torch
    >>> from bilp_core.distillers.teachers import answers
    >>> from bilp_core.nets import network
    >>> net = network("convnet:depth=1,width=4", (1, 8, 8), 10)
    >>> answers(net, dict(net.named_parameters()), torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3, 10])
    """
    net.train()
    return torch.cat([functional_call(net, parameters, (part,)) for part in images.detach().split(CHUNK)])


def mean_answers(net: nn.Module, buffer: Buffer, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Logits [N, classes]: for each image the mean over the experts' last epochs; with hard `labels`, int64 [N], over
    those experts that classify it rightly, over all where none does.

    >>> from pathlib import Path
    >>> from bilp_core import load
    >>> from bilp_core.distillers.experts import Training, build
    >>> from bilp_core.distillers.teachers import mean_answers
    >>> from bilp_core.nets import network
    >>> train, _ = load("digits")
    >>> spec = "convnet:depth=1,width=4"
    >>> buffer = build(train, spec, Training(epochs=1), 2, Path("experts"))
    >>> net, some = network(spec, train.shape, train.num_classes), train.batch()[:5]
    >>> mean_answers(net, buffer, some).shape
    torch.Size([5, 10])
    """
    every: Tensor | None = None
    right = count = torch.zeros(len(images), 1, device=images.device)
    for expert in range(len(buffer)):
        logits = answers(net, buffer.parameters(expert, buffer.epochs, images.device), images)
        every = logits if every is None else every + logits
        if labels is not None:
            counts = (logits.argmax(1) == labels).to(logits)[:, None]
            right, count = right + counts * logits, count + counts
    assert every is not None
    mean = every / len(buffer)
    return mean if labels is None else torch.where(count > 0, right / count.clamp(min=1), mean)


def recognised(
    net: nn.Module, expert: Parameters, data: ImageData, ipc: int, rng: Generator
) -> tuple[Tensor, int, int]:
    """Indices of `ipc` samples a class that the expert classifies rightly, class by class and in random order, int64
    [classes x ipc]; how many it was asked about, and how many of those it got wrong.

    rng : on the data's device. A class with too few is filled up with those of least loss, and a warning.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.distillers.teachers import recognised
    >>> from bilp_core.nets import Ensemble, Recipe, fit
    >>> train, _ = load("digits")
    >>> ensemble = Ensemble("convnet:depth=1,width=8", train.shape, 10, seeds=[0], stacked=False)
    >>> _ = fit(ensemble, train, Recipe(epochs=3, lr=0.05, batch=64))
    >>> net = ensemble.members[0]
    >>> rng = torch.Generator().manual_seed(0)
    >>> picks, asked, wrong = recognised(net, dict(net.named_parameters()), train, ipc=2, rng=rng)
    >>> train.labels[picks][:6].tolist(), wrong < asked
    ([0, 0, 1, 1, 2, 2], True)
    """
    picks, asked, wrong = [], 0, 0
    for label, members in enumerate(data.of_class(c) for c in range(data.num_classes)):
        order = members[torch.randperm(len(members), generator=rng, device=rng.device)]
        right, others, losses = order[:0], order[:0], torch.empty(0, device=order.device)
        for part in order.split(CHUNK):
            logits = answers(net, expert, data.batch(part))
            good = logits.argmax(1) == label
            right, others = torch.cat([right, part[good]]), torch.cat([others, part[~good]])
            losses = torch.cat([losses, F.cross_entropy(logits, data.labels[part], reduction="none")[~good]])
            asked, wrong = asked + len(part), wrong + len(part) - int(good.sum())
            if len(right) >= ipc:
                break
        if len(right) < ipc:
            warnings.warn(
                f"the expert recognises only {len(right)} images of class {data.classes[label]!r}: to the {ipc} that "
                "were asked for, those of least loss are added",
                stacklevel=2,
            )
            right = torch.cat([right, others[losses.argsort(stable=True)]])
        picks.append(right[:ipc])
    return torch.cat(picks), asked, wrong
