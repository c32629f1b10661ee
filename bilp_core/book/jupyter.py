"""Chapters as notebooks for Jupyter."""

from __future__ import annotations

from pathlib import Path

from ..utils import paths
from .chapter import chapters, settings


def notebooks(preset: str = "quick", out: Path | None = None, *, root: Path | None = None) -> list[Path]:
    """Write every chapter as an unexecuted .ipynb with the preset's values filled in.

    out : the folder; default notebooks/ in the clone, where git ignores them.
    A notebook that is there already and differs is somebody's work: it is kept, and said so.
    Returns the files that were written. Raises InputError as `settings` does.

    >>> from pathlib import Path
    >>> from bilp_core.book import chapters, notebooks
    >>> written = notebooks("quick", Path("notebooks"))
    >>> [path.stem for path in written] == [chapter.name for chapter in chapters()]
    True
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
