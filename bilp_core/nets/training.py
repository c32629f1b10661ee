"""Training and testing an ensemble."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from . import augment
from .ensemble import Ensemble, Epochs, Samples
from .memory import fitting_tests
from .mixing import cutmix
from .networks import trains_on_one
from .rates import IMAGES, factors, largest
from .recipe import LOSSES, Recipe
from .sharpness import sharpened


class _Directions:
    """What a step goes along, where that is not the gradient: gradients by each network's rate and each leaf's factor,
    and the pull to the start."""

    def __init__(self, ensemble: Ensemble, samples: Samples, recipe: Recipe) -> None:
        self.starts = ensemble.relate() if recipe.relative else None
        self.decay, self.any = recipe.weight_decay, bool(recipe.lr_share) or recipe.parameterisation != "standard"
        leaves = ensemble.leaves()
        self.rates: Sequence[float | Tensor] = [1.0] * len(leaves)
        self.factors = factors(ensemble, recipe.parameterisation)
        if recipe.lr_share:
            every = max(1, len(samples) // IMAGES)
            some = samples.batch(torch.arange(0, len(samples), every, device=ensemble.device)[:IMAGES])
            found = recipe.lr_share * largest(ensemble, some, recipe.loss, recipe.label_scale, recipe.parameterisation)
            each = len(leaves) // len(ensemble)
            self.rates = (
                [found.view(-1, *[1] * (leaf.ndim - 1)) for leaf in leaves]
                if ensemble.stacked
                else [rate for rate in found for _ in range(each)]
            )

    def __call__(self, leaves: Sequence[Tensor], grads: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self.any and self.starts is None:
            return grads
        starts: Sequence[float | Tensor] = self.starts or [0.0] * len(leaves)
        parts = zip(leaves, grads, starts, self.rates, self.factors, strict=True)
        with torch.no_grad():
            return [rate * (factor * g + self.decay * (w - start)) for w, g, start, rate, factor in parts]


def _optimizer(leaves: list[Tensor], recipe: Recipe, lr: float, stacked: bool) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        kernels = [leaf for leaf in leaves if leaf.ndim - stacked > 1]
        others = [leaf for leaf in leaves if leaf.ndim - stacked <= 1]
        decay = 0.0 if recipe.relative else recipe.weight_decay
        groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(leaves, lr=lr, weight_decay=0 if recipe.relative else recipe.weight_decay)
    own = recipe.relative or recipe.lr_share or recipe.parameterisation != "standard"  # see `_Directions`
    return torch.optim.SGD(leaves, lr=lr, momentum=recipe.momentum, weight_decay=0 if own else recipe.weight_decay)


def _batches(samples: Samples, recipe: Recipe, ensemble: Ensemble, orders: list[Tensor] | None, start: int):
    """Images [K, B, C, H, W] (or [B, C, H, W] where all networks see the same) and labels of one step."""
    if orders is None:
        images, labels = samples.batch(), samples.labels
    else:
        picks = [order[start : start + recipe.batch] for order in orders]
        images = torch.stack([samples.batch(pick) for pick in picks])
        labels = torch.stack([samples.labels[pick] for pick in picks])
    if recipe.augment != "none":
        k = len(ensemble)
        singles = images if orders is not None else images.expand(k, *images.shape)
        images = torch.stack(
            [
                augment.apply(single, augment.draw(recipe.augment, len(single), single.shape[-2:], rng))
                for single, rng in zip(singles, ensemble.hosts, strict=True)
            ]
        )
    if labels.ndim < 2 or orders is None:
        labels = labels.expand(len(ensemble), *labels.shape)
    if recipe.cutmix:
        soft = labels if labels.ndim == 3 else F.one_hot(labels, ensemble.base.classifier.out_features).float()
        singles = images if images.ndim == 5 else images.expand(len(ensemble), *images.shape)
        pairs = [
            cutmix(image, label, rng) if torch.rand((), generator=rng) < recipe.cutmix else (image, label)
            for image, label, rng in zip(singles, soft, ensemble.hosts, strict=True)
        ]
        images, labels = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return images, labels


def fit(
    ensemble: Ensemble,
    samples: Samples,
    recipe: Recipe,
    *,
    on_step: Callable[[int, list[Tensor] | None, Tensor], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Annotated[Tensor, "float32 [epochs, K]"]:
    """Train every network of `ensemble` on `samples`; returns the mean training loss, [epochs, K].

    samples : those that are `Epochs` are asked for what they are in each epoch.
    on_step(epoch, picks, logits) : called after each step with the sample indices of each network (None: all,
        in order) and the logits [K, B, classes] before the update.
    on_epoch(epoch) : called after each epoch.
    Raises FloatingPointError when a loss stops being finite, InputError where BatchNorm would meet a single pixel of a
    single sample, the last of an epoch.

    >>> from bilp_core import load
    >>> from bilp_core.nets import Ensemble, Recipe, fit
    >>> train, _ = load("digits")
    >>> ensemble = Ensemble("convnet:depth=1,width=8", train.shape, train.num_classes, seeds=[0, 1])
    >>> losses = fit(ensemble, train, Recipe(epochs=2, lr=0.05, batch=64))
    >>> tuple(losses.shape), bool((losses[1] < losses[0]).all())
    ((2, 2), True)
    """
    count, lr, loss = len(samples), recipe.lr, LOSSES[recipe.loss]
    if 1 in (recipe.batch, count % recipe.batch) and not trains_on_one(ensemble.base, ensemble.shape):
        raise InputError(
            f"batch = {recipe.batch}: it leaves one of {count} images alone in a step, and BatchNorm has no statistics "
            f"of the single pixel to which {ensemble.shape[1]}x{ensemble.shape[2]} images shrink: take another batch"
        )
    leaves = ensemble.leaves()
    optimizer = _optimizer(leaves, recipe, lr, ensemble.stacked)
    directions = _Directions(ensemble, samples, recipe)
    history = torch.zeros(recipe.epochs, len(ensemble), device=ensemble.device)
    starts = range(0, count, recipe.batch)

    def losses(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = ensemble.logits(images)
        scaled = logits if recipe.label_scale == 1 else logits / recipe.label_scale
        warm = scaled if recipe.temperature == 1 else scaled / recipe.temperature
        values = loss(warm.flatten(0, 1), labels.flatten(0, 1)).view(len(ensemble), -1)
        return logits, values if recipe.temperature == 1 else recipe.temperature**2 * values

    def slopes(images: Tensor, labels: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(losses(images, labels)[1].mean(1).sum(), leaves)

    for epoch in range(recipe.epochs):
        ensemble.train()
        now = samples.at(epoch) if isinstance(samples, Epochs) else samples
        orders = None
        if count > recipe.batch:
            orders = [torch.randperm(count, generator=g, device=g.device) for g in ensemble.generators]
        for step, start in enumerate(starts, epoch * len(starts)):
            if recipe.cosine_to is not None:
                for group in optimizer.param_groups:
                    group["lr"] = lr * recipe.share_of_lr(step, recipe.epochs * len(starts))
            images, labels = _batches(now, recipe, ensemble, orders, start)

            logits, values = losses(images, labels)
            # a sum over networks: each network's gradient is that of its own mean loss
            grads: Sequence[Tensor] = torch.autograd.grad(values.mean(1).sum(), leaves)
            if recipe.sharpness:
                again = partial(slopes, images, labels)
                grads = sharpened(leaves, grads, again, recipe.sharpness, len(ensemble), ensemble.stacked)
            for leaf, grad in zip(leaves, directions(leaves, grads), strict=True):
                leaf.grad = grad
            optimizer.step()
            history[epoch] += values.detach().sum(1) / count
            if on_step is not None:
                picks = None if orders is None else [o[start : start + recipe.batch] for o in orders]
                on_step(epoch, picks, logits.detach())
        if epoch == recipe.drop_after:
            lr *= 0.1
            optimizer = _optimizer(leaves, recipe, lr, ensemble.stacked)
        if epoch + 1 in recipe.milestones:
            for group in optimizer.param_groups:
                group["lr"] *= 0.2
        if on_epoch is not None:
            on_epoch(epoch)
    if not torch.isfinite(history).all():
        bad = int((~torch.isfinite(history)).any(1).nonzero()[0])
        raise FloatingPointError(f"training loss is not finite from epoch {bad}: lower lr = {recipe.lr}")
    return history


@torch.no_grad()
def measure(
    ensemble: Ensemble, samples: Samples, chunk: int = 0
) -> tuple[Annotated[Tensor, "float32 [K]"], Annotated[Tensor, "float32 [K]"]]:
    """Accuracy (a fraction) and mean cross-entropy (nats) of each network on `samples`: two tensors [K].

    chunk : images that pass at one time, 0 for what memory bears (see `memory.fitting_tests`); labels are hard.

    >>> from bilp_core import load
    >>> from bilp_core.nets import Ensemble, measure
    >>> _, test = load("digits")
    >>> ensemble = Ensemble("convnet:depth=1,width=4", test.shape, test.num_classes, seeds=[0, 1])
    >>> accuracy, loss = measure(ensemble, test)
    >>> bool((accuracy < 0.4).all()), bool((abs(loss - 2.3) < 0.5).all())  # untrained: about log 10
    (True, True)
    """
    ensemble.train(False)
    correct = torch.zeros(len(ensemble), device=ensemble.device)
    total = torch.zeros(len(ensemble), device=ensemble.device)
    chunk = chunk or fitting_tests(ensemble.shape, len(ensemble))
    for picks in torch.arange(len(samples), device=ensemble.device).split(chunk):
        labels = samples.labels[picks].expand(len(ensemble), -1)
        logits = ensemble.logits(samples.batch(picks))
        correct += (logits.argmax(-1) == labels).sum(1)
        total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).sum(1)
    return correct / len(samples), total / len(samples)
