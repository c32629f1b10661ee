from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bilp_core.errors import InputError
from bilp_core.indicators import score
from bilp_core.indicators.grand import gradient_norms
from bilp_core.nets import initialise, network
from bilp_core.utils.seeds import seeds

from .common import awkward


def convnet(seed: int, shape=(1, 8, 8)) -> nn.Module:
    net = network("convnet:depth=2,width=8", shape, 4)
    initialise(net, torch.Generator().manual_seed(seed))
    return net


def test_linear_model_by_hand():
    """dLoss/dW = (p - y) x^T and dLoss/db = p - y, so the norm is ||p - y|| sqrt(||x||^2 + 1)."""
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images, labels = torch.randn(5, 1, 8, 8, generator=rng), torch.tensor([0, 1, 2, 1, 0])
    error = net(images).softmax(1).detach() - F.one_hot(labels, 3)
    expected = error.norm(dim=1) * (images.flatten(1).square().sum(1) + 1).sqrt()
    torch.testing.assert_close(gradient_norms(net, images, labels), expected)


def test_backward_one_sample_at_a_time():
    net, data = convnet(0), awkward()
    expected = []
    for image, label in zip(data.batch(), data.labels, strict=True):
        net.zero_grad()
        F.cross_entropy(net(image[None]), label[None]).backward()
        expected.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm())
    torch.testing.assert_close(gradient_norms(net, data.batch(), data.labels), torch.stack(expected), rtol=1e-4, atol=0)


def test_neither_chunks_nor_order_matter():
    net, data = convnet(0), awkward()
    norms = gradient_norms(net, data.batch(), data.labels)
    for chunk in (1, 7, 41):
        torch.testing.assert_close(gradient_norms(net, data.batch(), data.labels, chunk), norms, rtol=1e-4, atol=1e-6)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0))
    options = {"trials": 2, "network": "convnet:depth=2,width=8"}
    scores = score(data, "grand", **options)
    torch.testing.assert_close(score(data.subset(order), "grand", **options), scores[order], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores[0], scores[1])  # the same image twice


def test_mean_over_networks():
    data = awkward()
    expected = []
    for seed in seeds("probe", 7, 3):
        expected.append(gradient_norms(convnet(seed), data.batch(), data.labels))
    found = score(data, "grand", seed=7, trials=3, network="convnet:depth=2,width=8")
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-6)


def test_training_makes_the_gradients_of_what_is_learned_small():
    data = awkward()
    options = {"trials": 2, "network": "mlp", "lr": 0.05, "batch": 8}
    first, later = (score(data, "grand", epochs=epochs, **options) for epochs in (0, 30))
    assert later.median() < 0.2 * first.median()


def test_refuses():
    with pytest.raises(InputError, match="'alexnet-bn': grand needs one without BatchNorm"):
        score(replace(awkward(), images=torch.zeros(41, 1, 32, 32, dtype=torch.uint8)), "grand", network="alexnet-bn")
    with pytest.raises(InputError, match="epochs = -1 .*at least 0"):
        score(awkward(), "grand", epochs=-1)
