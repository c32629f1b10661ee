"""Methods whose loss compares a mean over real samples with the same mean over synthetic ones."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..pruning import ite
from ..pruning.adaptive import Adaptive
from .method import Distiller
from .run import Run


class Separable(Distiller):
    """A method whose loss is additively separable in the real samples, which is what adaptive pruning rests on.

    Source: main paper, definition of the ITE.

    >>> from bilp_core import make
    >>> from bilp_core.distillers import Separable
    >>> isinstance(make("dm"), Separable), isinstance(make("mtt"), Separable)
    (True, False)
    """

    # whether BatchNorm layers are frozen meanwhile; where not, a sample has no statistic of its own
    freezes_batchnorm: ClassVar[bool] = False

    @abstractmethod
    def treatments(self, run: Run, label: int, picks: Tensor, top: int = 0) -> ite.Treatments:
        """The real samples `picks`, of one class where the loss is of one, ready for their ITE.

        top : so many of the synthetic images stand for all, see `ite.Effect`; only of a `Matching`.
        """

    @abstractmethod
    def loss_against(self, run: Run, label: int, picks: Tensor) -> Tensor:
        """The loss against the real samples `picks`."""


class Matching(Separable):
    """A method whose loss compares a mean over real samples with the same mean over synthetic ones.

    The loss is additively separable in the real samples, which is what ITE and adaptive pruning rest on.
    Source: the form is ours; separability: main paper, definition of the ITE.

    >>> import torch
    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import Run
    >>> train, _ = load("digits")
    >>> method, rng = make("dc", iterations=1), torch.Generator().manual_seed(0)
    >>> spec = "convnet:depth=1,width=4"
    >>> run = Run(method, train, method.start(train, 1, "noise", rng, spec), spec, rng)
    >>> run.fresh_network()
    >>> images = train.batch(run.batches.indices(5))
    >>> mean, each = method.statistic(run, images, 5, real=True), method.each(run, images, 5)
    >>> len(images), [list(m.shape) for m in mean]
    (137, [[4, 1, 3, 3], [10, 64]])
    >>> all(torch.allclose(e.mean(0), m, atol=1e-5) for e, m in zip(each, mean, strict=True))
    True
    """

    # how adaptive pruning finds the ITE unless it is told: at one synthetic image a class, and at several
    effects: ClassVar[tuple[str, str]] = ("sketch", "sketch:top=2")

    @abstractmethod
    def statistic(self, run: Run, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        """The mean over `images` of one class: detached for real images, with its graph for synthetic ones."""

    @abstractmethod
    def each(self, run: Run, images: Tensor, label: int) -> list[Tensor]:
        """What `statistic` is the mean of: [N, ...] for each of its tensors, detached."""

    @abstractmethod
    def distance(self, synthetic: list[Tensor], real: list[Tensor]) -> Tensor:
        """How far two such means are apart: a scalar."""

    def class_loss(self, run: Run, label: int) -> Tensor:
        """The matching loss of one class, real and synthetic images under the same augmentation."""
        adaptive = run.batches.adaptive if run.batches.due(label) else None
        picks = run.batches.indices(label)
        if adaptive is None:
            return self.loss_against(run, label, picks)
        effect = adaptive.found
        treatments = self.treatments(run, label, picks, effect.top)
        kept = run.batches.prune(label, picks, effect.norms(treatments, run.rng))
        share = kept.float() / kept.sum()
        return self.distance(treatments.at, [torch.einsum("n,n...->...", share, p) for p in treatments.each])

    def loss_against(self, run: Run, label: int, picks: Tensor) -> Tensor:
        """The matching loss of a class against the real samples `picks`."""
        _, synthetic, real = self.pair(run, label, picks)
        ours = self.statistic(run, synthetic, label, real=False)
        return self.distance(ours, self.statistic(run, real, label, real=True))

    def treatments(self, run: Run, label: int, picks: Tensor, top: int = 0) -> ite.Treatments:
        """The samples `picks` of a class and its synthetic images, or the top few of these, ready for their ITE."""
        stored, synthetic, real = self.pair(run, label, picks)
        whole, each = self.statistic(run, synthetic, label, real=False), self.each(run, real, label)
        of = ite.Treatments(stored, whole, each, self.distance)
        if not 0 < top < len(synthetic):
            return of
        few, stands_for = leading(of, synthetic, top, run.rng)
        # their share of the mean, and the root of what their squares stand for
        scale = top / len(synthetic) * stands_for.sqrt()
        return of.by([scale * s for s in self.statistic(run, synthetic[few], label, real=False)])

    def pair(self, run: Run, label: int, picks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stored synthetic images of the class, and, under one augmentation, those to match and the real ones."""
        stored = run.images_of(label)
        real, synthetic = run.siamese(run.data.batch(picks), self.decoded(run, stored))
        return stored, synthetic, real

    def decoded(self, run: Run, stored: Tensor) -> Tensor:  # noqa: ARG002
        """The images that the stored ones of a class stand for: themselves."""
        return stored


def leading(of: ite.Treatments, synthetic: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The synthetic images that the ITE moves most, int64 [count], and about how often their squares go into all.

    of : by all of `synthetic`, float [S, ...], which share no pixel of what is learnt. One product for all samples.
    Source: ours.
    """
    (moved,) = torch.autograd.grad(of.ours, synthetic, of.mixed(rng), retain_graph=True)
    squares = moved.flatten(1).square().sum(1)
    found, few = squares.topk(count)
    return few, squares.sum() / found.sum().clamp_min(1e-30)


def settled(method: Distiller, adaptive: Adaptive, ipc: int) -> Adaptive:
    """The same with its `effect` named where that is 'auto': the method's `effects`, and a sketch where it has none.

    By all of several images the ITE costs far more than the paper's 7%; by a few it finds others to drop, the more the
    images differ. The chapter on ITE has the measurements.

    >>> from bilp_core import make
    >>> from bilp_core.distillers import settled
    >>> from bilp_core.pruning import Adaptive
    >>> [settled(make("dc"), Adaptive(0.3), ipc).effect for ipc in (1, 10)]
    ['sketch', 'sketch:top=2']
    >>> [settled(make(name), Adaptive(0.3), ipc=10).effect for name in ("dm", "idc")]
    ['fine:top=4', 'sketch:top=4']
    >>> settled(make("frepo"), Adaptive(0.3), ipc=10).effect  # its images do not act one by one
    'sketch'
    """
    if adaptive.effect != "auto":
        return adaptive
    effect = method.effects[ipc > 1] if isinstance(method, Matching) else "sketch"
    return replace(adaptive, effect=effect if _one_by_one(method) else ite.Effect.read(effect).variant)


def _one_by_one(method: Distiller) -> bool:
    """Whether a few images may stand for all of a class: no two that are matched share a pixel of what is learnt."""
    return isinstance(method, Matching) and method.formation().decode == "single"


def check_adaptive(method: Distiller, net: nn.Module, adaptive: Adaptive | None = None) -> None:
    """Raise InputError unless the loss of `method` on `net` is a sum over real samples, as ITE needs; and, where a few
    synthetic images are to stand for all, their effects add up.

    >>> from bilp_core import make
    >>> from bilp_core.distillers import check_adaptive
    >>> from bilp_core.nets import network
    >>> check_adaptive(make("dm"), network("convnet", (1, 8, 8), 10))
    >>> check_adaptive(make("mtt"), network("convnet", (1, 8, 8), 10))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: adaptive pruning needs a loss that is additively separable in the real samples; ...
    """
    if not isinstance(method, Separable):
        reason = f": {method.inseparable}" if method.inseparable else ""
        raise InputError(
            f"adaptive pruning needs a loss that is additively separable in the real samples; that of "
            f"{method.name!r} is not{reason} (its real data can still be pruned preemptively, by ratio)"
        )
    if not method.freezes_batchnorm and any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        raise InputError(
            f"adaptive pruning with {method.name!r} needs a network without BatchNorm, which mixes the samples of a "
            f"batch: such as convnet"
        )
    if adaptive and adaptive.found.top and not _one_by_one(method):
        raise InputError(
            f"effect = {adaptive.effect!r}: with {method.name!r} no few images stand for all of a class, since they do "
            f"not act one by one; {adaptive.found.variant} by all of them works"
        )


def check_represent(method: Distiller, adaptive: Adaptive | None) -> None:
    """Raise InputError unless `method` matches real batches that nothing else chooses.

    >>> from bilp_core import make
    >>> from bilp_core.distillers import check_represent
    >>> check_represent(make("mtt"), None)
    Traceback (most recent call last):
    bilp_core.errors.InputError: representative batches need a method that matches real batches; 'mtt' does not
    """
    if not isinstance(method, Matching):
        raise InputError(f"representative batches need a method that matches real batches; {method.name!r} does not")
    if adaptive:
        raise InputError("representative batches and adaptive pruning both choose the real batch: ask for one of them")
