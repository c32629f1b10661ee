"""Where the students of a distilled set go."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distillers.unrolling import Parameters, advanced, leaves, plan
from ..nets.networks import network
from ..synthetic.set import SyntheticSet


def student_path(synthetic: SyntheticSet, start: Parameters, steps: int = 0, seed: int = 0) -> Tensor:
    """[steps + 1, P]: all parameters, flat, of a student of a set that MTT made, from `start` on.

    steps : those it was distilled with if 0.
    """
    meta, options = synthetic.meta, synthetic.meta["options"]
    channels, height, width = synthetic.images.shape[1:]
    net = network(meta["network"], (channels, height, width), len(synthetic.classes))
    steps, rng = steps or options["steps"], torch.Generator().manual_seed(seed)
    size = (height, width)
    lr, parameters, path = torch.tensor(meta["lr"]), start, [start]
    for step in plan(len(synthetic.images), steps, options["batch_synthetic"], meta["augment"], size, rng):
        after = advanced(net, leaves(parameters), synthetic.images, synthetic.labels, lr, step)
        parameters = {name: p.detach() for name, p in after.items()}  # without the step's graph
        path.append(parameters)
    return torch.stack([torch.cat([p.flatten() for p in row.values()]) for row in path])
