"""What methods share that match gradients of the network's loss."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from .matching import Matching
from .run import Run

SAMPLES = 32  # whose own gradients are computed together


def summed_loss(net: nn.Module, images: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of images of one class, summed, in nats. label : int64, no dimensions. weights : [N], 1 if None."""
    labels = label.expand(len(images))
    if weights is None:
        return F.cross_entropy(net(images), labels, reduction="sum")
    return weights @ F.cross_entropy(net(images), labels, reduction="none")


def mean_loss(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, in nats. labels : int64 [N], or shares of the classes, [N, classes]."""
    return F.cross_entropy(net(images), labels)


def sample_gradients(net: nn.Module, images: Tensor, label: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Gradient of the cross-entropy of each image: [N, *shape] for each of `weights`, parameters of `net`."""
    wanted = {id(w) for w in weights}
    state = {name: t.detach() for name, t in (*net.named_parameters(), *net.named_buffers())}
    chosen = {name: state[name] for name, p in net.named_parameters() if id(p) in wanted}

    def loss(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, {**state, **chosen}, (image[None],)), label[None])

    parts = [vmap(grad(loss), in_dims=(None, 0))(chosen, part) for part in images.split(SAMPLES)]
    return [torch.cat([part[name] for part in parts]) for name in chosen]


class GradientMatching(Matching):
    """The statistic of a set of images is the gradient of their mean cross-entropy."""

    @abstractmethod
    def weights(self, net: nn.Module) -> list[Tensor]:
        """The parameters whose gradients are matched."""

    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        weights, target = self.weights(run.net), run.classes[label]
        if not real:
            loss = summed_loss(run.net, images, target) / len(images)
            return list(torch.autograd.grad(loss, weights, create_graph=True))
        total = [torch.zeros_like(p) for p in weights]
        for loss in run.in_chunks(summed_loss, images, target):
            torch._foreach_add_(total, torch.autograd.grad(loss / len(images), weights))
        return total

    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:
        return sample_gradients(run.net, images, run.classes[label], self.weights(run.net))
