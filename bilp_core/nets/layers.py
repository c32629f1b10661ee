"""What the networks are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Shape = tuple[int, int, int]
CUT_NORMAL = 0.8796256610342398  # standard deviation of the standard normal distribution between -2 and 2


class Network(nn.Module):
    """Features, then one linear layer: what every method here relies on.

    embed(x)   : [N, C, H, W] -> [N, E], the flattened features before the last linear layer.
    forward(x) : [N, C, H, W] -> [N, num_classes] logits.
    start      : how `initialise` draws the weights: 'uniform', 'he', 'lecun' or 'kernel'.

    >>> import torch
    >>> from bilp_core.nets import Network
    >>> net = Network(torch.nn.Sequential(torch.nn.Flatten()), torch.nn.Linear(64, 10))
    >>> images = torch.zeros(5, 1, 8, 8)
    >>> tuple(net.embed(images).shape), tuple(net(images).shape)
    ((5, 64), (5, 10))
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Linear, start: str = "uniform") -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.start = start

    def embed(self, x: Tensor) -> Tensor:
        return self.features(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(x))


GAIN, BIAS = 2.0, 0.1  # of kernels: the variance of a weight times its fan in, and the deviation of a bias
# Each takes the shape of the map to be normalised. Instance norm is group norm with one channel a group:
# affine, and the same in training and evaluation.
NORMS: dict[str, Callable[[Shape], list[nn.Module]]] = {
    "none": lambda shape: [],  # noqa: ARG005
    "batch": lambda shape: [nn.BatchNorm2d(shape[0])],
    "layer": lambda shape: [nn.LayerNorm(shape)],
    "instance": lambda shape: [nn.GroupNorm(shape[0], shape[0])],
    "group": lambda shape: [nn.GroupNorm(4, shape[0])],
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "leakyrelu": nn.LeakyReLU,
    "swish": nn.SiLU,
}
POOLS: dict[str, Callable[[], list[nn.Module]]] = {
    "none": list,
    "max": lambda: [nn.MaxPool2d(2)],
    "avg": lambda: [nn.AvgPool2d(2)],
}


def first_padding(shape: Shape) -> int:
    """Extra padding of the first convolution: 28x28 grey images enter as 32x32."""
    return 2 if shape == (1, 28, 28) else 0
