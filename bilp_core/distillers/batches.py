"""Real batches, class by class; pruned by ITE, or representative ones, where that is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from ..data.images import ImageData
from ..errors import Diverged, InputError
from ..pruning.adaptive import LAWS, Adaptive, RunningNormal
from ..pruning.representative import Representative, representatives


class ClassBatches:
    """Real batches of one class, drawn without replacement inside a batch. It alone knows about pruning.

    What survives adaptive pruning, or was found representative, is handed out again until the next decision is due.

    size : images of a batch, halved while it is at least twice the largest class (supplement Sec. 6.3).
    rng  : on the data's device. adaptive : None prunes nothing.
    represent : None draws at random; else `embed`, function(indices) -> float [n, E], says what is next to what.
    Called with a class it gives normalised images, float32 [n, C, H, W].
    Raises InputError for a class without samples.
    Source: supplement Sec. 6.3; of adaptive pruning see `Adaptive`.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.distillers import ClassBatches
    >>> train, _ = load("digits")
    >>> few = train.subset(torch.arange(100))
    >>> few.counts().tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    >>> batches = ClassBatches(few, 256, torch.Generator().manual_seed(0))
    >>> batches.size, batches(3).shape, batches(3, size=4).shape
    (16, torch.Size([10, 1, 8, 8]), torch.Size([4, 1, 8, 8]))
    """

    def __init__(
        self,
        data: ImageData,
        size: int,
        rng: Generator,
        adaptive: Adaptive | None = None,
        represent: Representative | None = None,
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.data, self.rng, self.adaptive = data, rng, adaptive
        self.represent, self.embed = represent, embed
        self.members = [data.of_class(c) for c in range(data.num_classes)]
        for c, members in enumerate(self.members):
            if not len(members):
                raise InputError(f"class {data.classes[c]!r} has no samples left")
        largest = max(map(len, self.members))
        while size >= 2 * largest:  # supplement Sec. 6.3
            size //= 2
        self.size = size
        self.laws = [RunningNormal() for _ in self.members]
        self.survivors = [torch.empty(0, dtype=torch.int64) for _ in self.members]
        self.uses_left = [0 for _ in self.members]
        self.seen = self.dropped = 0

    def due(self, label: int) -> bool:
        """Whether the next batch of the class has to be pruned. A single sample has no effect against others."""
        alone = min(self.size, len(self.members[label])) < 2
        return self.adaptive is not None and not self.uses_left[label] and not alone

    def indices(self, label: int, size: int | None = None) -> Annotated[Tensor, "int64 [n]"]:
        """Indices of the next batch of the class; a `size` asks for a fresh one of that size."""
        if size is None and self.uses_left[label]:
            self.uses_left[label] -= 1
            return self.survivors[label]
        members = self.members[label]
        if size is None and self.represent and self.embed and len(members) > self.size:
            picks = members[representatives(self.embed(members), self.size, self.rng)]
            self.survivors[label], self.uses_left[label] = picks, self.represent.interval - 1
            return picks
        order = torch.randperm(len(members), generator=self.rng, device=self.rng.device)
        return members[order[: size or self.size]]

    def prune(
        self, label: int, picks: Annotated[Tensor, "int64 [N]"], effects: Annotated[Tensor, "float [N]"]
    ) -> Annotated[Tensor, "bool [N]"]:
        """Decide about a fresh batch by the ITE of its samples: the mask of those to keep, [N].

        Raises Diverged if an effect is not finite.
        """
        assert self.adaptive is not None
        law = self.laws[label]
        law.update(effects, LAWS[self.adaptive.law])
        if not math.isfinite(law.mean):
            raise Diverged(f"an ITE in class {self.data.classes[label]!r} is not finite; lower image_lr")
        kept = law.inside(effects, self.adaptive.rate, self.adaptive.tails)
        self.survivors[label], self.uses_left[label] = picks[kept], self.adaptive.lazy - 1
        self.seen += len(kept)
        self.dropped += len(kept) - len(self.survivors[label])
        return kept

    def prune_jointly(
        self, picks: Annotated[Tensor, "int64 [N]"], effects: Annotated[Tensor, "float [N]"]
    ) -> Annotated[Tensor, "int64 [n]"]:
        """The same for a batch of all classes together: each class by its own law. The picks that are kept."""
        assert self.adaptive is not None
        for label in range(len(self.members)):
            own = self.data.labels[picks] == label
            if own.any():
                self.prune(label, picks[own], effects[own])
            else:
                self.survivors[label], self.uses_left[label] = picks[own], self.adaptive.lazy - 1
        return torch.cat(self.survivors)

    def again(self) -> Annotated[Tensor, "int64 [n]"] | None:
        """The survivors of the last joint batch, if its decision still serves."""
        if not any(self.uses_left):
            return None
        self.uses_left = [left - 1 for left in self.uses_left]
        return torch.cat(self.survivors)

    def state_dict(self) -> dict[str, Any]:
        """What batches so far have left behind."""
        laws = [[law.mean, law.variance] for law in self.laws]
        survivors = [picks.clone() for picks in self.survivors]  # not the batch that they are a part of
        return {"laws": laws, "survivors": survivors, "uses_left": self.uses_left, "counts": [self.seen, self.dropped]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.laws = [RunningNormal(*law) for law in state["laws"]]
        self.survivors = [picks.to(self.data.device) for picks in state["survivors"]]
        self.uses_left = state["uses_left"]
        self.seen, self.dropped = state["counts"]

    def __call__(self, label: int, size: int | None = None) -> Annotated[Tensor, "float32 [n, C, H, W]"]:
        """Normalised images [n, C, H, W], n = min(size, class size)."""
        return self.data.batch(self.indices(label, size))
