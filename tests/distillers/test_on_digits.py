"""Sets of trajectory methods teach more than as many random real images do; HaBa and LinBa take longer to."""

from statistics import fmean

import pytest
import torch

from bilp_core.data import load
from bilp_core.distillers import distill, make, suited
from bilp_core.evaluation import evaluate, protocol
from bilp_core.synthetic import initial

NET = "convnet:depth=2,width=16"
SHORTER = {"iterations": 25, "experts": 1, "steps": 8, "image_lr": 60.0}


@pytest.mark.parametrize("name", ["tesla", "datm"])
def test_it_beats_random_real_images(name, tmp_path):
    train, test = load("digits")
    method = make(name, **{**suited(name, train), **SHORTER})
    made = distill(method, train, 1, network=NET, home=tmp_path)
    judged = protocol(name, test, NET, learned_lr=made.meta["lr"], epochs=60)
    real = [initial(train, 1, "real", torch.Generator().manual_seed(k)) for k in range(2)]
    ours, *theirs = (evaluate(some, test, network=NET, protocol=judged, repeats=1).mean for some in (made, *real))
    assert ours > fmean(theirs) + 0.05
