"""What is published of each method's settings, but for those that depend on the data (see the methods' own tests)."""

import pytest

from bilp_core.distillers import make, options_of

MATCHING = {"image_momentum": 0.5, "batch": 256, "zca": "none"}
GRADIENTS = {**MATCHING, "iterations": 1000, "image_lr": 0.1, "network_lr": 0.01, "outer": 0, "inner": 0}
PUBLISHED = {
    "dc": {**GRADIENTS, "augment": False},
    "dsa": {**GRADIENTS, "augment": True},
    "dm": {**MATCHING, "iterations": 20000, "image_lr": 1.0, "augment": True},
    "idc": {
        "iterations": 2000, "image_momentum": 0.5, "batch": 64, "factor": 2, "decode": "single", "inner": 100,
        "batch_synthetic": 128, "network_lr": 0.01, "network_momentum": 0.9, "network_decay": 5e-4, "network_batch": 64,
    },
    "idm": {
        "iterations": 20000, "image_lr": 0.2, "image_momentum": 0.5, "factor": 2, "augment": True, "trained": 2,
        "network_lr": 0.01, "network_momentum": 0.9, "network_decay": 5e-4, "network_batch": 256,
    },
    "sre2l": {"iterations": 4000, "image_momentum": 0.5, "batch": 100, "first_bn": 10.0, "teacher_momentum": 0.9},
    "cafe": {
        **MATCHING, "iterations": 2000, "image_lr": 0.1, "network_lr": 0.01, "shallow": 0.1, "deep": 1.0,
        "inner_weight": 0.01, "steady": 0.04, "rising": 0.03, "augment": False,
    },
    "mtt": {
        "iterations": 10000, "image_momentum": 0.5, "augment": True, "epochs": 50, "expert_lr": 0.01,
        "expert_momentum": 0.0, "expert_decay": 0.0, "expert_batch": 256,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_the_published_settings(name):
    found = options_of(name)
    assert {key: found[key] for key in PUBLISHED[name]} == PUBLISHED[name]


def test_what_0_and_auto_stand_for_is_left_to_the_data():
    chosen = {name: {k for k, v in options_of(name).items() if v in (0, "auto")} for name in ("idc", "idm", "mtt")}
    assert chosen["idc"] == {"image_lr", "metric", "network_images", "pretrain", "augment", "cutmix"}
    assert chosen["idm"] == {"batch", "every", "pool", "network_steps", "ce_weight", "recount"}
    assert chosen["mtt"] >= {"image_lr", "zca", "steps", "span", "starts", "batch_synthetic", "step_lr", "start_lr"}
    assert not make("mtt").checkpoint
