"""What experts say about images: labels from teachers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

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
