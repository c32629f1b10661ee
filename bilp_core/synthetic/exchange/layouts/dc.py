"""DC, DSA and DM: `res_METHOD_DATA_NETWORK_NUMBERipc.pt`, a dictionary of all experiments of a call."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from ....data.images import ImageData
from ....errors import InputError
from ..files import only, torch_file
from ..layout import Layout, Raw, Told, Written, without_none
from ..writing import hard, normalised


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:  # noqa: ARG001
    path = only(paths, LAYOUT.files)
    found = torch_file(path)
    sets = found.get("data") if isinstance(found, dict) else None
    if not isinstance(sets, list) or not sets or any(len(one) != 2 for one in sets):
        raise InputError(f"{path}: must be a dictionary whose 'data' lists pairs of images and labels")
    if told.experiment is None and len(sets) > 1:
        raise InputError(f"{path} holds {len(sets)} experiments: say which, --experiment 1 to {len(sets)}")
    number = told.experiment or 1
    if not 1 <= number <= len(sets):
        raise InputError(f"experiment = {number}: {path} has 1 to {len(sets)}")
    images, labels = sets[number - 1]
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise InputError(f"{path}: experiment {number} is no pair of tensors")
    method = re.match(r"res_(DC|DSA|DM)_", path.name)
    return Raw(images, labels, without_none({"method": method and method[1].lower()}), meta=accuracies(found))


def accuracies(found: dict) -> dict:
    """What the file says of all its experiments, by network."""
    lists = found.get("accs_all_exps")
    if not isinstance(lists, dict):
        return {}
    means = {str(net): sum(map(float, values)) / len(values) for net, values in lists.items() if len(values)}
    return {"told": means} if means else {}


def write(written: Written, folder: Path) -> list[Path]:
    about = written.synthetic
    method = str(about.meta.get("method", "dc")).upper()
    name = f"res_{method}_{about.meta.get('data', 'DATA')}_ConvNet_{len(written.images) // len(about.classes)}ipc.pt"
    path = folder / name.replace("/", "-")
    torch.save({"data": [[normalised(written, LAYOUT), hard(written, "dc")]], "accs_all_exps": {}}, path)
    return [path]


LAYOUT = Layout(
    files="res_*.pt: {'data': [[images, labels], ...], 'accs_all_exps': ...}",
    source="VICO-UoE/DatasetCondensation",
    read=read,
    write=write,
    asks=("method",),
)
