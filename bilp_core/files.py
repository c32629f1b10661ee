"""Writing files so that nobody ever meets half of one."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bilp_core.errors import InputError


def key(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for settings (JSON values), whatever their order: the name of a file."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; it replaces `path` when the block ends well.

    The folder of `path` is made if absent. Safe for any number of writers: the last one wins, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the content reaches the disk before the name does
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: str | Path, suffix: str | None = None) -> Path:
    """Return `path` if a file can be written there, raise InputError otherwise: asked before long work."""
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
