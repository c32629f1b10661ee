"""Where the project lies: the pages and tables of the book are found from here, never from a fixed path."""

import os
from pathlib import Path

from ..errors import InputError

MARKER = "_config.yml"


def root() -> Path:
    """The project's root: $BILP_ROOT, else the nearest folder upwards that holds `_config.yml`.

    The search starts in the working folder (a chapter runs somewhere below the root), then beside this
    package.
    Raises InputError when neither leads to one.
    """
    named = os.environ.get("BILP_ROOT")
    if named:
        folder = Path(named).resolve()
        if not (folder / MARKER).is_file():
            raise InputError(f"BILP_ROOT={named!r} holds no {MARKER}; set it to the root of the project")
        return folder
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / MARKER).is_file():
                return folder
    raise InputError(f"no {MARKER} in {Path.cwd()} or above; run inside the project or set BILP_ROOT")


def store() -> Path:
    """The folder of records and what belongs to them: $BILP_STORE, or records/ in the project, or here; absolute,
    since a chapter's kernel may work in another folder than its workers."""
    return Path(os.environ.get("BILP_STORE") or in_project("records")).absolute()


def in_project(name: str) -> Path:
    """`name` in the project's root; outside a project, in the working folder."""
    try:
        return root() / name
    except InputError:
        return Path(name)
