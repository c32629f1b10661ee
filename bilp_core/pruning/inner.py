"""Inner products <v, g_i> of a direction v with the gradient g_i of every sample, without the gradients themselves.

N gradients of a network fill N times the memory of its parameters; N inner products are N numbers. Each way below
takes a batch through the network once or twice. Linear stand-ins for the ITE, such as its component along a fixed
direction, need nothing else of the samples (main paper, the Hessian-vector form).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import cross_entropy

Parameters = dict[str, Tensor]


def sample_losses(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[Parameters], Tensor]:
    """Parameters by name -> cross-entropy of each image in nats, [N]."""

    def losses(parameters: Parameters) -> Tensor:
        return cross_entropy(functional_call(net, parameters, (images,)), labels, reduction="none")

    return losses


def per_sample(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters, chunk: int = 32) -> Tensor:
    """The yardstick: the gradient of each sample, then its inner product. direction: v by parameter name -> [N]."""
    at = _parameters(net)

    def one(image: Tensor, label: Tensor) -> Tensor:
        slopes = grad(lambda p: sample_losses(net, image[None], label[None])(p).sum())(at)
        return torch.stack([(slopes[name] * v).sum() for name, v in direction.items()]).sum()

    return vmap(one, chunk_size=chunk)(images, labels)


def forward(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters) -> Tensor:
    """Forward differentiation: the derivative of every loss along v, in one pass."""
    return jvp(sample_losses(net, images, labels), (_parameters(net),), (direction,))[1]


def double_backward(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters) -> Tensor:
    """G(a) = sum a_i g_i is linear in the weights a: the derivative of <v, G(a)> by a is the vector wanted."""
    at = {name: p.requires_grad_() for name, p in _parameters(net).items()}
    weights = torch.ones(len(images), dtype=images.dtype, device=images.device, requires_grad=True)
    total = weights @ sample_losses(net, images, labels)(at)
    slopes = torch.autograd.grad(total, [at[name] for name in direction], create_graph=True)
    inner = torch.stack([(s * v).sum() for s, v in zip(slopes, direction.values(), strict=True)]).sum()
    return torch.autograd.grad(inner, weights)[0]


@torch.no_grad()
def central_difference(
    net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters, step: float = 1e-4
) -> Tensor:
    """Half the difference of the losses a step to either side, over the step; its error falls with the step squared.

    step : length moved in parameter space, relative to the length of the parameters.
    """
    at, losses = _parameters(net), sample_losses(net, images, labels)
    length = _norm(direction)
    size = step * _norm({name: at[name] for name in direction}) / length
    sides = [losses({name: p + sign * size * direction[name] for name, p in at.items()}) for sign in (1, -1)]
    return (sides[0] - sides[1]) / (2 * size)


# each: (network, images [N, C, H, W], labels [N], v by parameter name) -> <v, g_i>, [N]
WAYS: dict[str, Callable[..., Tensor]] = {
    "per-sample gradients": per_sample,
    "forward": forward,
    "double backward": double_backward,
    "central difference": central_difference,
}


def _parameters(net: nn.Module) -> Parameters:
    return {name: p.detach() for name, p in net.named_parameters()}


def _norm(vectors: Parameters) -> Tensor:
    return torch.stack([v.square().sum() for v in vectors.values()]).sum().sqrt()
