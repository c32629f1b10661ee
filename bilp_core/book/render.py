"""From executed notebooks to pages."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "_config.yml"
# Read by chapters, not shown as pages.
NOT_STAGED = ("published", "results")


class BuildFailed(RuntimeError):
    """A chapter failed or Sphinx complained; nothing half-made is shown as finished."""


def render(root: Path, out: Path, shown: Mapping[str, str], ingredients: str, *, strict: bool) -> Path:
    """Stage the pages and run Sphinx, unless it would see what it saw last time."""
    index = out / "_build/html/index.html"
    source = _stage(root, out / "src", shown)
    stamp = out / "rendered.key"
    staged = hash_files(source, (file for file in source.rglob("*") if file.is_file()))
    key = digest(ingredients, staged, (root / CONFIG).read_text("utf-8"), str(strict))
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


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def hash_files(root: Path, files: Any) -> str:
    """Hash of the names, relative to `root`, and the contents of files, in order of name."""
    listed = sorted((file.relative_to(root).as_posix(), file) for file in files)
    return digest(*(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in listed))
