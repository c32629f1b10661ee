"""What the tests of distillers share: a tiny network, short settings, and a run to look into."""

import torch

from bilp_core.distill import make
from bilp_core.distill.base import Run

NET = "convnet:depth=2,width=6"
SHORT = {"idc": {"inner": 2, "network_images": 16, "image_lr": 0.01}}  # its rounds are long


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def short(name, **options):
    return make(name, **{**SHORT.get(name, {}), **options})


def a_run(method, data, spec=NET, ipc=2, init="noise", adaptive=None):
    generator = rng(1)
    method = method.resolved(data, ipc)
    run = Run(method, data, method.start(data, ipc, init, generator, spec), spec, generator, adaptive)
    run.fresh_network()
    return run
