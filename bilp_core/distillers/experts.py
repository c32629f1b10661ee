"""Expert trajectories: networks trained on real data, their parameters kept after every epoch.

The first stage of trajectory matching. A buffer is a folder named by its key, with one safetensors file an expert
(each parameter as [epochs + 1, *shape], from the random start on) and `manifest.json`, which has the settings and
the SHA-256 of every finished file. The key stands for all that decides the parameters: the settings, the network
and the very samples, so for the pruning too; not for the number of experts, so that a buffer can be extended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.images import ImageData, feed
from ..errors import InputError
from ..nets import speed
from ..nets.ensemble import Ensemble, stacks
from ..nets.memory import fitting
from ..nets.networks import network
from ..nets.recipe import Recipe
from ..nets.training import fit
from ..utils.files import atomic
from ..utils.progress import Report
from ..utils.revisions import changed, revision
from ..utils.seeds import seeds

FORMAT = "bilp-experts-1"
TOGETHER = 10  # experts trained at once where that pays and fits; an interruption loses no more


@dataclass(frozen=True)
class Training:
    """How an expert is trained: plain SGD. epochs : after each of which the parameters are kept.

    lr, momentum, weight_decay, batch : of SGD; batch is in images. augment : an augmentation, "none" for none.
    sharpness : rho of sharpness-aware steps, 0 for plain ones, see `bilp_core.nets.sharpness`.
    Source: the defaults are those of Cazenavette et al., CVPR 2022, as their code has them.

    >>> from bilp_core.distillers.experts import Training
    >>> Training(epochs=3)
    Training(epochs=3, lr=0.01, momentum=0.0, weight_decay=0.0, batch=256, augment='none', sharpness=0.0)
    """

    epochs: int = 50
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int = 256
    augment: str = "none"
    sharpness: float = 0.0

    def recipe(self) -> Recipe:
        return Recipe(**asdict(self))


def key(data: ImageData, spec: str, training: Training) -> str:
    """16 hexadecimal digits for the experts of a network on these samples, seen as they are (whitened or not).

    >>> from bilp_core import load
    >>> from bilp_core.distillers.experts import Training, key
    >>> train, test = load("digits")
    >>> key(train, "convnet", Training()) == key(train, "convnet", Training(epochs=50))
    True
    >>> key(train, "convnet", Training()) == key(test, "convnet", Training())
    False
    """
    settings = asdict(training)
    if not training.sharpness:
        del settings["sharpness"]  # keys are as they were before there was any
    about = [FORMAT, revision("core"), speed.mode(), spec, settings, data.classes, data.mean, data.std]
    about += changed(["experts"]).values()
    digest = hashlib.sha256(json.dumps(about).encode())
    if data.whitening:
        digest.update(data.whitening.identity.encode())
    for values in (data.images, data.labels):
        digest.update(str(tuple(values.shape)).encode())
        feed(digest, values)
    return digest.hexdigest()[:16]


def network_size(spec: str, data: ImageData) -> int:
    """Numbers in the parameters of a network for `data`.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.experts import network_size
    >>> network_size("convnet:depth=1,width=4", load("digits").train)  # 3x3 and bias, norm, 64 to 10 and bias
    698
    """
    return sum(p.numel() for p in network(spec, data.shape, data.num_classes).parameters())


def disk_bytes(count: int, epochs: int, parameters: int) -> int:
    """What `count` experts take on the disk.

    parameters : numbers in one network, in float32.

    >>> from bilp_core.distillers.experts import disk_bytes
    >>> disk_bytes(100, epochs=50, parameters=320_010) / 1e9  # GB, of the paper's buffer for CIFAR-10
    6.528204
    """
    return count * (epochs + 1) * parameters * 4


@dataclass(frozen=True)
class Buffer:
    """Checked experts in a folder. shapes : of the parameters, in the network's order. seconds : to train them.

    `build` and `load` give one; the example is there.
    """

    folder: Path
    files: tuple[str, ...]
    epochs: int
    shapes: dict[str, tuple[int, ...]]
    seconds: float

    def __len__(self) -> int:
        return len(self.files)

    def parameters(self, expert: int, epoch: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Parameters of an expert after `epoch` epochs, by name; only they are read from the disk.

        Raises InputError for an expert or an epoch that the buffer does not have.
        """
        from safetensors import safe_open

        if not 0 <= expert < len(self):
            raise InputError(f"expert {expert}: the buffer {self.folder} has {len(self)}")
        if not 0 <= epoch <= self.epochs:
            raise InputError(f"epoch {epoch}: the experts in {self.folder} were trained for {self.epochs} epochs")
        with safe_open(self.folder / self.files[expert], framework="pt") as file:
            return {name: file.get_slice(name)[epoch : epoch + 1][0].to(device) for name in self.shapes}

    def trajectory(self, expert: int) -> Tensor:
        """[epochs + 1, P]: all parameters of an expert, flat."""
        rows = [self.parameters(expert, epoch) for epoch in range(self.epochs + 1)]
        return torch.stack([torch.cat([p.flatten() for p in row.values()]) for row in rows])


def file_name(expert: int) -> str:
    return f"expert-{expert:04d}.safetensors"


def load(folder: Path, count: int, expected_key: str | None = None) -> Buffer:
    """The first `count` experts of a folder. Raises InputError that names the file which is missing, truncated or
    not the one that was written there, or the manifest if it is of other experts.

    >>> from pathlib import Path
    >>> from bilp_core.distillers.experts import load
    >>> load(Path("experts"), 1)
    Traceback (most recent call last):
    bilp_core.errors.InputError: experts: there are no experts
    """
    manifest = read_manifest(folder, expected_key)
    if manifest is None:
        raise InputError(f"{folder}: there are no experts")
    names = [file_name(k) for k in range(count)]
    absent = [name for name in names if name not in manifest["files"]]
    if absent or count < 1:
        raise InputError(f"{folder} has {len(manifest['files'])} experts, {count} were asked for")
    for name in names:
        check_sealed(folder / name, manifest["files"][name])
    shapes = {name: tuple(shape) for name, shape in manifest["parameters"].items()}
    seconds = sum(manifest["files"][name].get("seconds", 0.0) for name in names)
    return Buffer(folder, tuple(names), int(manifest["training"]["epochs"]), shapes, round(seconds, 3))


def build(
    data: ImageData, spec: str, training: Training, count: int, home: Path, progress: Report | None = None
) -> Buffer:
    """Train the experts that `home` lacks, and return all `count`.

    What is finished is kept at once, so an interrupted call goes on where it was, and what another process has
    finished meanwhile is not trained again. Expert k depends on k alone.
    home : the folder of all buffers; this one is `home / key(data, spec, training)`.
    Raises InputError before it starts if the disk has no room, FloatingPointError if an expert diverges.

    >>> from pathlib import Path
    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.distillers.experts import Training, build
    >>> train, _ = load("digits")
    >>> buffer = build(train, "convnet:depth=1,width=4", Training(epochs=2), 2, Path("experts"))
    >>> path = buffer.trajectory(1)
    >>> len(buffer), path.shape
    (2, torch.Size([3, 698]))
    >>> end = buffer.parameters(1, epoch=2)
    >>> torch.equal(path[2], torch.cat([p.flatten() for p in end.values()]))
    True
    """
    if count < 1:
        raise InputError(f"experts = {count}: must be at least 1")
    own = key(data, spec, training)
    folder = home / own
    manifest = read_manifest(folder, own) or new_manifest(data, spec, training)
    missing = _missing(manifest, count)
    size = disk_bytes(1, training.epochs, sum(prod(shape) for shape in manifest["parameters"].values()))
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, len(missing) * size)
    if missing and progress:
        them = f"{len(missing)} expert{'s' * (len(missing) > 1)}"
        progress(0, count, f"{them} will take {len(missing) * size / 1e9:.3g} GB in {folder}")
    together = 1
    if stacks(data.device, training.batch, data.shape):
        together = min(TOGETHER, fitting(training.batch * data.positions, data.device))
    while missing:
        _train(data, spec, training, missing[:together], folder, manifest, count - len(missing), count, progress)
        manifest = read_manifest(folder, own) or manifest
        missing = _missing(manifest, count)
    return load(folder, count, own)


def new_manifest(data: ImageData, spec: str, training: Training) -> dict[str, Any]:
    """What is said of trained networks before any has a file."""
    return {
        "format": FORMAT,
        "key": key(data, spec, training),
        "network": spec,
        "data": data.name,
        "samples": len(data),
        "training": asdict(training),
        "parameters": {n: list(p.shape) for n, p in network(spec, data.shape, data.num_classes).named_parameters()},
        "files": {},
    }


def _missing(manifest: dict[str, Any], count: int) -> list[int]:
    return [k for k in range(count) if file_name(k) not in manifest["files"]]


def _train(
    data: ImageData, spec: str, training: Training, group: list[int], folder: Path, manifest: dict[str, Any],
    done: int, count: int, progress: Report | None,
) -> None:  # fmt: skip
    """Train some experts together, write the files of those that nobody has finished meanwhile, then enter these in
    the manifest. `manifest` : the one to begin with if there is none on the disk."""
    from safetensors.torch import save_file

    ensemble = Ensemble(
        spec, data.shape, data.num_classes, [seeds("expert", 0, k + 1)[k] for k in group], data.device,
        batch=training.batch, positions=len(group) * training.epochs * len(data) * data.positions,
    )  # fmt: skip
    kept, start = [ensemble.weights()], time.perf_counter()

    def on_epoch(epoch: int) -> None:
        kept.append(ensemble.weights())
        if progress:
            part = len(group) * (epoch + 1)
            progress(done * training.epochs + part, count * training.epochs, f"expert {done + len(group)} of {count}")

    try:
        history = fit(ensemble, data, training.recipe(), on_epoch=on_epoch)
    except FloatingPointError as error:
        raise FloatingPointError(
            f"experts {group[0]} to {group[-1]}: {error}; those finished before are kept"
        ) from None
    seconds = round((time.perf_counter() - start) / len(group), 3)
    found = read_manifest(folder, manifest["key"]) or manifest
    written = {}
    for k, expert in enumerate(group):
        path = folder / file_name(expert)
        if path.name in found["files"]:
            continue
        with atomic(path) as temporary:
            save_file({n: torch.stack([w[n][k] for w in kept]).contiguous() for n in kept[0]}, temporary)
        written[path.name] = {**seal(path), "loss": round(float(history[-1, k]), 6), "seconds": seconds}
    # once more: writing takes time, and others may be entered
    found = read_manifest(folder, manifest["key"]) or manifest
    with atomic(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps({**found, "files": {**found["files"], **written}}, indent=1))


def seal(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def check_sealed(path: Path, wanted: dict[str, Any]) -> None:
    remedy = "remove it together with manifest.json, and the experts are trained again"
    if not path.is_file():
        raise InputError(f"{path}: this expert is missing; {remedy.replace('it together with ', '')}")
    if path.stat().st_size != wanted["bytes"]:
        raise InputError(f"{path} is truncated: {path.stat().st_size} bytes instead of {wanted['bytes']}; {remedy}")
    if seal(path)["sha256"] != wanted["sha256"]:
        raise InputError(f"{path} is not the expert that was written there (SHA-256 differs); {remedy}")


def read_manifest(folder: Path, expected_key: str | None) -> dict[str, Any] | None:
    """The manifest, which counts as used now; None if there is none.

    Raises InputError for one that is damaged or of other experts.
    """
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text())
        for part in ("format", "key", "training", "parameters", "files"):
            found[part]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a list of experts; remove it to train them again") from None
    if found["format"] != FORMAT:
        raise InputError(f"{path}: format {found['format']!r}, this version reads {FORMAT!r}")
    if expected_key and found["key"] != expected_key:
        raise InputError(f"{path} is of other experts: key {found['key']}, not {expected_key}")
    with contextlib.suppress(OSError):  # of somebody else
        os.utime(path)  # `bilp cache` goes by the time of the last use
    return found


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"the experts need {needed / 1e9:.3g} GB in {folder}, and {free / 1e9:.3g} GB are free: fewer experts or "
            "epochs, or another $BILP_STORE"
        )
