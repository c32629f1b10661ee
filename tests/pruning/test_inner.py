"""Inner products with sample gradients: every way gives what autograd gives, sample by sample."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from bilp_core.nets import initialise, network
from bilp_core.pruning import inner


def case(dtype, spec="convnet:depth=2,width=8"):
    rng = torch.Generator().manual_seed(0)
    net = network(spec, (3, 8, 8), 3)
    initialise(net, rng)
    net = net.to(dtype)
    images = torch.randn(5, 3, 8, 8, generator=rng, dtype=dtype)
    labels = torch.tensor([0, 1, 2, 1, 0])
    direction = {name: torch.randn(p.shape, generator=rng, dtype=dtype) for name, p in net.named_parameters()}
    return net, images, labels, direction


@pytest.mark.parametrize("way", inner.WAYS)
def test_equals_the_product_with_each_gradient(way):
    net, images, labels, direction = case(torch.float64)
    wanted = []
    for image, label in zip(images, labels, strict=True):
        loss = cross_entropy(net(image[None]), label[None])
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        wanted.append(sum((s * v).sum() for s, v in zip(slopes, direction.values(), strict=True)))
    found = inner.WAYS[way](net, images, labels, direction)
    loose = way == "central difference"  # off by the square of the step
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0.02 if loose else 1e-9, atol=0.02 if loose else 1e-12)
    assert not found.requires_grad


def test_central_differences_close_in_with_the_square_of_the_step():
    # a network without kinks
    net, images, labels, direction = case(torch.float64, "convnet:depth=2,width=8,act=swish,pool=avg")
    true = inner.forward(net, images, labels, direction)
    errors = [
        float((inner.central_difference(net, images, labels, direction, step) - true).norm()) for step in (4e-4, 1e-4)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


def test_the_network_is_left_as_it_was():
    net, images, labels, direction = case(torch.float32)
    before = [p.clone() for p in net.parameters()]
    for way in inner.WAYS.values():
        way(net, images, labels, direction)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.grad is None for p in net.parameters())
