"""Synthetic sets as pictures, for pages that show what was distilled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..utils.files import atomic
from .store import Store
from .trial import Trial

SHOWN = 5  # images a class, at most: a picture is committed


def pictures(trials: Sequence[Trial], folder: str | Path, store: Store | str | Path | None = None) -> int:
    """Save the sets that the store has of `trials` as `folder/<key>.png`: a column a class, at most five rows;
    of clips some frames side by side.

    Only the first seed of a setting gets one. Those that are there stay. Returns how many were written.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bilp_core.trials import Trial, pictures, run
    >>> tiny = dict(network="convnet:depth=1,width=4", options={"iterations": 1}, evaluation={"epochs": 1}, repeats=1)
    >>> trial = Trial("digits", method="dm", **tiny)
    >>> records = run([trial], "records", engine="inline", progress=False)
    >>> pictures([trial], "sets", "records")
    1
    >>> with Image.open(Path("sets") / f"{trial.key}.png") as picture:
    ...     picture.size  # ten 8x8 images, a white pixel around each
    (91, 10)
    """
    store = store if isinstance(store, Store) else Store(store)
    written = 0
    for trial in trials:
        path = Path(folder) / f"{trial.key}.png"
        if trial.seed or path.is_file() or store.get(trial) is None:
            continue
        made = store.synthetic(trial.synthetic_key)
        if made is None:
            continue
        import torch
        from PIL import Image
        from torchvision.utils import make_grid

        pixels = made.pictures()
        columns = [pixels[made.hard_labels == c][:SHOWN] for c in range(len(made.classes))]
        blank = torch.full_like(pixels[0], 255)  # learned labels may leave a class without images
        deepest = max(map(len, columns))
        images = [column[k] if k < len(column) else blank for k in range(deepest) for column in columns]
        sheet = make_grid(images, nrow=len(columns), padding=1, pad_value=255)
        with atomic(path) as temporary:
            Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, "PNG", optimize=True)
        written += 1
    return written
