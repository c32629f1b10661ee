"""Gradients of the last layer, known through their inner products alone."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import InputError

GRADIENTS = ("layer", "class", "logits")
BLOCK = 512  # rows of a product that are multiplied together


@dataclass(frozen=True, eq=False)
class LastLayer:
    """What a trained network makes of each sample at its last, linear layer.

    features : [N, E], the layer's input. logits : [N, C], its output. labels : int64 [N].

    The gradient of a sample's cross-entropy by the layer's weights and biases is e_i (h_i, 1)^T, where h_i are the
    features and e_i = softmax(logits) - onehot(label). So two of them have the inner product <e_i, e_j> (<h_i, h_j>
    + 1), and no N x C (E + 1) matrix is needed.
    Raises InputError for shapes that do not fit, FloatingPointError for values that are not finite.
    Source: as CRAIG, GradMatch and GLISTER take them; the form of their products is ours.

    >>> import torch
    >>> from bilp_core.coresets import LastLayer
    >>> layer = LastLayer(torch.eye(3), logits=torch.zeros(3, 2), labels=torch.tensor([0, 0, 1]))
    >>> layer.errors.tolist()
    [[-0.5, 0.5], [-0.5, 0.5], [0.5, -0.5]]
    >>> [members.tolist() for members in layer.classes()]
    [[0, 1], [2]]
    >>> layer.gram(torch.tensor([0, 1])).tolist()  # 0.5 times <h_i, h_j> + 1
    [[1.0, 0.5], [0.5, 1.0]]
    """

    features: Annotated[Tensor, "float [N, E]"]
    logits: Annotated[Tensor, "float [N, C]"]
    labels: Annotated[Tensor, "int64 [N]"]

    def __post_init__(self) -> None:
        for name in ("features", "logits"):
            value = getattr(self, name)
            if value.ndim != 2 or len(value) != len(self.labels):
                raise InputError(f"{name} are {list(value.shape)}: must be [N, ...] for {len(self.labels)} labels")
            if not torch.isfinite(value).all():
                raise FloatingPointError(f"{name} of the trained network are not finite: lower its learning rate")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def errors(self) -> Annotated[Tensor, "float [N, C]"]:
        """softmax - onehot, [N, C]: the gradients of the losses by the logits."""
        return self.logits.softmax(1) - one_hot(self.labels, self.logits.shape[1])

    def subset(self, indices: Tensor) -> "LastLayer":
        return replace(self, features=self.features[indices], logits=self.logits[indices], labels=self.labels[indices])

    def classes(self) -> list[Tensor]:
        """Indices of the samples of each class that has any, ascending."""
        return [(self.labels == c).nonzero().flatten() for c in self.labels.unique()]

    def gram(
        self, members: Annotated[Tensor, "int64 [n]"], gradient: str = "layer"
    ) -> Annotated[Tensor, "float64 [n, n]"]:
        """Inner products between the gradients of the samples `members` of one class: float64 [n, n].

        gradient : 'layer', of all weights and biases; 'class', of those of the output of the class alone (the
                   per-class per-gradient form of GradMatch); 'logits', of the biases, which is that of the logits.
        Raises InputError for another gradient.
        """
        check_gradient(gradient)
        errors = self.errors[members].double()
        if gradient == "class":
            own = int(self.labels[members[0]])
            errors = errors[:, own : own + 1]
        products = errors @ errors.T
        if gradient != "logits":
            products *= _with_itself(self.features[members].double()).add_(1)
        return products


def _with_itself(matrix: Tensor) -> Tensor:
    """M M^T, of which only one triangle is multiplied."""
    product = matrix.new_empty(len(matrix), len(matrix))
    for start in range(0, len(matrix), BLOCK):
        rows, end = slice(start, start + BLOCK), start + BLOCK
        product[rows, :end] = matrix[rows] @ matrix[:end].T
        product[:start, rows] = product[rows, :start].T
    return product


def check_gradient(gradient: str, allowed: tuple[str, ...] = GRADIENTS) -> None:
    """Raises InputError for what is not `allowed`.

    >>> from bilp_core.coresets import check_gradient
    >>> check_gradient("layer")
    >>> check_gradient("weights")
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: gradient = 'weights': must be one of layer, class, logits
    """
    if gradient not in allowed:
        raise InputError(f"gradient = {gradient!r}: must be one of {', '.join(allowed)}")
