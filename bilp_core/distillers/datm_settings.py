"""Settings of DATM by data set and IPC, as its authors' code has them."""

from __future__ import annotations

from dataclasses import dataclass

from .mtt_settings import Setting, Tables


@dataclass(frozen=True)
class Own(Setting):
    """What DATM chooses besides: the rate of labels, the loss above which a round is skipped, and from which epochs a
    student may start, counted from 1: from `starts_from` on, up to `starts_early` at first and up to `starts` after
    `growth` rounds."""

    label_lr: float = 10.0
    threshold: float = 1.0
    starts_from: int = 1
    starts_early: int = 0
    growth: int = 1


def _cell(
    steps: int, rates: tuple[float, float, float], batch: int, starts: tuple[int, ...], span: int = 2,
    threshold: float = 1.0, zca: str = "absolute", start_lr: float = 1e-2, experts: int = 100,
) -> Own:  # fmt: skip
    """rates : of images, step size and labels. starts : first, early, last, rounds from early to last; the last two
    may be missing, then nothing grows."""
    image_lr, step_lr, label_lr = rates
    first, early, last, growth = starts if len(starts) == 4 else (*starts, starts[1], 1)
    return Own(
        zca, steps, span, last, image_lr, step_lr, start_lr, batch, experts, label_lr, threshold, first, early, growth
    )


DATM: Tables = {
    "cifar10": {
        1: _cell(80, (100, 1e-7, 5), 10, (1, 4), threshold=1.1),
        10: _cell(80, (100, 1e-5, 2), 100, (1, 10, 20, 1000)),
        50: _cell(80, (1000, 1e-5, 2), 500, (1, 20, 40, 2000)),
        500: _cell(40, (50, 1e-5, 10), 1000, (41, 60)),
        1000: _cell(100, (50, 1e-5, 10), 1000, (41, 60)),
    },
    "cifar100": {
        1: _cell(40, (1000, 1e-5, 10), 1000, (1, 10, 20, 1000), span=3),
        10: _cell(80, (1000, 1e-5, 10), 1000, (1, 30, 50, 2000)),
        50: _cell(80, (1000, 1e-5, 10), 1000, (21, 70)),
        100: _cell(80, (50, 1e-5, 10), 1000, (31, 70)),
    },
    "tiny": {
        1: _cell(40, (10_000, 1e-4, 10), 1000, (1, 15, 20, 2000)),
        10: _cell(40, (100, 1e-4, 10), 500, (11, 50)),
        50: _cell(20, (100, 1e-4, 10), 1000, (41, 70)),
    },
    # ours
    "digits": {1: _cell(10, (100, 1e-5, 2), 0, (1, 3, 6, 100), zca="none", start_lr=2e-2, experts=5)},
    "own": {1: _cell(10, (30, 1e-6, 2), 0, (1, 3, 6, 100), zca="none", start_lr=2e-2, experts=4)},
}
