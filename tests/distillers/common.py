"""What the tests of distillers share: a tiny network, short settings, and a run to look into."""

import torch

from bilp_core.distillers import Run, make

NET = "convnet:depth=2,width=6"
TRAJECTORY = {
    "zca": "none", "steps": 3, "span": 1, "starts": 1, "start_lr": 0.01, "step_lr": 1e-7, "image_lr": 1.0,
    "experts": 2, "epochs": 2, "expert_batch": 16, "augment": False,
}  # fmt: skip
SHORT = {  # rounds of theirs are long
    "cafe": {"most": 2},
    "idc": {"inner": 2, "network_images": 16, "image_lr": 0.01},
    "sre2l": {
        "epochs": 9,
        "crop": "none",
        "views": 2,
        "teacher_batch": 16,
        "teacher_lr": 0.1,
        "image_lr": 0.2,
        "bn_weight": 0.01,
    },
    "idm": {"network_steps": 2, "network_batch": 16, "network_lr": 0.001, "ce_weight": 1e-4},
    "haba": {**TRAJECTORY, "hallucinators": 3, "image_lr": 0.3, "style_lr": 0.03},
    "linba": {"steps": 8, "network_lr": 0.1, "image_lr": 1.0},
    "kip": {"batch": 30},
    "mtt": TRAJECTORY,
    "rfad": {"networks": 2},
    "tesla": TRAJECTORY,
    "datm": {**TRAJECTORY, "starts_early": 1, "threshold": 9.0, "label_lr": 0.1},
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def short(name, **options):
    return make(name, **{**SHORT.get(name, {}), **options})


def a_run(method, data, spec=NET, ipc=2, init="noise", adaptive=None, represent=None):
    generator = rng(1)
    method = method.resolved(data, ipc)
    run = Run(method, data, method.start(data, ipc, init, generator, spec), spec, generator, adaptive, represent)
    run.fresh_network()
    return run
