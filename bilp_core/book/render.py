"""From executed notebooks to pages."""

from __future__ import annotations

import hashlib
import html
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from .chapter import pages

CONFIG = "_config.yml"
LOG = "sphinx.log"
# Read by chapters, not shown as pages.
NOT_STAGED = ("published", "results")


class BuildFailed(RuntimeError):
    """A chapter failed or Sphinx complained; nothing half-made is shown as finished.

    The message has a line for each chapter that failed, or says where all that Sphinx said is kept.

    >>> from pathlib import Path
    >>> from bilp_core.book import BuildFailed, build
    >>> book = {"book/_toc.yml": "format: jb-book\\nroot: intro", "book/intro.md": "# Tiny\\n\\n[a page](nowhere.md)"}
    >>> for name, text in {**book, "_config.yml": "title: Tiny", "params/quick/none.yaml": ""}.items():
    ...     Path(name).parent.mkdir(parents=True, exist_ok=True)
    ...     _ = Path(name).write_text(text)
    >>> try:
    ...     build("quick", root=Path.cwd())
    ... except BuildFailed as failed:
    ...     print(failed)  # doctest: +ELLIPSIS
    rendering
    ...intro.md:3: WARNING: ...nowhere.md...
    the pages could not be rendered; all that was said: ...sphinx.log
    """


def render(root: Path, out: Path, shown: Mapping[str, str], ingredients: str, *, strict: bool) -> Path:
    """Stage the pages and run Sphinx, unless it would see what it saw last time."""
    index = out / "_build/html/index.html"
    source = _stage(root, out / "src", shown)
    stamp = out / "rendered.key"
    staged = hash_files(source, (file for file in source.rglob("*") if file.is_file()))
    key = digest(ingredients, staged, (root / CONFIG).read_text("utf-8"), str(strict))
    if not (stamp.is_file() and stamp.read_text() == key and not lost_pages(root, index.parent)):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(out / "_build", ignore_errors=True)  # no page of an earlier build survives its source
        _sphinx(root, source, out, strict=strict)
        if lost := lost_pages(root, index.parent):
            raise BuildFailed("\n".join([*lost, f"the pages were not rendered; all that was said: {out / LOG}"]))
        _finish(index.parent)
        stamp.write_text(key)
    print(f"The book: {index}", flush=True)
    return index


def check_builder() -> None:
    """Raise InputError unless Jupyter Book 1 is beside this Python: version 2 ends well and makes none of our pages."""
    remedy = "run `make setup`, or pip install 'jupyter-book>=1.0.4.post1,<2'"
    try:
        version = metadata.version("jupyter-book")
    except metadata.PackageNotFoundError:
        raise InputError(
            f"jupyter-book, which renders the pages, is not installed for {sys.executable}: {remedy}"
        ) from None
    if version.partition(".")[0] != "1":
        raise InputError(f"jupyter-book is of version {version}, which does not read {CONFIG}; it must be 1: {remedy}")
    if not _builder().is_file():
        raise InputError(f"jupyter-book {version} is installed, but its command {_builder()} is not there: {remedy}")


def lost_pages(root: Path, folder: Path) -> list[str]:
    """What is wrong with the pages in `folder`: those of the contents that are absent, or lack the book's title."""
    title = yaml.safe_load((root / CONFIG).read_text("utf-8")).get("title", "")
    wrong = []
    for page in pages(root):
        file = folder / f"{page}.html"
        if not file.is_file():
            wrong.append(f"{page}: book/_toc.yml lists it, but there is no {file}")
            continue
        shown = re.search(r"<title>(.*?)</title>", file.read_text("utf-8"), re.S)
        if shown is None or title not in html.unescape(shown[1]):
            found = repr(" ".join(html.unescape(shown[1]).split())) if shown else "none"
            wrong.append(f"{page}: its title is {found}, without {title!r} of {CONFIG}, which was not read")
    return wrong


def _builder() -> Path:
    return Path(sysconfig.get_path("scripts")) / "jupyter-book"


def _stage(root: Path, source: Path, shown: Mapping[str, str]) -> Path:
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source, ignore=shutil.ignore_patterns(*NOT_STAGED, ".*"))
    for page, notebook in shown.items():
        (source / f"{page}.md").unlink()
        (source / f"{page}.ipynb").write_text(notebook, "utf-8")
    return source


def _sphinx(root: Path, source: Path, out: Path, *, strict: bool) -> None:
    options = ["-W", "-n", "--keep-going"] if strict else []
    command: list[str | Path] = [_builder(), "build", source, "--config", root / CONFIG, "--path-output", out]
    print("rendering", flush=True)
    done = subprocess.run(
        [*command, *options],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log = out / LOG
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # colours
    log.write_text(output, "utf-8")
    if done.returncode != 0:
        said = [line for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
        sys.stdout.writelines(f"{line}\n" for line in said or output.splitlines()[-20:])
        raise BuildFailed(f"the pages could not be rendered; all that was said: {log}")


def _finish(folder: Path) -> None:
    """What the theme and Sphinx leave undone for a reader from disk, or one who hears the page.

    Font preloads go: from file:// browsers refuse them, with three errors a page. The arrows of the contents get a
    name. Wide tables can be scrolled with the keys. Neither entries of a bibliography nor the parameters of a long
    signature are what their roles say.
    """
    for page in folder.rglob("*.html"):
        text = page.read_text("utf-8")
        text = re.sub(r'<link rel="preload" as="font"[^>]*>\n?', "", text)
        text = re.sub("(<details[^>]*><summary)>", r'\1 aria-label="pages below this one">', text)
        text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        text = text.replace(
            'class="pst-scrollable-table-container"', 'class="pst-scrollable-table-container" tabindex="0"'
        )
        text = re.sub(r"<dl>\n(?:<dd><em class=\"sig-param\">.*</dd>\n)+</dl>", _plain_parameters, text)
        page.write_text(text, "utf-8")


def _plain_parameters(found: re.Match[str]) -> str:
    inner = found[0].replace("<dd>", "<div>").replace("</dd>", "</div>")
    return inner.replace("<dl>", '<div class="sig-params">').replace("</dl>", "</div>")


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def hash_files(root: Path, files: Any) -> str:
    """Hash of the names, relative to `root`, and the contents of files, in order of name."""
    listed = sorted((file.relative_to(root).as_posix(), file) for file in files)
    return digest(*(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in listed))
