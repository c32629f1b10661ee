"""The trials that a chapter would run, without running them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..trials.plan import Planned, collecting
from ..trials.trial import Trial
from ..utils import paths
from .chapter import chapters, named, settings


def planned(
    name: str, preset: str = "quick", overrides: Mapping[str, Any] | None = None, *, root: Path | None = None
) -> list[Trial]:
    """The trials of a chapter, by executing its cells tagged `trials`, each up to its `trials.run`.

    Such a cell needs nothing but the parameters and what cells of the kind have made before their `run`.
    Raises InputError for a wrong name or value.

    >>> from bilp_core.book import planned
    >>> found = planned("strata", overrides={"seeds": 1})
    >>> len(found), {trial.method for trial in found}
    (12, {'dm'})
    """
    root = root or paths.root()
    chapter = named(name, chapters(root))
    notebook = chapter.notebook(settings(chapter, preset, overrides, root))
    names: dict[str, Any] = {"__name__": "__main__"}
    with collecting() as found, contextlib.chdir(root):
        for cell in notebook.cells:
            if {"parameters", "trials"} & set(cell.metadata.get("tags", [])):
                with contextlib.suppress(Planned):
                    exec(compile(cell.source, chapter.page, "exec"), names)
    return found
