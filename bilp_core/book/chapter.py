"""Chapters: text notebooks and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import InputError
from ..utils import paths
from . import parameters
from .parameters import Values

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Chapter:
    """One text notebook; `page` is its path below book/ without suffix, as the contents name it.

    text : MyST Markdown. Raises InputError, when they are asked for, where the parameters are not plain values.

    >>> from bilp_core.book import Chapter
    >>> front = ["---", "kernelspec: {name: python3, display_name: Python 3}", "---"]
    >>> cell = ["```{code-cell}", ":tags: [parameters]", "seeds = 3", "```"]
    >>> chapter = Chapter("chapters/first", "\\n".join(front + cell))
    >>> chapter.name, chapter.defaults
    ('first', {'seeds': 3})
    >>> chapter.notebook({"seeds": 5}).cells[0].source
    'seeds = 5'
    """

    page: str
    text: str

    @property
    def name(self) -> str:
        return Path(self.page).name

    @cached_property
    def defaults(self) -> Values:
        """What the parameters cell assigns; empty where there is no such cell."""
        cell = _parameters_cell(self.notebook())
        return parameters.read(cell.source, self.name) if cell else {}

    def notebook(self, values: Mapping[str, Any] | None = None) -> NotebookNode:
        """The unexecuted notebook, its parameters cell set to `values`."""
        import jupytext

        notebook = jupytext.reads(self.text, fmt="md:myst")
        cell = _parameters_cell(notebook)
        if values and cell:
            cell.source = parameters.fill(cell.source, values, self.name)
        for position, each in enumerate(notebook.cells):
            each["id"] = f"cell-{position}"  # jupytext draws them at random
        return notebook


def _parameters_cell(notebook: NotebookNode) -> NotebookNode | None:
    tagged = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return next(tagged, None)


def chapters(root: Path | None = None) -> list[Chapter]:
    """The book's chapters in reading order. InputError where the contents name a page that is not there.

    root : of the project, by default the one this runs in.

    >>> from bilp_core.book import chapters
    >>> names = [chapter.name for chapter in chapters()]
    >>> {"redundancy", "ite", "overfitting"} <= set(names), len(names) == len(set(names))
    (True, True)
    """
    root = root or paths.root()
    found = []
    for page in pages(root):
        file = root / "book" / f"{page}.md"
        if not file.is_file():
            raise InputError(f"book/_toc.yml lists {page}, but there is no book/{page}.md")
        text = file.read_text("utf-8")
        if "kernelspec" in _front_matter(text):
            found.append(Chapter(page, text))
    return found


def pages(root: Path) -> list[str]:
    """All pages in the order of the contents, as these name them: paths below book/ without suffix."""
    return _pages(yaml.safe_load((root / "book/_toc.yml").read_text("utf-8")))


def _pages(entry: Any) -> list[str]:
    if isinstance(entry, list):
        return [page for item in entry for page in _pages(item)]
    own = [entry[key] for key in ("root", "file") if key in entry]
    return own + [page for key in ("chapters", "parts", "sections") for page in _pages(entry.get(key, []))]


def _front_matter(text: str) -> dict[str, Any]:
    if not text.startswith("---\n"):
        return {}
    return yaml.safe_load(text[4:].partition("\n---")[0]) or {}


def settings(
    chapter: Chapter, preset: str, overrides: Mapping[str, Any] | None = None, root: Path | None = None
) -> Values:
    """The values a chapter would run with, checked against its parameters cell.

    preset    : name of a folder in params/; its <chapter>.yaml is a flat mapping.
    overrides : value, or text of a value as on a command line, by name.
    Raises InputError naming what is wrong and what is allowed.

    >>> from bilp_core.book import chapters, settings
    >>> chapter = {chapter.name: chapter for chapter in chapters()}["overfitting"]
    >>> settings(chapter, "quick", {"seeds": "7"})["seeds"]
    7
    >>> settings(chapter, "quick", {"seeds": "many"})
    Traceback (most recent call last):
    bilp_core.errors.InputError: parameter seeds = 'many' of overfitting: must be a whole number, such as 3
    """
    root = root or paths.root()
    folder = root / "params" / preset
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in (root / "params").iterdir() if path.is_dir()))
        raise InputError(f"there is no preset {preset!r}; there are: {known}")
    file = folder / f"{chapter.name}.yaml"
    if file.is_file():
        given = yaml.load(file.read_text("utf-8"), yaml.BaseLoader) or {}  # texts: what they mean, the defaults say
    elif chapter.defaults:
        raise InputError(f"{chapter.name} has parameters, but the preset has no {file.relative_to(root)}")
    else:
        given = {}
    return parameters.settings(chapter.defaults, given, overrides or {}, chapter.name)


def named(name: str, book: list[Chapter]) -> Chapter:
    for chapter in book:
        if chapter.name == name:
            return chapter
    raise InputError(f"there is no chapter {name!r}; there are: {', '.join(chapter.name for chapter in book)}")
