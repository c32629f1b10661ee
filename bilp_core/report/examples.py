"""Real images that a measurement picked out, from committed pictures."""

from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Markdown

from ..utils.paths import root
from .figures import show
from .images import image_grid
from .origin import ran_on
from .reading import measurements


def examples(name: str) -> list[Any]:
    """The images of photographs that `tests/bench/examples.py` saved under `name`, side by side, and what they are.

    Returns what `display` shows: that nothing was run yet, where there is no such picture.

    >>> from bilp_core import report
    >>> report.examples("none")[0].data
    'Not run yet.'
    """
    found = measurements("examples")
    found = found[found["name"] == name] if len(found) else found
    if found.empty:
        return [Markdown("Not run yet.")]
    about = found.iloc[0]
    titles, labels = about["panels"].split("; "), about["rows"].split("; ")
    picture = plt.imread(root() / "book" / "results" / "photos" / "examples" / f"{name}.png")
    pixels = picture.shape[0] // len(labels)
    tiles = picture.reshape(len(labels), pixels, len(titles), -1, pixels, 3).transpose(2, 0, 3, 5, 1, 4)
    panels = {title: dict(zip(labels, panel, strict=True)) for title, panel in zip(titles, tiles, strict=True)}
    figure = image_grid(panels)
    alt = f"Images of {about['data']}, a row each for {', '.join(labels)}; side by side: {', '.join(titles)}."
    return [show(figure, alt=alt), Markdown(f"{about['text']} {about['data']}. {ran_on(found)}.")]
