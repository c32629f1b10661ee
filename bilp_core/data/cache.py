"""What was decoded once is kept beside the data, and read from there."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import atomic


def cache_home() -> Path:
    """The folder where decoded folders of images are kept: $BILP_CACHE, by default ~/.cache/bilp.

    >>> import os
    >>> from bilp_core.data import cache_home
    >>> os.environ["BILP_CACHE"] = "decoded"
    >>> cache_home().name
    'decoded'
    """
    return Path(os.environ.get("BILP_CACHE", "~/.cache/bilp")).expanduser()


ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def place(home: Path, fingerprint: str) -> Path:
    """The folder of what was decoded, by what stands for it."""
    return home / hashlib.sha256(fingerprint.encode()).hexdigest()[:16]


def cached(home: Path, fingerprint: str, decode: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `decode` gives, from `home` if it was decoded before: the four ARRAYS, and JSON values beside them.

    The cache is one folder a fingerprint, written whole; a damaged one is decoded again.
    """
    folder = place(home, fingerprint)
    try:
        about = json.loads((folder / "about.json").read_text())
        arrays = {key: np.load(folder / f"{key}.npy", allow_pickle=False) for key in ARRAYS}
        if all(list(arrays[key].shape) == about["shapes"][key] for key in ARRAYS):
            with contextlib.suppress(OSError):  # of somebody else
                os.utime(folder / "about.json")  # `bilp cache` goes by the time of the last use
            return {**about, **arrays}
    except (OSError, ValueError, KeyError, EOFError):
        pass
    made = decode()
    about = {key: value for key, value in made.items() if key not in ARRAYS}
    about["shapes"] = {key: list(made[key].shape) for key in ARRAYS}
    (folder / "about.json").unlink(missing_ok=True)  # no manifest, no cache: it comes last
    for key in ARRAYS:
        with atomic(folder / f"{key}.npy") as path:
            np.save(path, made[key], allow_pickle=False)
    with atomic(folder / "about.json") as path:
        path.write_text(json.dumps(about))
    return made
