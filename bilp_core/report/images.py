"""Images side by side."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from ..errors import InputError
from .figures import style


def image_grid(panels: Mapping[str, Mapping[str, Any]], scale: float = 0.39) -> Figure:
    """Images side by side: one panel a key, in it one labelled row of images a key.

    panels : {panel title: {row label: images [n, C, H, W]}}; uint8, or floats in 0..1. C is 1 or 3.
    scale  : edge of one image in inches.
    Raises InputError for images of another shape.

    >>> import matplotlib.pyplot as plt
    >>> from bilp_core import load, report
    >>> train, _ = load("digits")
    >>> rows = {name: train.images[train.of_class(c)[:5]] for c, name in enumerate(train.classes)}
    >>> figure = report.image_grid({"digits": rows})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    >>> plt.close(figure)
    """
    style()
    pictures = {title: {label: _rows(images) for label, images in rows.items()} for title, rows in panels.items()}
    widest = [max(len(row) for row in rows.values()) for rows in pictures.values()]
    deepest = max(len(rows) for rows in pictures.values())
    beside = [max(1.2 * scale, 0.09 * max(map(len, rows))) for rows in pictures.values()]  # inches of the labels
    figure, axes = plt.subplots(
        1,
        len(pictures),
        figsize=(scale * sum(widest) + sum(beside), scale * (deepest + 1)),
        width_ratios=widest,
        squeeze=False,
    )
    for axis, (title, rows) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(_mosaic(list(rows.values())), interpolation="nearest")
        height = next(iter(rows.values())).shape[1]
        axis.set_yticks([(height + 1) * i + (height - 1) / 2 for i in range(len(rows))], list(rows))
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.set_title(title, fontsize="medium")
        sns.despine(ax=axis, left=True, bottom=True)
    return figure


def _rows(images: Any) -> np.ndarray:
    """[n, C, H, W] in any accepted form -> float [n, H, W, 3] in 0..1."""
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise InputError(
            f"images have the shape {array.shape}; allowed: [n, C, H, W] with C = 1 or 3 (of clips "
            "`bilp_core.data.strips` makes such)"
        )
    array = array / 255 if array.dtype == np.uint8 else np.clip(array, 0, 1)
    return np.repeat(array.transpose(0, 2, 3, 1), 3 if array.shape[1] == 1 else 1, axis=3)


def _mosaic(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of pictures on one white sheet, a pixel apart."""
    height, width = rows[0].shape[1:3]
    sheet = np.ones((len(rows) * (height + 1), max(map(len, rows)) * (width + 1), 3))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width] = picture
    return sheet
