"""Writing files so that nobody ever meets half of one, and keeping what a stopped job had done."""

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ..errors import InputError


def key(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for settings (JSON values), whatever their order: the name of a file.

    >>> from bilp_core.utils.files import key
    >>> key({"ipc": 1, "seed": 0})
    'ef98d8ad43ae1f57'
    >>> key({"seed": 0, "ipc": 1}) == key({"ipc": 1, "seed": 0}) != key({"ipc": 1, "seed": 1})
    True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; it replaces `path` when the block ends well.

    The folder of `path` is made if absent. Safe for any number of writers: the last one wins, whole. The file gets
    the permissions that new files have, whatever wrote it.

    >>> from pathlib import Path
    >>> from bilp_core.utils.files import atomic
    >>> with atomic("notes/first.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    ...     Path("notes/first.txt").exists()
    False
    >>> Path("notes/first.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        temporary.touch()
        usual = stat.S_IMODE(temporary.stat().st_mode)  # what the umask, or the folder, makes of a new file
        temporary.unlink()  # a block that writes nothing shall fail
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != usual:  # safetensors gives its files to their owner alone
            temporary.chmod(usual)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the content reaches the disk before the name does
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Unfinished:
    """A folder where jobs keep what they have done, so that a stopped one goes on where it was.

        with Unfinished(folder) as unfinished:
            distill(..., unfinished=unfinished).save(path)

    What the block's jobs kept is removed when it ends without an exception: only then are their results stored.

    >>> from bilp_core.utils.files import Unfinished
    >>> with Unfinished(".") as unfinished:
    ...     half = unfinished.path("half-done")
    ...     _ = half.write_text("step 40")
    >>> half.exists()
    False
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._given: list[Path] = []

    def path(self, name: str) -> Path:
        """For a job of this block: the file or folder `name`, its own."""
        self._given.append(self.folder / name)
        return self._given[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for path in self._given if kind is None else ():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def check_output(path: str | Path, suffix: str | None = None) -> Path:
    """Return `path` if a file can be written there, raise InputError otherwise: asked before long work.

    suffix : what the name must end in, with its dot; None for anything.

    >>> from bilp_core.utils.files import check_output
    >>> check_output("set.safetensors", ".safetensors").name
    'set.safetensors'
    >>> check_output("set.png", ".safetensors")
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: output file 'set.png': the name must end in .safetensors
    """
    path = Path(path)
    if suffix and path.suffix != suffix:
        raise InputError(f"output file {str(path)!r}: the name must end in {suffix}")
    if path.is_dir():
        raise InputError(f"output file {str(path)!r} is a folder")
    if not path.parent.is_dir():
        raise InputError(f"output file {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise InputError(f"output file {str(path)!r} cannot be written: permission denied")
    return path
