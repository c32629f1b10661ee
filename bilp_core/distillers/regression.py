"""Kernel ridge regression from synthetic to real images, and what methods that distil through it share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ..data.images import ImageData
from ..data.whitening import LARGEST
from ..errors import Diverged, InputError
from ..nets.memory import free_memory, split
from ..pruning import ite
from .matching import Separable
from .run import Run

MOST_BYTES = 4 << 30  # of effects that are held at a time, on a CPU


def embed(net: nn.Module, images: Tensor) -> Tensor:
    return net.embed(images)  # type: ignore[operator]


def embedded(net: nn.Module, images: Annotated[Tensor, "float [N, C, H, W]"]) -> Annotated[Tensor, "float [N, E]"]:
    """Features [N, E] of a network in evaluation mode: its BatchNorm goes by the running statistics."""
    net.eval()
    return torch.cat([embed(net, part) for part in split(images)])


def factored(kernel: Annotated[Tensor, "float64 [M, M]"], ridge: float) -> Annotated[Tensor, "float64 [M, M]"]:
    """The Cholesky factor of a kernel and its ridge, which is in units of the mean diagonal element.

    Raises Diverged for a kernel that is not finite, InputError for a singular one.

    >>> import torch
    >>> from bilp_core.distillers.regression import factored
    >>> factored(torch.eye(2, dtype=torch.float64), ridge=3.0).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    level = kernel.diagonal().mean()
    identity = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    factor, failed = torch.linalg.cholesky_ex(kernel + ridge * level * identity)
    # a singular kernel may pass, its last pivots then being all rounding; NaN compares as false
    pivots = factor.detach().diagonal().square()
    if failed or not pivots.min() > len(kernel) * torch.finfo(kernel.dtype).eps * level.detach():
        if not torch.isfinite(level):
            raise Diverged("features of the synthetic images are not finite; lower image_lr")
        raise InputError(
            f"the kernel of {len(kernel)} synthetic images is singular (two of them may be equal), and ridge = "
            f"{ridge} does not mend that: raise ridge"
        )
    return factor


def regressed(
    support: Annotated[Tensor, "float [M, E]"],
    labels: Annotated[Tensor, "float [M, classes]"],
    targets: Annotated[Tensor, "float [N, E]"],
    ridge: float,
) -> Annotated[Tensor, "float [N, classes]"]:
    """What kernel ridge regression on `support` predicts for `targets`, [N, classes]; differentiable in all.

    support, targets : features [M, E] and [N, E], the kernel being their inner products. labels : [M, classes].
    ridge : added to the kernel's diagonal, in units of the mean diagonal element.
    The system is solved in float64, where the kernel of float32 features keeps its eigenvalues positive.
    Raises Diverged for features that are not finite, InputError for a singular system.
    Source: Zhou, Nezhadarya & Ba, NeurIPS 2022; float64 and the check are ours.

    >>> import torch
    >>> from bilp_core.distillers.regression import regressed
    >>> support, labels = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> targets = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    >>> regressed(support, labels, targets, ridge=1.0).tolist()  # half of what no ridge gives
    [[0.5, 0.0], [0.25, 0.25]]
    >>> regressed(torch.ones(2, 2), labels, targets, ridge=0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: the kernel of 2 synthetic images is singular (two of them may be equal), and ...
    """
    wide = support.double()
    factor = factored(wide @ wide.T, ridge)
    weights = wide.T @ torch.cholesky_solve(labels.double(), factor)
    return targets @ weights.to(targets.dtype)


def sides(
    kernel: Annotated[Tensor, "float64 [M, M]"],
    labels: Annotated[Tensor, "float64 [M, classes]"],
    cross: Annotated[Tensor, "float64 [N, M]"],
    ridge: float,
    slopes: Annotated[Tensor, "float64 [N, classes]"],
) -> tuple[Annotated[Tensor, "float64 [N, M]"], Annotated[Tensor, "float64 [N, M]"]]:
    """How the loss of each target moves with the kernel, by two vectors a target: a_i and b_i, [N, M] each.

    With A the kernel and its ridge, k_i the target's row of `cross` and g_i its row of `slopes` (of its loss by what is
    predicted): a_i = A^-1 k_i and b_i = A^-1 Y g_i. The loss of i then changes by

        b_i . dk_i - a_i^T dK b_i - ridge / M (a_i . b_i) tr dK

    Source: ours, the derivative of k_i^T A^-1 Y.

    >>> import torch
    >>> from bilp_core.distillers.regression import sides
    >>> kernel, one = torch.full((1, 1), 4.0).double(), torch.ones(1, 1).double()
    >>> [float(side) for side in sides(kernel, one, 4 * one, 0.0, 3 * one)]  # k / K and y g / K
    [1.0, 0.75]
    """
    factor = factored(kernel, ridge)
    return torch.cholesky_solve(cross.T, factor).T, torch.cholesky_solve(labels @ slopes.T, factor).T


class Regression(Separable):
    """A method that learns images from which ridge regression predicts the labels of real ones.

    Its loss is a mean over real images, of all classes together, in which with the synthetic ones fixed none depends on
    another. So the effect of a sample (ITE) has a closed form, and adaptive pruning works: each class by its own law,
    in the joint batch. The paper does not prune so.
    """

    freezes_batchnorm: ClassVar[bool] = True  # features are those of evaluation

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_momentum >= 1:
            raise InputError(f"{self.name}: image_momentum = {self.image_momentum}: must be below 1")

    def whitening(self, data: ImageData) -> str:
        """`zca`, 'auto' filled in: colour images are whitened, unless they are too large.

        Raises InputError for fewer than two classes.
        """
        if data.num_classes < 2:
            raise InputError(f"{self.name} needs at least two classes: it keeps their labels apart")
        if self.zca != "auto":
            return self.zca
        return "relative" if data.shape[0] > 1 and math.prod(data.shape) <= LARGEST else "none"

    @abstractmethod
    def predicted(self, run: Run, picks: Tensor) -> Tensor:
        """What the synthetic set predicts for the real samples `picks`: [N, classes], with its graph."""

    @abstractmethod
    def losses(self, run: Run, predicted: Tensor, picks: Tensor) -> Tensor:
        """The loss of each of them, [N]."""

    def rest(self, run: Run) -> Tensor | float:  # noqa: ARG002
        """What the loss has beside their mean."""
        return 0.0

    def loss(self, run: Run, picks: Tensor) -> Tensor:
        return self.losses(run, self.predicted(run, picks), picks).mean() + self.rest(run)

    def loss_against(self, run: Run, label: int, picks: Tensor) -> Tensor:  # noqa: ARG002
        return self.loss(run, picks)

    def chosen(self, run: Run, draw: Callable[[], Tensor]) -> Tensor:
        """The next batch, as `draw` gives it: what adaptive pruning leaves of it."""
        adaptive = run.batches.adaptive
        if adaptive is None:
            return draw()
        if (survivors := run.batches.again()) is not None:
            return survivors
        picks = draw()
        if len(picks) < 2:  # a single sample has no effect against others
            return picks
        effects = adaptive.found.norms(self.treatments(run, 0, picks), run.rng)
        return run.batches.prune_jointly(picks, effects)

    def by_prediction(self, run: Run, predicted: Tensor, picks: Tensor) -> Tensor:
        """The slope of each sample's loss by what is predicted for it: float64 [N, classes]."""
        leaf = predicted.detach().requires_grad_()
        return torch.autograd.grad(self.losses(run, leaf, picks).sum(), leaf)[0].double()

    @staticmethod
    def check_memory(values: int, of: Tensor) -> None:
        """Raise InputError if effects of so many float64 values would not fit."""
        free = MOST_BYTES if of.device.type == "cpu" else free_memory(of.device) // 2
        if 16 * values > free:
            raise InputError(
                f"the effects of a batch take {16 * values / 2**30:.1f} GB, more than the {free / 2**30:.1f} GB there "
                "are for them: a smaller batch, or fewer or narrower networks, need less"
            )


class OnFeatures(Regression):
    """Regression whose kernel is the inner product of a network's features. `ridge` is a field of the method."""

    ridge: float

    @abstractmethod
    def support(self, run: Run) -> tuple[Tensor, Tensor]:
        """Features [M, E] of the synthetic images, with their graph, and their labels [M, classes]."""

    @abstractmethod
    def targets(self, run: Run, picks: Tensor) -> Tensor:
        """Features [N, E] of real images, detached."""

    @torch.no_grad()
    def real(self, run: Run, picks: Tensor, nets: Sequence[nn.Module]) -> Tensor:
        """`embedded` real images by each network, side by side: [N, E x networks], detached."""
        images, positions = run.data.batch(picks), self.iterations * len(nets) * len(picks) * run.data.positions
        for net in nets:
            net.eval()
        return torch.cat([run.rows(embed, images, net, positions) for net in nets], 1)

    def predicted(self, run: Run, picks: Tensor) -> Tensor:
        return regressed(*self.support(run), self.targets(run, picks), self.ridge)

    def treatments(self, run: Run, label: int, picks: Tensor, top: int = 0) -> ite.Terms:  # noqa: ARG002
        features, labels = self.support(run)
        targets = self.targets(run, picks).double()
        self.check_memory(len(targets) * features.numel(), features)
        with torch.no_grad():
            wide, y = features.double(), labels.double()
            kernel, cross = wide @ wide.T, targets @ wide.T
            predicted = cross @ torch.cholesky_solve(y, factored(kernel, self.ridge))
        g = self.by_prediction(run, predicted, picks)
        with torch.no_grad():
            a, b = sides(kernel, y, cross, self.ridge, g)
            # by features F, K = F F^T and k_i = F t_i: b_i (t_i - F^T a_i)^T - a_i (F^T b_i)^T - ...
            slopes = b[:, :, None] * (targets - a @ wide)[:, None] - a[:, :, None] * (b @ wide)[:, None]
            slopes -= 2 * self.ridge / len(y) * (a * b).sum(1)[:, None, None] * wide
        return ite.Terms(run.images, [features], [slopes.to(features.dtype)])
