"""Inner products <v, g_i> of a direction v with the gradient g_i of every sample, without the gradients themselves.

N gradients of a network fill N times the memory of its parameters; N inner products are N numbers. Each way below
takes a batch through the network once or twice. Linear stand-ins for the ITE, such as its component along a fixed
direction, need nothing else of the samples (main paper, the Hessian-vector form).
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import cross_entropy

Parameters = dict[str, Tensor]


def sample_losses(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[Parameters], Tensor]:
    """Parameters by name -> cross-entropy of each image in nats, [N].

    images : what `net` takes, N of them first. labels : int64 [N].

    >>> import torch
    >>> from bilp_core.pruning.inner import sample_losses
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> losses = sample_losses(net, torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    >>> [round(float(loss), 3) for loss in losses({"weight": torch.ones(2, 1)})]  # two equal logits: log 2
    [0.693, 0.693]
    """

    def losses(parameters: Parameters) -> Tensor:
        return cross_entropy(functional_call(net, parameters, (images,)), labels, reduction="none")

    return losses


def derivative(function: Callable[[Any], Any], at: Any, direction: Any) -> Any:
    """The derivative of `function` at `at` along `direction`, forward, of tensors in any lists and dictionaries.

    >>> import torch
    >>> from bilp_core.pruning.inner import derivative
    >>> derivative(lambda x: x**2, torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0])).tolist()
    [2.0, 0.0]
    """
    with warnings.catch_warnings():  # PyTorch's own code for this, loaded now, is of a kind that it warns of
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        return jvp(function, (at,), (direction,))[1]


def per_sample(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters, chunk: int = 32) -> Tensor:
    """The yardstick: the gradient of each sample, then its inner product. direction: v by parameter name -> [N].

    chunk : samples whose gradients are held at one time.

    >>> import torch
    >>> from bilp_core.pruning.inner import per_sample
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)  # both classes are equally likely: the gradient is (p - onehot) x
    >>> images, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    >>> per_sample(net, images, labels, {"weight": torch.tensor([[1.0], [0.0]])}).tolist()
    [-0.5, 1.0]
    """
    at = _parameters(net)

    def one(image: Tensor, label: Tensor) -> Tensor:
        slopes = grad(lambda p: sample_losses(net, image[None], label[None])(p).sum())(at)
        return torch.stack([(slopes[name] * v).sum() for name, v in direction.items()]).sum()

    return vmap(one, chunk_size=chunk)(images, labels)


def forward(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters) -> Tensor:
    """Forward differentiation: the derivative of every loss along v, in one pass. The rest as in `per_sample`.

    direction : v by the name of every parameter.

    >>> import torch
    >>> from bilp_core.pruning.inner import forward
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> images, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    >>> forward(net, images, labels, {"weight": torch.tensor([[1.0], [0.0]])}).tolist()
    [-0.5, 1.0]
    """
    return derivative(sample_losses(net, images, labels), _parameters(net), direction)


def double_backward(net: nn.Module, images: Tensor, labels: Tensor, direction: Parameters) -> Tensor:
    """G(a) = sum a_i g_i is linear in the weights a: the derivative of <v, G(a)> by a is the vector wanted.

    >>> import torch
    >>> from bilp_core.pruning.inner import double_backward
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> images, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    >>> double_backward(net, images, labels, {"weight": torch.tensor([[1.0], [0.0]])}).tolist()
    [-0.5, 1.0]
    """
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

    >>> import torch
    >>> from bilp_core.pruning.inner import central_difference
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> images, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    >>> found = central_difference(net, images, labels, {"weight": torch.tensor([[1.0], [0.0]])}, step=1e-2)
    >>> [round(float(value), 2) for value in found]
    [-0.5, 1.0]
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
