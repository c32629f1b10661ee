"""Individual treatment effects (ITE): what one real sample does to the meta-gradient.

The loss of a class is `distance(s, m)`: s a statistic of its synthetic images S, m the mean over N real samples of
their statistics p_i. The meta-gradient is dLoss/dS = J^T grad(m), with J = ds/dS and grad(m) the derivative of the
distance by s at m. The ITE of sample i is the difference it makes, with and without:

    ITE_i = J^T c_i,    c_i = grad(m) - grad(m without i),    m without i = (N m - p_i) / (N - 1)

and its criterion is the L2 norm of ITE_i. The synthetic graph does not depend on i, so it is built once, and the
exact ITE of a sample costs one vector-Jacobian product. The rest of this file makes that cheaper.

S is taken in normalised space, as the synthetic images are kept.
Source: main paper, definition of the ITE and its Taylor form; the closed form and `sketch` are our derivation.
"""

import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Generator, Tensor
from torch.func import grad, vmap

from ..errors import InputError
from .inner import derivative

Distance = Callable[[list[Tensor], list[Tensor]], Tensor]
CHUNK = 8  # samples whose cotangents are computed together: stays near the cache
COORDINATES = 8192  # of each tensor, from which the Gram matrix of the cotangents is estimated
RANK, FINE = 14, 28  # directions of a sketch; the chapter on ITE measures the ranking error they leave


class Treatments:
    """The N samples of a real batch of one class, as treatments of its synthetic images.

    stored   : the synthetic images of the class as they are kept, any shape.
    ours     : their statistic, a list of tensors that still have their graph.
    each     : statistics of the N >= 2 real samples, detached: [N, ...] for each tensor of `ours`.
    distance : (synthetic statistic, mean of the real ones), two lists of tensors, -> the loss, a scalar.
    at       : the statistic of all images of the class, at which the loss is taken: `ours` but for what `by` gives.
    `VARIANTS` turn it into one number a sample; `rank_error` compares two of them.

    >>> import torch
    >>> from bilp_core.pruning import VARIANTS, Treatments
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> of = Treatments(image, [2 * image], [real], squared)  # a statistic with J = 2
    >>> len(of), of.transposed([torch.tensor([1.0, 0.0])]).tolist()
    (3, [2.0, 0.0])
    >>> of.cotangents[0].tolist()  # 2 (m - p_i) / (N - 1), here with m = 0
    [[-3.0, -4.0], [3.0, 4.0], [0.0, 0.0]]
    >>> VARIANTS["exact"](of, torch.Generator()).tolist()
    [10.0, 10.0, 0.0]
    """

    def __init__(
        self,
        stored: Tensor,
        ours: Sequence[Tensor],
        each: Sequence[Tensor],
        distance: Distance,
    ) -> None:
        self.stored, self.ours, self.each, self.distance = stored, list(ours), list(each), distance
        self.at = self.ours
        self._detached = [s.detach() for s in self.at]
        self._mean = [p.mean(0) for p in each]

    def __len__(self) -> int:
        return len(self.each[0])

    def transposed(self, cotangent: Sequence[Tensor]) -> Annotated[Tensor, "float [D]"]:
        """J^T c, flat: a direction in the space of the stored images."""
        (out,) = torch.autograd.grad(self.ours, self.stored, list(cotangent), retain_graph=True)
        return out.flatten()

    def mixtures(self, weights: Annotated[Tensor, "float [K, N]"]) -> Annotated[Tensor, "float [K, D]"]:
        """sum_i w_i ITE_i, for each row w of `weights` [K, N]: [K, size of the images]."""
        mixed = [(weights @ c.flatten(1)).view(-1, *s.shape) for c, s in zip(self.cotangents, self.ours, strict=True)]
        return torch.stack([self.transposed(one) for one in zip(*mixed, strict=True)])

    def times(self, direction: Annotated[Tensor, "float [D]"]) -> list[Tensor]:
        """J u for a flat direction u. J^T v is linear in v, so its derivative by v, in the direction u, is J u."""
        dummy, out = self._linear
        return list(torch.autograd.grad(out, dummy, direction.view_as(out), retain_graph=True))

    @cached_property
    def _linear(self) -> tuple[list[Tensor], Tensor]:
        dummy = [torch.zeros_like(s).requires_grad_() for s in self.ours]
        (out,) = torch.autograd.grad(self.ours, self.stored, dummy, create_graph=True)
        return dummy, out

    def mixed(self, rng: Generator) -> list[Tensor]:
        """A sum of the c_i, each times a random normal number: a list like `ours`.

        What J^T makes of it has, in each part of the images, the squares of all ITE_i on average.
        """
        weights = torch.randn(len(self), generator=rng, device=rng.device)
        return [torch.einsum("n,n...->...", weights.to(c.dtype), c) for c in self.cotangents]

    def by(self, ours: Sequence[Tensor]) -> "Treatments":
        """The same treatments, of which another statistic `ours` tells: the loss and the c_i stay where they are."""
        other = copy(self)
        other.ours = list(ours)
        other.__dict__.pop("_linear", None)
        return other

    @cached_property
    def slope(self) -> list[Tensor]:
        """grad(m): the derivative of the distance by the synthetic statistic."""
        return grad(self.distance)(self._detached, self._mean)

    @cached_property
    def cotangents(self) -> list[Tensor]:
        """c_i of every sample, exactly: a list like `each`."""
        count = len(self)
        slopes = vmap(grad(self.distance), in_dims=(None, 0))
        out = [torch.empty_like(p) for p in self.each]
        for start in range(0, count, CHUNK):
            rows = slice(start, start + CHUNK)
            without = [(count * m - p[rows]) / (count - 1) for m, p in zip(self._mean, self.each, strict=True)]
            for c, a, b in zip(out, self.slope, slopes(self._detached, without), strict=True):
                torch.sub(a, b, out=c[rows])
        return out

    @cached_property
    def linear_cotangents(self) -> list[Tensor]:
        """c_i to first order in the sample: d grad(m)/dm applied to (p_i - m) / (N - 1)."""

        def one(sample: list[Tensor]) -> list[Tensor]:
            shift = [(p - m) / (len(self) - 1) for p, m in zip(sample, self._mean, strict=True)]
            return derivative(lambda target: grad(self.distance)(self._detached, target), self._mean, shift)

        return vmap(one, chunk_size=CHUNK)(self.each)


class Terms(Treatments):
    """The N samples of a loss that is a mean of one term each: no mean stands between them and the loss.

    With l_i the term of sample i, the gradient is J^T (mean of dl_i/ds), so that without i it is another mean, and

        ITE_i = J^T (dl_i/ds - their mean) / (N - 1)

    exactly; its Taylor form is the same.
    stored, ours : as in `Treatments`. slopes : dl_i/ds of N >= 2 samples, detached, [N, ...] for each of `ours`.
    Source: the definition of the main paper; this form of it is ours.

    >>> import torch
    >>> from bilp_core.pruning.ite import Terms, exact
    >>> image = torch.zeros(2, requires_grad=True)
    >>> slopes = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> exact(Terms(image, [2 * image], [slopes]), torch.Generator()).tolist()
    [5.0, 5.0, 0.0]
    """

    def __init__(self, stored: Tensor, ours: Sequence[Tensor], slopes: Sequence[Tensor]) -> None:
        self.stored, self.ours, self.each = stored, list(ours), list(slopes)

    @cached_property
    def slope(self) -> list[Tensor]:
        return [s.mean(0) for s in self.each]

    @cached_property
    def cotangents(self) -> list[Tensor]:
        return [(s - m) / (len(self) - 1) for s, m in zip(self.each, self.slope, strict=True)]

    @property
    def linear_cotangents(self) -> list[Tensor]:
        return self.cotangents


def exact(of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:  # noqa: ARG001
    """One vector-Jacobian product a sample. [N]; rng is not used.

    >>> import torch
    >>> from bilp_core.pruning import Treatments
    >>> from bilp_core.pruning.ite import exact
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> exact(Treatments(image, [2 * image], [real], squared), torch.Generator()).tolist()
    [10.0, 10.0, 0.0]
    """
    return torch.stack([of.transposed(one).norm() for one in zip(*of.cotangents, strict=True)])


def taylor(of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:  # noqa: ARG001
    """`exact` with c_i to first order. Equal to it for squared distances, whose slope is linear. [N]; rng is not used.

    Source: main paper (Taylor approximation); in closed form, ours.

    >>> import torch
    >>> from bilp_core.pruning import Treatments
    >>> from bilp_core.pruning.ite import exact, taylor
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> of = Treatments(image, [2 * image], [real], squared)
    >>> torch.allclose(taylor(of, torch.Generator()), exact(of, torch.Generator()))
    True
    """
    return torch.stack([of.transposed(one).norm() for one in zip(*of.linear_cotangents, strict=True)])


def sketch(of: Treatments, rng: Generator, rank: int = RANK) -> Annotated[Tensor, "float [N]"]:
    """Norms inside the span of `rank` directions, and an estimate of what lies outside.

    The leading directions V of all c_i (eigenvectors of their Gram matrix) go through J^T and give an orthonormal
    basis Q of images; J Q then gives Q^T ITE_i of every sample at once. Outside of Q lies only what J^T makes of
    the part of c_i outside of V. Its squared norm is taken in proportion to that of the part; the factor is measured
    on a random sum of such parts. Every k-th coordinate is enough to find the directions; the c_i stay whole.
    The tensors of c_i (layers) count in the Gram matrix by what J^T makes of them, which one random J z tells:
    E <(J z)_l, c_il>^2 = |J_l^T c_il|^2. Under a trained network the last layer has the largest c_i and hardly moves
    the images. 2 x rank + 2 products in all instead of N; where that is no gain, `exact` is taken instead.
    Returns [N]. Source: ours.

    >>> import torch
    >>> from bilp_core.pruning import Treatments, rank_error
    >>> from bilp_core.pruning.ite import exact, sketch
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> rng = torch.Generator().manual_seed(0)
    >>> image = torch.zeros(20, requires_grad=True)
    >>> real = torch.randn(64, 20, generator=rng) * 2.0 ** -torch.arange(20)  # a few directions hold most of them
    >>> of = Treatments(image, [2 * image], [real], squared)
    >>> rank_error(exact(of, rng), sketch(of, rng, rank=4)) < 0.01
    True
    """
    if 2 * rank + 2 >= len(of):
        return exact(of, rng)
    flat = [part.flatten(1) for part in of.cotangents]
    some = [part[:, :: -(-part.shape[1] // COORDINATES)] for part in flat]
    parts = [part @ part.T for part in some]  # their scale goes with the trace below
    probe = of.times(torch.randn(of.stored.numel(), generator=rng, device=rng.device).to(of.stored))
    seen = [(part @ p.flatten()).square().sum() for part, p in zip(flat, probe, strict=True)]
    gram = torch.stack([s / part.trace().clamp_min(1e-30) * part for s, part in zip(seen, parts, strict=True)]).sum(0)
    leading = torch.linalg.eigh(gram).eigenvectors[:, -rank:]
    images = of.mixtures(leading.T)
    basis = torch.linalg.qr(images.T).Q
    inside = _components(of, basis.T).square().sum(1)
    outside = torch.eye(len(of), device=gram.device) - leading @ leading.T
    signs = torch.randint(0, 2, (len(of),), generator=rng, device=rng.device).to(gram) * 2 - 1
    total = outside @ signs
    left = of.mixtures(total[None])[0]
    left = left - basis @ (basis.T @ left)
    gain = left.square().sum() / (total @ gram @ total).clamp_min(1e-30)
    rest = ((outside @ gram) * outside).sum(1).clamp_min(0)
    return (inside + gain * rest).sqrt()


def fine(of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:
    """`sketch` by twice the directions, for statistics that spread over many: mean features, as DM has them. [N].

    Source: ours.

    >>> import torch
    >>> from bilp_core.pruning import Treatments, rank_error
    >>> from bilp_core.pruning.ite import exact, fine, sketch
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> rng = torch.Generator().manual_seed(0)
    >>> image = torch.zeros(200, requires_grad=True)
    >>> real = torch.randn(80, 200, generator=rng)  # many directions, to which the images respond unlike
    >>> of = Treatments(image, [torch.arange(200) * image], [real], squared)
    >>> rank_error(exact(of, rng), fine(of, rng)) < rank_error(exact(of, rng), sketch(of, rng))
    True
    """
    return sketch(of, rng, FINE)


def probes(of: Treatments, rng: Generator, count: int = 32) -> Annotated[Tensor, "float [N]"]:
    """Root mean square of the ITE along `count` random normal directions: E <J z, c_i>^2 = |ITE_i|^2.

    Returns [N]. Source: ours.

    >>> import torch
    >>> from bilp_core.pruning import Treatments
    >>> from bilp_core.pruning.ite import exact, probes
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> rng = torch.Generator().manual_seed(0)
    >>> image = torch.zeros(2, requires_grad=True)
    >>> of = Treatments(image, [2 * image], [torch.randn(5, 2, generator=rng)], squared)
    >>> off = probes(of, rng, count=1000) / exact(of, rng) - 1
    >>> bool(off.abs().max() < 0.15)
    True
    """
    shape = (count, of.stored.numel())
    directions = torch.randn(shape, generator=rng, device=rng.device).to(of.stored)
    return _components(of, directions).norm(dim=1) / count**0.5


def projection(of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:  # noqa: ARG001
    """|<ITE_i, meta-gradient>|, the latter of length 1: one product each way, the paper's single HVP.

    It sees how much of the meta-gradient a sample carries, not what it does across it.
    Returns [N]; rng is not used. Source: main paper, as we read its Hessian-vector form.

    >>> import torch
    >>> from bilp_core.pruning import Treatments
    >>> from bilp_core.pruning.ite import exact, projection
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[5.0, 0.0], [1.0, 3.0], [3.0, -3.0]])  # their mean, and so the meta-gradient, is along x
    >>> of = Treatments(image, [image * 1], [real], squared)
    >>> [round(float(value), 3) for value in projection(of, torch.Generator())]
    [2.0, 2.0, 0.0]
    >>> [round(float(value), 3) for value in exact(of, torch.Generator())]
    [2.0, 3.606, 3.0]
    """
    meta = of.transposed(of.slope)
    return _components(of, meta[None] / meta.norm().clamp_min(1e-30))[:, 0].abs()


def cotangent_norm(of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:  # noqa: ARG001
    """|c_i|: leaves J out, so it needs no pass through the synthetic images. [N]; rng is not used. Source: ours.

    >>> import torch
    >>> from bilp_core.pruning import Treatments
    >>> from bilp_core.pruning.ite import cotangent_norm
    >>> def squared(ours, mean):
    ...     return (ours[0] - mean[0]).square().sum()
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> cotangent_norm(Treatments(image, [2 * image], [real], squared), torch.Generator()).tolist()
    [5.0, 5.0, 0.0]
    """
    return torch.stack([part.flatten(1).square().sum(1) for part in of.cotangents]).sum(0).sqrt()


def _components(of: Treatments, directions: Tensor) -> Tensor:
    """<J u, c_i> for every sample i and direction u: [N, directions]."""
    columns = [of.times(u) for u in directions]
    stacked = [torch.stack([p.flatten() for p in parts], 1) for parts in zip(*columns, strict=True)]
    return torch.stack([c.flatten(1) @ part for c, part in zip(of.cotangents, stacked, strict=True)]).sum(0)


@dataclass(frozen=True)
class Effect:
    """How the ITE is found: `variant`, one of `VARIANTS`, by the `top` images of those that are matched (0: by all).

    The images of a class split its effect: |ITE_i|^2 is the sum of what each contributes, as long as none shares a
    pixel with another. The shares differ, so the few images whose share is largest stand for all, and every product but
    the one that finds them passes through so few, see `leading`.
    Raises InputError for words that are none of this. Source: ours.

    >>> from bilp_core.pruning.ite import Effect
    >>> Effect.read("sketch"), Effect.read("sketch:top=2")
    (Effect(variant='sketch', top=0), Effect(variant='sketch', top=2))
    >>> Effect.read("guess")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: effect = 'guess': must be auto, one of exact, taylor, ..., or such as sketch:top=2
    """

    variant: str
    top: int = 0

    @classmethod
    def read(cls, text: str) -> "Effect":
        found = re.fullmatch(r"([a-z]+)(?::top=([1-9][0-9]*))?", text)
        if not found or found[1] not in VARIANTS:
            raise InputError(f"effect = {text!r}: must be auto, one of {', '.join(VARIANTS)}, or such as sketch:top=2")
        return cls(found[1], int(found[2] or 0))

    def norms(self, of: Treatments, rng: Generator) -> Annotated[Tensor, "float [N]"]:
        """The L2 norm of the ITE of every sample, or what the variant has in its place."""
        return VARIANTS[self.variant](of, rng)


# each: (treatments, generator for random probes) -> the L2 norm of the ITE of every sample, [N], or a stand-in
VARIANTS: dict[str, Callable[[Treatments, Generator], Tensor]] = {
    "exact": exact,
    "taylor": taylor,
    "sketch": sketch,
    "fine": fine,
    "probes": probes,
    "projection": projection,
    "cotangent": cotangent_norm,
}


def leave_one_out(loss: Callable[[Tensor], Tensor], stored: Tensor, count: int) -> Tensor:
    """The definition, by force: L2 norm of the meta-gradient's change when a sample is left out, [count].

    loss : indices of the samples that take part -> the loss with its graph, computed from the images anew.
    Source: main paper, definition of the ITE.

    >>> import torch
    >>> from bilp_core.pruning.ite import leave_one_out
    >>> image = torch.zeros(2, requires_grad=True)
    >>> real = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    >>> leave_one_out(lambda picks: (2 * image - real[picks].mean(0)).square().sum(), image, count=3).tolist()
    [10.0, 10.0, 0.0]
    """
    everyone = torch.arange(count)

    def meta_gradient(picks: Tensor) -> Tensor:
        return torch.autograd.grad(loss(picks), stored)[0]

    with_all = meta_gradient(everyone)
    return torch.stack([(with_all - meta_gradient(everyone[everyone != i])).norm() for i in range(count)])


def rank_error(exact: Annotated[Tensor, "[N]"], approximate: Annotated[Tensor, "[N]"]) -> float:
    """1 / (N (N - 1)) sum |r_i - r'_i| over the ranks of N >= 2 values in two versions (supplement Sec. 2).

    0 for the same order, about 1/3 for an unrelated one.

    >>> import torch
    >>> from bilp_core.pruning import rank_error
    >>> rank_error(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 20.0, 30.0, 40.0]))
    0.0
    >>> rank_error(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 4.0, 3.0]))  # 2 / (4 x 3)
    0.16666666666666666
    """
    count = len(exact)
    ranks = [values.argsort().argsort() for values in (exact, approximate)]
    return float((ranks[0] - ranks[1]).abs().sum()) / (count * (count - 1))
