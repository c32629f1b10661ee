"""What a run says of itself: its settings before it starts, its warnings, what stands beside an accuracy."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.images import ImageData


def settings(what: str, data: ImageData, chosen: Mapping[str, Any]) -> None:
    """One line on stderr: the data as they were read, and every setting as it was filled in for them."""
    c, h, w = data.shape
    of = "images" if data.frames == 1 else f"clips of {data.frames} frames, which are not augmented"
    kind = f"{data.name}: {len(data)} {of}, {data.num_classes} classes, {c}x{h}x{w}"
    words = " ".join(f"{key}={value}" for key, value in chosen.items())
    print(f"{what} of {kind}; {words}", file=sys.stderr, flush=True)


def memory(needed: int) -> None:
    """One line on stderr, where it is known how many bytes a round holds."""
    if needed:
        size = f"{needed / 1e9:.2g} GB" if needed >= 1e8 else f"{needed / 1e6:.2g} MB"
        print(f"a round holds about {size} of memory", file=sys.stderr, flush=True)


def kept(size: int) -> None:
    """One line on stderr, where the set keeps more than images and labels."""
    if size:
        print(f"labels of views will take {size / 1e6:.3g} MB", file=sys.stderr, flush=True)


def dropped(about: Mapping[str, Any]) -> None:
    """One line on stderr: how much adaptive pruning dropped, and a warning where that is far from what was asked for.

    about : what a set keeps of it, `meta["adaptive"]`.
    """
    share, asked = about["dropped"], about["rate"]
    print(f"adaptive pruning dropped {share:.0%} of the batches it decided on", file=sys.stderr, flush=True)
    if not asked / 2 <= share <= 1.5 * asked:
        warning(
            f"adaptive pruning dropped {share:.0%} where {asked:.0%} were asked for: effects are not normal here, "
            f"or change faster than the running law; --law batch (now {about['law']}), --lazy 1 (now {about['lazy']}) "
            f"or --tails (now {about['tails']}) may help"
        )


def taught(share: float, by_chance: float, remedy: str) -> None:
    """What a set teaches of the real images, and a warning where that is next to nothing. remedy : what may help."""
    from ..evaluation import hardly

    print(f"a network trained on them names {share:.1%} of the training images (chance {by_chance:.1%})")
    if hardly(share, by_chance):
        warning(f"the images teach next to nothing{remedy}")


def warning(text: str) -> None:
    print(f"bilp: warning: {text}", file=sys.stderr, flush=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings for users as plain lines, without a line of our code."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, UserWarning):
                warning(str(message))
            else:
                before(message, category, *rest, **more)

        warnings.showwarning = show
        yield
