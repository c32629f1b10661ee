"""What the command reads and writes."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import InputError
from ..utils.files import atomic, check_output
from ..utils.progress import Progress

if TYPE_CHECKING:
    from ..data.images import Splits


def load(args: argparse.Namespace) -> "Splits":
    from ..data.datasets import load

    with Progress("reading") as bar:
        return load(args.data, root=args.root, size=args.size, progress=bar)


def options_given(pairs: Sequence[Sequence[str]] | None) -> dict[str, Any]:
    """name=value words, the values as text: what they mean, their owner says."""
    found: dict[str, Any] = {}
    for word in [word for group in pairs or [] for word in group]:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"--set {word!r}: write name=value")
        if name in found:
            raise InputError(f"--set {word!r}: {name} is given twice")
        found[name] = text
    return found


def _array(path: str, key: str | None) -> Any:
    """The array in an .npy file, or the one called `key` in an .npz file."""
    import zipfile

    import numpy as np

    try:
        with Path(path).open("rb") as file:  # ours to close: NumPy leaves a damaged one open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return (
                    loaded if key is None else _refuse(path, "holds a single array: it is not what `bilp score` writes")
                )
            with loaded:
                if key is None:
                    _refuse(path, "holds named arrays: it is not what `bilp prune` writes")
                if key not in loaded:
                    _refuse(path, f"holds no array {key!r}: it is not what `bilp score` writes")
                return loaded[key]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):  # NumPy's words are about pickles, which we never read
        raise InputError(f"{path} cannot be read: it is damaged, or no file of NumPy arrays") from None


def _refuse(path: str, why: str) -> NoReturn:
    raise InputError(f"{path} {why}")


def read_scores(path: str, labels: Any) -> Any:
    """Scores that belong to the training split with these labels."""
    import numpy as np

    scores, own = _array(path, "scores"), _array(path, "labels")
    if scores.ndim != 1 or not np.issubdtype(scores.dtype, np.floating):
        _refuse(path, f"holds scores {scores.dtype} {list(scores.shape)}: must be one row of real numbers")
    if scores.shape != labels.shape or own.shape != labels.shape or (own != labels).any():
        _refuse(path, f"holds scores of {len(scores)} samples of other data: its labels do not match DATA")
    return scores


def read_kept(path: str, count: int) -> Any:
    """Indices of the samples to keep: whole numbers below `count`, none twice."""
    import numpy as np
    import torch

    kept = _array(path, None)
    if not isinstance(kept, np.ndarray) or kept.ndim != 1 or not np.issubdtype(kept.dtype, np.integer) or not len(kept):
        raise InputError(f"{path}: must hold one row of whole numbers, as `bilp prune` writes it")
    if kept.min() < 0 or kept.max() >= count:
        raise InputError(f"{path}: index {kept.max() if kept.max() >= count else kept.min()} is not in 0..{count - 1}")
    if len(np.unique(kept)) < len(kept):
        raise InputError(f"{path}: some indices are there twice")
    return torch.from_numpy(kept.astype(np.int64))


def write_json(report: dict[str, Any], where: str) -> None:
    text = json.dumps(report, indent=1)
    if where == "-":
        print(text)
    else:
        with atomic(check_output(where)) as path:
            path.write_text(text + "\n")
