"""Where the students of a distilled set go."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distillers.unrolling import Parameters, Student, plan
from ..nets.networks import network
from ..synthetic.set import SyntheticSet


def student_path(synthetic: SyntheticSet, start: Parameters, steps: int = 0, seed: int = 0) -> Tensor:
    """[steps + 1, P]: all parameters, flat, of a student of a set that MTT, TESLA or DATM made, from `start` on.

    start : parameters of the network by name, as `Buffer.parameters` gives them. steps : those it was distilled with
    if 0. seed : of its batches and augmentation.

    >>> from pathlib import Path
    >>> import torch
    >>> from bilp_core import distill, load, make
    >>> from bilp_core.distillers import experts
    >>> from bilp_core.studies.students import student_path
    >>> train, _ = load("digits")
    >>> method = make("mtt", iterations=1, steps=3, span=1, starts=1, experts=1, epochs=1)
    >>> net = "convnet:depth=1,width=4"
    >>> made = distill(method, train, ipc=1, network=net, home="experts")
    >>> buffer = experts.load(Path("experts") / made.meta["experts"], 1)
    >>> path = student_path(made, buffer.parameters(0, epoch=0))
    >>> path.shape, torch.equal(path[0], buffer.trajectory(0)[0])
    (torch.Size([4, 698]), True)
    """
    meta, options = synthetic.meta, synthetic.meta["options"]
    images, labels = synthetic.materialise()
    channels, height, width = images.shape[1:]
    net = network(meta["network"], (channels, height, width), len(synthetic.classes))
    steps, rng = steps or options["steps"], torch.Generator().manual_seed(seed)
    steps_of_it = plan(len(images), steps, options["batch_synthetic"], meta["augment"], (height, width), rng)
    student = Student(net, images, labels, torch.tensor(meta["lr"]), steps_of_it)
    path = [start, *(parameters for parameters, _ in student.walk(start))]
    return torch.stack([torch.cat([p.flatten() for p in row.values()]) for row in path])
