"""From text notebooks to a rendered book.

A chapter is a page of `book/_toc.yml` that is a notebook (its front matter has a `kernelspec`). Its
parameters come from `params/<preset>/<chapter>.yaml`. Everything made goes below `_build/<preset>/`:

    executed/   <chapter>.ipynb, and <chapter>.key: a hash of all that went into it, own images included
    src/        a copy of book/ with the executed notebooks in place of the text ones
    _build/html the pages

What has not changed is not made again: a chapter by its key, the pages by a hash of `src/` and `_config.yml`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..trials.trial import forget_folders, surroundings
from ..utils import paths
from ..utils.progress import duration
from .chapter import Chapter, chapters, named, settings
from .execution import ExecutionFailed, execute
from .parameters import Values
from .render import BuildFailed, check_builder, digest, hash_files, render

# Beside its own text and parameters, what a chapter's results depend on.
INGREDIENTS = (
    "bilp_core/**/*.py", "book/published/*.csv", "book/results/**/*.csv", "book/measurements/*.csv",
    "requirements.lock",
)  # fmt: skip


def build(
    preset: str = "quick",
    *,
    draft: bool = False,
    only: Collection[str] | None = None,
    root: Path | None = None,
) -> Path:
    """Execute what changed, render what changed, and return the page to open.

    draft : execute nothing; pages show the results there are, and Sphinx's warnings do not stop it.
    only  : names of the chapters that may be executed (default: all); the others as in a draft.
    Raises InputError before anything runs when a parameter of any chapter is wrong or Jupyter Book 1 is not there,
    BuildFailed when a chapter or the rendering failed. One failed chapter does not keep the others from being executed.

    >>> from pathlib import Path
    >>> from bilp_core.book import build
    >>> book = {"book/_toc.yml": "format: jb-book\\nroot: intro", "book/intro.md": "# A book of one page"}
    >>> for name, text in {**book, "_config.yml": "title: Tiny", "params/quick/none.yaml": ""}.items():
    ...     Path(name).parent.mkdir(parents=True, exist_ok=True)
    ...     _ = Path(name).write_text(text)
    >>> page = build("quick", root=Path.cwd())  # doctest: +ELLIPSIS
    rendering
    The book: ...
    >>> page.name, "A book of one page" in page.with_name("intro.html").read_text()
    ('index.html', True)
    """
    root = root or paths.root()
    book = chapters(root)
    if only is not None:
        for name in only:
            named(name, book)
    values = {chapter.name: settings(chapter, preset, root=root) for chapter in book}
    due = set() if draft else set(values) if only is None else set(only)
    return _make(root, root / "_build" / preset, book, values, due, strict=due == set(values))


def run_chapter(
    name: str, preset: str = "quick", overrides: Mapping[str, Any] | None = None, *, root: Path | None = None
) -> Path:
    """Execute one chapter, render the book around it, and return the executed notebook.

    Without overrides this is the preset's own chapter. With them the result goes to a folder of its own,
    `_build/runs/<chapter>-<hash of the values>/`, so that runs can be compared and the preset's book stays.
    Raises InputError, BuildFailed.

    >>> from bilp_core.book import run_chapter
    >>> run_chapter("overfitting", overrides={"sedes": 5})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: overfitting has no parameter 'sedes'. Did you mean 'seeds'? Allowed: data, ...
    """
    root = root or paths.root()
    book = chapters(root)
    values = {chapter.name: settings(chapter, preset, root=root) for chapter in book}
    changed = settings(named(name, book), preset, overrides, root)
    out = home = root / "_build" / preset
    if changed != values[name]:
        values[name] = changed
        out = root / "_build/runs" / f"{name}-{digest(json.dumps(changed, sort_keys=True))[:8]}"
    page = _make(root, out, book, values, {name}, strict=False, others=home)
    print(f"The chapter: {page.parent / named(name, book).page}.html", flush=True)
    return out / "executed" / f"{name}.ipynb"


def _make(
    root: Path,
    out: Path,
    book: list[Chapter],
    values: Mapping[str, Values],
    due: Collection[str],
    *,
    strict: bool,
    others: Path | None = None,
) -> Path:
    """Execute the chapters that are due and not up to date, then stage and render all of them.

    others : where the executed notebooks of chapters that are not due are looked for (default: `out`).
    """
    ingredients = hash_files(root, (file for pattern in INGREDIENTS for file in root.glob(pattern)))
    keys = {chapter.name: _key(root, ingredients, chapter, values[chapter.name]) for chapter in book}
    check_builder()
    failed = []
    for chapter in book:
        if chapter.name in due and not _is_current(out, chapter, keys):
            try:
                _execute(root, out, chapter, values[chapter.name], keys[chapter.name])
            except ExecutionFailed as error:
                failed.append(str(error))
    if failed:
        raise BuildFailed("\n".join([*failed, "the book was not rendered"]))

    shown = {}
    for chapter in book:
        home = out if chapter.name in due else others or out
        current = _is_current(home, chapter, keys)
        if not current:
            print(f"{chapter.name}: not executed as it stands now", flush=True)
        shown[chapter.page] = _shown(home, chapter, values[chapter.name], current=current)
    return render(root, out, shown, ingredients, strict=strict)


def _key(root: Path, ingredients: str, chapter: Chapter, values: Values) -> str:
    """Stands for all that decides a chapter's results: of a folder of images, what is in it.

    root : where the chapter runs, from which a folder in a preset is seen.
    """
    forget_folders()
    folder = str(root / Path(values["data"]).expanduser()) if "data" in values else ""
    return digest(ingredients, chapter.text, *(json.dumps(v, sort_keys=True) for v in (values, surroundings(folder))))


def _is_current(home: Path, chapter: Chapter, keys: Mapping[str, str]) -> bool:
    key = home / "executed" / f"{chapter.name}.key"
    return key.is_file() and key.read_text() == keys[chapter.name]


def _execute(root: Path, out: Path, chapter: Chapter, values: Values, key: str) -> None:
    """Execute aside, and put the result into executed/ only when the process ended well."""
    import nbformat

    aside, done = out / "unfinished", out / "executed"
    for folder in (aside, done):
        folder.mkdir(parents=True, exist_ok=True)
    source, result = aside / f"{chapter.name}.ipynb", aside / f"{chapter.name}.executed.ipynb"
    notebook = chapter.notebook(values)
    nbformat.write(notebook, source)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{chapter.name}: executing {cells} code cells", flush=True)
    started = time.monotonic()
    execute(source, result, cwd=root)
    print(f"{chapter.name}: done in {duration(time.monotonic() - started)}", flush=True)

    executed = nbformat.read(result, as_version=4)
    for part in (executed, *executed.cells):
        part.metadata.pop("papermill", None)  # paths and times of this machine
    key_file = done / f"{chapter.name}.key"
    key_file.unlink(missing_ok=True)  # from here to its rewriting there is no current version
    nbformat.write(executed, done / f"{chapter.name}.ipynb")
    key_file.write_text(key)
    source.unlink()
    result.unlink()


def _shown(home: Path, chapter: Chapter, values: Values, *, current: bool) -> str:
    """What a page is made of: the executed notebook, or the present text with the outputs of earlier."""
    import nbformat

    file = home / "executed" / f"{chapter.name}.ipynb"
    if current:
        return file.read_text("utf-8")
    notebook = chapter.notebook(values)
    if file.is_file():
        earlier = nbformat.read(file, as_version=4)
        outputs = {cell.source: cell.outputs for cell in earlier.cells if cell.cell_type == "code"}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = outputs.get(cell.source, [])
    return nbformat.writes(notebook)
