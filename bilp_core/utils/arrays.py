"""Files of NumPy arrays. Pickles are never read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np


def read_arrays(path: str | Path) -> list[np.ndarray] | dict[str, np.ndarray]:
    """All arrays of a file: by name from an .npz, in their order from an .npy, which may hold several.

    Raises InputError naming the file if it is missing, damaged, or no file of arrays.

    >>> import numpy as np
    >>> from bilp_core.utils.arrays import read_arrays
    >>> with open("two.npy", "wb") as file:
    ...     np.save(file, [1, 2])
    ...     np.save(file, "first")
    >>> np.load("two.npy").tolist(), [array.tolist() for array in read_arrays("two.npy")]
    ([1, 2], [[1, 2], 'first'])
    """
    import numpy as np

    try:
        with Path(path).open("rb") as file:  # ours to close: NumPy leaves a damaged one open
            size = os.fstat(file.fileno()).st_size
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                with loaded:
                    return {name: loaded[name] for name in loaded}
            arrays = [loaded]
            while file.tell() < size:
                arrays.append(np.load(file, allow_pickle=False))
            return arrays
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):  # NumPy's words are about pickles
        raise InputError(f"{path} cannot be read: it is damaged, or no file of NumPy arrays") from None
