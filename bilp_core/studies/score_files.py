"""Scores in files of several kinds, brought into one order of samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data.samples import check_belongs, read_about
from ..errors import InputError
from ..indicators.files import FORMAT
from ..utils.arrays import read_arrays

if TYPE_CHECKING:
    from ..data.images import ImageData


@dataclass(frozen=True, eq=False)
class Listed:
    """Scores as a file lists them: `values`, float64 [N]; with what else it says of them.

    labels : int64 [N], None where the file does not say. about, names, prints : what `save_scores` writes of the data.
    groups : of a file that lists them class by class, how many each class has; `values` are then in that order.

    >>> import torch
    >>> from bilp_core.studies.score_files import Listed
    >>> Listed("a.npy", torch.zeros(3)).labels is None
    True
    """

    path: str
    values: Tensor
    labels: Tensor | None = None
    about: dict[str, Any] | None = None
    names: np.ndarray | None = None
    prints: np.ndarray | None = None
    groups: tuple[int, ...] | None = None

    def of(self, labels: Tensor, whose: str) -> Tensor:
        """The values in the order of samples that have these labels. whose : where they are from, for the message."""
        if len(self.values) != len(labels):
            raise InputError(
                f"{self.path} holds {len(self.values)} scores, {whose} has {len(labels)} samples: must be of the same "
                "data, in the same order"
            )
        if self.groups is None:
            return self.values
        counts = torch.bincount(labels, minlength=len(self.groups)).tolist()
        if counts != list(self.groups):
            raise InputError(f"{self.path} has {_few(self.groups)} scores of the classes, {whose} has {_few(counts)}")
        placed = torch.empty_like(self.values)
        placed[torch.argsort(labels, stable=True)] = self.values
        return placed


def read_scores(path: str | Path) -> Listed:
    """The scores of an .npz of `bilp score` (or with `scores` and perhaps `labels`), an .npy of one row, or a .json: a
    list of numbers, one for each sample, or a list of such lists, one for each class, in the order of the classes.

    Raises InputError naming the file, and what is wrong with it.

    >>> import json
    >>> from pathlib import Path
    >>> from bilp_core.studies.score_files import read_scores
    >>> _ = Path("flat.json").write_text(json.dumps([0.5, 0.25, 1.0]))
    >>> _ = Path("classes.json").write_text(json.dumps([[0.5, 0.25], [1.0]]))
    >>> read_scores("flat.json").values.tolist(), read_scores("classes.json").groups
    ([0.5, 0.25, 1.0], (2, 1))
    """
    if Path(path).suffix == ".json":
        return _read_json(path)
    found = read_arrays(path)
    if isinstance(found, list):
        if len(found) > 1:
            raise InputError(
                f"{path} holds {len(found)} arrays: must be one row of scores, or what `bilp score` writes"
            )
        return Listed(str(path), _row(found[0], path))
    if "scores" not in found:
        raise InputError(f"{path} holds no array 'scores': it is not what `bilp score` writes")
    values, labels = _row(found["scores"], path), found.get("labels")
    if labels is not None and (labels.shape != found["scores"].shape or labels.dtype.kind not in "iu"):
        raise InputError(
            f"{path} holds labels {labels.dtype} {list(labels.shape)}: must be a whole number for each score"
        )
    own = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    if not {"about", "names", "prints"} <= found.keys():
        return Listed(str(path), values, own)
    return Listed(str(path), values, own, read_about(found["about"], path, FORMAT), found["names"], found["prints"])


def _read_json(path: str | Path) -> Listed:
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if isinstance(found, list) and found and all(isinstance(group, list) for group in found):
        rows = [_row(np.array(group), path) for group in found]
        return Listed(str(path), torch.cat(rows), groups=tuple(map(len, rows)))
    if not isinstance(found, list) or any(isinstance(item, list | dict) for item in found):
        raise InputError(f"{path} holds no list of numbers, and no list of such lists, one for each class")
    return Listed(str(path), _row(np.array(found), path))


def _row(values: np.ndarray, path: str | Path) -> Tensor:
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "fiu":
        raise InputError(f"{path} holds scores {values.dtype} {list(values.shape)}: must be one row of real numbers")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: score {int(np.isfinite(values).argmin())} is not finite: it has no rank")
    return torch.from_numpy(values.astype(np.float64))


def aligned(
    first: Listed, second: Listed, data: ImageData | None = None
) -> tuple[Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Both files' scores, [N] each, the samples' labels, int64 [N], and the names of the classes.

    data : the training half that both must be of. Without it the labels are those that a file holds; files that list
    their scores class by class need none.
    Raises InputError where the two, or the data, are of different samples, so far as that is known, and where no
    labels are known.

    >>> import torch
    >>> from bilp_core.studies.score_files import Listed, aligned
    >>> one = Listed("a.npz", torch.tensor([1.0, 2.0, 3.0]), labels=torch.tensor([1, 0, 1]))
    >>> other = Listed("b.json", torch.tensor([9.0, 7.0, 8.0]), groups=(1, 2))  # class 0, then class 1
    >>> [part.tolist() for part in aligned(one, other)[:3]]
    [[1.0, 2.0, 3.0], [7.0, 9.0, 8.0], [1, 0, 1]]
    """
    if data is not None:
        for each in (first, second):
            if each.about and each.names is not None and each.prints is not None:
                check_belongs(f"{each.path} holds scores of", each.about, each.names, each.prints, data, trust=True)
        labels, whose, classes = data.labels.cpu(), data.name, data.classes
    else:
        _check_same(first, second)
        known = [(each.labels, each.path) for each in (first, second) if each.labels is not None]
        groups = first.groups or second.groups
        if known:
            labels, whose = known[0]
        elif groups:
            labels, whose = torch.arange(len(groups)).repeat_interleave(torch.tensor(groups)), "the other"
            if None in (first.groups, second.groups):
                raise InputError(
                    f"{first.path} and {second.path} do not both list their scores class by class, and neither says of "
                    "which class each sample is: name the data (--data)"
                )
        else:
            raise InputError(
                f"neither {first.path} nor {second.path} says of which class each sample is: name the data (--data)"
            )
        about = first.about or second.about
        classes = tuple(about["classes"]) if about else tuple(map(str, range(int(labels.max()) + 1)))
    return first.of(labels, whose), second.of(labels, whose), labels, classes


def _check_same(first: Listed, second: Listed) -> None:
    """Whatever both say of their samples must agree; the images may have another size."""
    if first.about and second.about:
        keys = ["classes", "samples"] + ["fingerprint"] * (first.about["shape"] == second.about["shape"])
        same_names = first.names is not None and second.names is not None and np.array_equal(first.names, second.names)
        if any(first.about[key] != second.about[key] for key in keys) or not same_names:
            one, other = (f"{each.path} of {each.about['data']!r}" for each in (first, second) if each.about)
            raise InputError(f"the two hold scores of different samples: {one}, {other}")
    if first.labels is not None and second.labels is not None and len(first.labels) == len(second.labels):
        differ = (first.labels != second.labels).nonzero().flatten()
        if len(differ):
            raise InputError(
                f"{first.path} and {second.path} hold scores of different samples, or in another order: the first "
                f"label that differs is that of sample {int(differ[0])}"
            )


def _few(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts[:5])) + (", ..." if len(counts) > 5 else "")
