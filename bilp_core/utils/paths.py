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

    >>> from pathlib import Path
    >>> from bilp_core.utils import paths
    >>> Path("_config.yml").touch()  # makes the working folder a project
    >>> paths.root() == Path.cwd()
    True
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
    raise InputError(
        f"the book is not here (no {MARKER} in {Path.cwd()} or above): chapters need a clone of the repository; "
        "run this inside it, or set BILP_ROOT to it"
    )


def store() -> Path:
    """The folder of records and what belongs to them: $BILP_STORE, or records/ in the project, or here; absolute,
    since a chapter's kernel may work in another folder than its workers.

    >>> import os
    >>> from pathlib import Path
    >>> from bilp_core.utils import paths
    >>> os.environ["BILP_STORE"] = "made-today"
    >>> paths.store() == Path.cwd() / "made-today"
    True
    """
    return Path(os.environ.get("BILP_STORE") or in_project("records")).absolute()


def in_project(name: str) -> Path:
    """`name` in the project's root; outside a project, in the working folder.

    >>> from pathlib import Path
    >>> from bilp_core.utils import paths
    >>> Path("_config.yml").touch()
    >>> paths.in_project("data") == Path.cwd() / "data"
    True
    """
    try:
        return root() / name
    except InputError:
        return Path(name)
