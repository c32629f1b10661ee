"""From text notebooks to a rendered book.

A chapter is a page of `book/_toc.yml` that is a notebook (its front matter has a `kernelspec`). Its
parameters come from `params/<preset>/<chapter>.yaml`. Everything made goes below `_build/<preset>/`:

    executed/   <chapter>.ipynb, and <chapter>.key: a hash of all that went into it
    src/        a copy of book/ with the executed notebooks in place of the text ones
    _build/html the pages

What has not changed is not made again: a chapter by its key, the pages by a hash of `src/` and `_config.yml`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bilp_core import engines, parameters, paths
from bilp_core.errors import InputError
from bilp_core.execution import ExecutionFailed, execute
from bilp_core.parameters import Values
from bilp_core.progress import duration

if TYPE_CHECKING:
    from nbformat import NotebookNode

CONFIG = "_config.yml"
# Beside its own text and parameters, what a chapter's results depend on.
INGREDIENTS = ("bilp_core/**/*.py", "book/published/*.csv", "book/results/**/*.csv", "requirements.lock")
# Read by chapters, not shown as pages.
NOT_STAGED = ("published", "results")


class BuildFailed(RuntimeError):
    """A chapter failed or Sphinx complained; nothing half-made is shown as finished."""


@dataclass(frozen=True)
class Chapter:
    """One text notebook; `page` is its path below book/ without suffix, as the contents name it."""

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
    """The book's chapters in reading order. InputError where the contents name a page that is not there."""
    root = root or paths.root()
    found = []
    for page in _pages(yaml.safe_load((root / "book/_toc.yml").read_text("utf-8"))):
        file = root / "book" / f"{page}.md"
        if not file.is_file():
            raise InputError(f"book/_toc.yml lists {page}, but there is no book/{page}.md")
        text = file.read_text("utf-8")
        if "kernelspec" in _front_matter(text):
            found.append(Chapter(page, text))
    return found


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
    """
    root = root or paths.root()
    folder = root / "params" / preset
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in (root / "params").iterdir() if path.is_dir()))
        raise InputError(f"there is no preset {preset!r}; there are: {known}")
    file = folder / f"{chapter.name}.yaml"
    if file.is_file():
        given = yaml.safe_load(file.read_text("utf-8")) or {}
    elif chapter.defaults:
        raise InputError(f"{chapter.name} has parameters, but the preset has no {file.relative_to(root)}")
    else:
        given = {}
    return parameters.settings(chapter.defaults, given, overrides or {}, chapter.name)


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
    Raises InputError before anything runs when a parameter of any chapter is wrong, BuildFailed when a
    chapter or the rendering failed. One failed chapter does not keep the others from being executed.
    """
    root = root or paths.root()
    book = chapters(root)
    if only is not None:
        for name in only:
            _named(name, book)
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
    """
    root = root or paths.root()
    book = chapters(root)
    values = {chapter.name: settings(chapter, preset, root=root) for chapter in book}
    changed = settings(_named(name, book), preset, overrides, root)
    out = home = root / "_build" / preset
    if changed != values[name]:
        values[name] = changed
        out = root / "_build/runs" / f"{name}-{_hash(json.dumps(changed, sort_keys=True))[:8]}"
    page = _make(root, out, book, values, {name}, strict=False, others=home)
    print(f"The chapter: {page.parent / _named(name, book).page}.html", flush=True)
    return out / "executed" / f"{name}.ipynb"


def sweep(
    name: str,
    axes: Mapping[str, Sequence[Any]],
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    *,
    root: Path | None = None,
) -> list[Path]:
    """`run_chapter` with every combination of values, side by side on the engine; the executed notebooks, in order.

    axes : values, or the text of values, by parameter.
    Each run is one job and does its own trials one at a time, in the job's place on a device. Values that come to
    the same settings are one run.
    Raises InputError before anything runs, BuildFailed at the end if any run failed.
    """
    root = root or paths.root()
    chapter = _named(name, chapters(root))
    unique = {}
    for values in itertools.product(*axes.values()):
        run = dict(zip(axes, values, strict=True))
        unique[json.dumps(settings(chapter, preset, {**(overrides or {}), **run}, root), sort_keys=True)] = run
    runner = engines.engine()
    runner.everywhere(_same_project, (str(root), chapter.page, chapter.text))
    failed = []
    try:
        futures = {
            runner.submit(chapter_job, (name, preset, {**(overrides or {}), **run}, str(root))): " ".join(
                [name, *(f"{parameter}={value}" for parameter, value in run.items())]
            )
            for run in unique.values()
        }
        for done, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is not None:
                failed.append(f"{futures[future]}: {error}")
            print(f"{done}/{len(futures)} {'FAILED' if error else 'done'}: {futures[future]}", flush=True)
    except KeyboardInterrupt:
        runner.close()
        raise
    if failed:
        raise BuildFailed("\n".join([f"{len(failed)} of {len(futures)} runs failed", *failed]))
    return [Path(future.result()) for future in futures]


def chapter_job(name: str, preset: str, overrides: Mapping[str, Any], root: str) -> str:
    """`run_chapter` in a worker: its trials stay in this worker's place. The path of the executed notebook."""
    before = dict(os.environ)
    os.environ.update(BILP_ENGINE="local", BILP_SLOTS="1")
    try:
        return str(run_chapter(name, preset, overrides, root=Path(root)))
    finally:  # the worker may be the caller's own process
        os.environ.clear()
        os.environ.update(before)


def _same_project(root: str, page: str, text: str) -> None:
    file = Path(root) / "book" / f"{page}.md"
    if not file.is_file() or file.read_text("utf-8") != text:
        raise InputError(
            f"{file} is not the same on {platform.node()}: the project must be in a folder all machines share"
        )


def notebooks(preset: str = "quick", out: Path | None = None, *, root: Path | None = None) -> list[Path]:
    """Write every chapter as an unexecuted .ipynb with the preset's values filled in.

    out : the folder; default notebooks/ in the clone, where git ignores them.
    A notebook that is there already and differs is somebody's work: it is kept, and said so.
    """
    import nbformat

    root = root or paths.root()
    out = out or root / "notebooks"
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for chapter in chapters(root):
        file = out / f"{chapter.name}.ipynb"
        text = nbformat.writes(chapter.notebook(settings(chapter, preset, root=root))) + "\n"
        if file.exists() and file.read_text("utf-8") != text:
            print(f"kept {file}, which was changed; remove it to have it written anew")
            continue
        file.write_text(text, "utf-8")
        written.append(file)
    return written


def _named(name: str, book: list[Chapter]) -> Chapter:
    for chapter in book:
        if chapter.name == name:
            return chapter
    raise InputError(f"there is no chapter {name!r}; there are: {', '.join(chapter.name for chapter in book)}")


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
    ingredients = _hash_files(root, (file for pattern in INGREDIENTS for file in root.glob(pattern)))
    keys = {
        chapter.name: _hash(ingredients, chapter.text, json.dumps(values[chapter.name], sort_keys=True))
        for chapter in book
    }
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
    return _render(root, out, shown, ingredients, strict=strict)


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


def _render(root: Path, out: Path, shown: Mapping[str, str], ingredients: str, *, strict: bool) -> Path:
    """Stage the pages and run Sphinx, unless it would see what it saw last time."""
    index = out / "_build/html/index.html"
    source = _stage(root, out / "src", shown)
    stamp = out / "rendered.key"
    staged = _hash_files(source, (file for file in source.rglob("*") if file.is_file()))
    key = _hash(ingredients, staged, (root / CONFIG).read_text("utf-8"), str(strict))
    if not (index.is_file() and stamp.is_file() and stamp.read_text() == key):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(out / "_build", ignore_errors=True)  # no page of an earlier build survives its source
        _sphinx(root, source, out, strict=strict)
        _open_from_disk(index.parent)
        stamp.write_text(key)
    print(f"The book: {index}", flush=True)
    return index


def _stage(root: Path, source: Path, shown: Mapping[str, str]) -> Path:
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source, ignore=shutil.ignore_patterns(*NOT_STAGED, ".*"))
    for page, notebook in shown.items():
        (source / f"{page}.md").unlink()
        (source / f"{page}.ipynb").write_text(notebook, "utf-8")
    return source


def _sphinx(root: Path, source: Path, out: Path, *, strict: bool) -> None:
    program = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    options = ["-W", "-n", "--keep-going"] if strict else []
    command: list[str | Path] = [program, "build", source, "--config", root / CONFIG, "--path-output", out]
    print("rendering", flush=True)
    done = subprocess.run(
        [*command, *options],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log = out / "sphinx.log"
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # colours
    log.write_text(output, "utf-8")
    if done.returncode != 0:
        said = [line for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
        sys.stdout.writelines(f"{line}\n" for line in said or output.splitlines()[-20:])
        raise BuildFailed(f"the pages could not be rendered; all that was said: {log}")


def _open_from_disk(html: Path) -> None:
    """Take out the theme's font preloads: from file:// browsers refuse them, with three errors a page."""
    for page in html.rglob("*.html"):
        text = page.read_text("utf-8")
        page.write_text(re.sub(r'<link rel="preload" as="font"[^>]*>\n?', "", text), "utf-8")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _hash_files(root: Path, files: Any) -> str:
    """Hash of the names, relative to `root`, and the contents of files, in order of name."""
    listed = sorted((file.relative_to(root).as_posix(), file) for file in files)
    return _hash(*(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in listed))
