"""What is handed on: the wheel, the rendered site as an archive, the whole book as a PDF, and their checksums."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import __version__
from ..errors import InputError
from ..utils import paths
from ..utils.files import atomic
from . import browser
from .building import build
from .pdf import write_pdf
from .render import BuildFailed

EPOCH = 1580601600  # the time of files in an archive, and in a wheel of hatchling's, if $SOURCE_DATE_EPOCH gives none
SUMS = "SHA256SUMS"


def distribute(preset: str = "quick", *, draft: bool = False, root: Path | None = None) -> list[Path]:
    """Bring the book up to date, and write what is handed on to dist/: the files' paths, the checksums' last.

    draft : see `build`.
    Raises InputError before anything runs where a tool is not there, and as `build` does; BuildFailed.

    >>> from pathlib import Path
    >>> from bilp_core.book import distribute
    >>> distribute(root=Path("nowhere"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: ...
    """
    root = root or paths.root()
    check(root)
    site = build(preset, draft=draft, root=root).parent
    out = root / "dist"
    out.mkdir(exist_ok=True)
    name = f"bilp-book-{__version__}-{preset}"
    made = [wheel(root, out), archive(site, out / f"{name}-site.tar.gz", name)]
    print("printing every page", flush=True)
    made.append(write_pdf(root, site, out / f"{name}.pdf"))
    sums = out / SUMS
    sums.write_text("".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in made))
    return [*made, sums]


def check(root: Path) -> None:
    """Raise InputError, with the remedy, for what is needed beside the book's own tools and is not there."""
    for module, use in (("hatchling", "builds the wheel"), ("pypdf", "joins the pages of the PDF")):
        if find_spec(module) is None:
            raise InputError(f"{module}, which {use}, is not installed: pip install 'bilp-book[dev]'")
    browser.program()
    if not (root / "pyproject.toml").is_file():
        raise InputError(f"there is no pyproject.toml in {root}: the wheel is made in a clone of the repository")


def wheel(root: Path, out: Path) -> Path:
    """The library's wheel. Nothing is fetched: the builder is the one that is installed."""
    with TemporaryDirectory(dir=out) as aside:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", aside]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        made = list(Path(aside).glob("*.whl"))
        if done.returncode != 0 or len(made) != 1:
            raise BuildFailed(f"the wheel could not be built: {(done.stderr or done.stdout).strip()}")
        return made[0].replace(out / made[0].name)


def archive(folder: Path, file: Path, top: str) -> Path:
    """The files of `folder` below the name `top` in a tar.gz, of which the same files always give the same bytes.

    Names are in order; times, owners and rights are fixed; hidden files, which Sphinx keeps for itself, are left out.
    """
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.mode = time, 0o644
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
    with (
        atomic(file) as path,
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name in names:
            if not any(part.startswith(".") for part in name.split("/")):
                tar.add(folder / name, f"{top}/{name}", recursive=False, filter=plain)
    return file
