"""Sharpness-aware steps, against the formula written for one flat vector."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bilp_core.data import ImageData
from bilp_core.distillers import experts
from bilp_core.errors import InputError
from bilp_core.nets import Ensemble, Recipe, fit

NET = "convnet:depth=1,width=4"
RECIPE = Recipe(epochs=3, lr=0.1, momentum=0.0, weight_decay=0.0, batch=40, sharpness=0.3)


@pytest.fixture
def data():
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageData(images, torch.arange(40) % 2, ("a", "b"), (0.5,), (0.3,), "tiny", False)


def ensemble(seeds, stacked):
    return Ensemble(NET, (1, 8, 8), 2, seeds, stacked=stacked)


def written_out(data, seed):
    net = ensemble([seed], stacked=False).members[0]

    def slope(at):
        vector_to_parameters(at, net.parameters())
        loss = F.cross_entropy(net(data.batch()), data.labels)
        return parameters_to_vector(torch.autograd.grad(loss, list(net.parameters())))

    w = parameters_to_vector(net.parameters()).detach()
    for _ in range(RECIPE.epochs):
        g = slope(w)
        h = slope(w + RECIPE.sharpness * w**2 * g / (w.abs() * g).norm())
        across = g - (g @ h) / (h @ h) * h
        w = w - RECIPE.lr * (h - 0.3 * across)
    return w


@pytest.mark.parametrize("stacked", [False, True])
def test_steps_equal_the_formula(data, stacked):
    trained = ensemble([3, 5], stacked)
    fit(trained, data, RECIPE)
    plain = ensemble([3, 5], stacked)
    fit(plain, data, replace(RECIPE, sharpness=0.0))
    for k, seed in enumerate((3, 5)):
        found, other = (torch.cat([p[k].flatten() for p in e.weights().values()]) for e in (trained, plain))
        wanted = written_out(data, seed)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
        assert (other - wanted).norm() > 1e-3


def test_experts_of_sharp_steps_have_a_key_of_their_own(data):
    plain = experts.Training()
    assert experts.key(data, NET, replace(plain, sharpness=0.01)) != experts.key(data, NET, plain)
    with pytest.raises(InputError, match="sharpness = -1"):
        replace(plain, sharpness=-1).recipe()
