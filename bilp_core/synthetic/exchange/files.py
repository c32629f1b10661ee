"""Files of other people, opened without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.decoding import decoded, depth_of, scaled
from ...errors import InputError
from ...utils.arrays import read_arrays

scalar = np.float64(0).__reduce__()[0]
# What NumPy's numbers in a pickle are made of: accuracies stand beside tensors in some files. They run no code.
NUMBERS: list[Any] = [
    np.dtype, type(np.dtype("float64")), type(np.dtype("float32")), type(np.dtype("int64")),
    (scalar, "numpy._core.multiarray.scalar"), (scalar, "numpy.core.multiarray.scalar"),
]  # fmt: skip


def torch_file(path: Path) -> Any:
    """Tensors, numbers, texts, lists and dictionaries of what `torch.save` wrote; anything else is refused by name."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(NUMBERS):
            warnings.simplefilter("ignore")  # torch's, about pickles of other versions: what matters is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: must be a file of torch") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"a pickle of {found[1]}" if found else "something other than tensors"
        raise InputError(
            f"{path} holds {what}: it was not opened, and nothing in it was run. Save tensors, lists and dictionaries "
            "alone, with torch.save"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a file of torch: {str(error).splitlines()[0]}") from None


def tensor_file(path: Path) -> Tensor:
    """The one tensor that a file holds."""
    found = torch_file(path)
    if not isinstance(found, Tensor):
        raise InputError(f"{path} holds a {type(found).__name__}: must be one tensor")
    return found.detach()


def array_file(path: Path, *names: str) -> dict[str, Tensor]:
    """All numeric arrays of an .npz, those of the names at least."""
    arrays = read_arrays(path)
    if not isinstance(arrays, dict) or any(name not in arrays for name in names):
        has = ", ".join(arrays) if isinstance(arrays, dict) else "one array without a name"
        raise InputError(f"{path} has {has}: must be an .npz with {' and '.join(names)}")
    for name in names:
        if arrays[name].dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} is {arrays[name].dtype}: must be numbers")
    return {name: torch.from_numpy(a.copy()) for name, a in arrays.items() if a.dtype.kind in "fiu"}


def only(files: Sequence[Path], what: str) -> Path:
    """The one file that there is to be."""
    if len(files) != 1:
        raise InputError(f"{len(files)} files: must be one, {what}")
    return files[0]


def named(files: Sequence[Path], *prefixes: str) -> dict[str, Path]:
    """Files by how their names begin (images_best.pt is `images`); of a folder, those that end in _best.pt."""
    if len(files) == 1 and files[0].is_dir():
        folder = files[0]
        files = [
            p for prefix in prefixes for p in (folder / f"{prefix}_best.pt", folder / f"{prefix}.pt") if p.exists()
        ]
        if not files:
            raise InputError(f"{folder} has none of {', '.join(f'{prefix}_best.pt' for prefix in prefixes)}")
    found: dict[str, Path] = {}
    for file in files:
        prefix = next((p for p in prefixes if re.match(rf"{p}([_.]|$)", file.name)), None)
        if prefix is None or prefix in found:
            raise InputError(f"{file}: names must begin, once each, with {', '.join(prefixes)}")
        found[prefix] = file
    return found


def pictures(paths: Sequence[Path], channels: int) -> Tensor:
    """Pixels in [0, 1], float32 [M, C, H, W], of images of one size. Raises InputError that names the first bad one."""
    found, _ = decoded(paths, None)
    for path, one in zip(paths, found, strict=True):
        if isinstance(one, str):
            raise InputError(f"{path} cannot be read: {one}")
    read = [one for one in found if not isinstance(one, str)]
    depth = depth_of(read, None)
    arrays = [scaled(one, depth) for one in read]
    wanted = arrays[0].shape[:2]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[:2] != wanted:
            raise InputError(f"{path} is {array.shape[1]}x{array.shape[0]}, {paths[0]} {wanted[1]}x{wanted[0]}")
        if array.ndim == 3 and channels == 1 and (array != array[..., :1]).any():
            raise InputError(f"{path} has colours, and the data are grey")
    if channels == 1:
        arrays = [array[..., 0] if array.ndim == 3 else array for array in arrays]
        return torch.from_numpy(np.stack(arrays)[:, None]).float() / 255
    arrays = [array if array.ndim == 3 else np.stack([array] * 3, -1) for array in arrays]
    return torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2).copy()).float() / 255
