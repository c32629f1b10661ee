"""A network trained on real data and kept with the running statistics of its BatchNorm: SRe2L's first stage.

It lies in a folder named by its key, `teacher.safetensors` and a `manifest.json` like that of experts. The key stands
for all that decides it: settings, network and the very samples, so for the pruning too.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from ..data.images import ImageData
from ..errors import InputError
from ..nets.ensemble import Ensemble
from ..nets.networks import NETWORKS, network, parse
from ..nets.recipe import Recipe
from ..nets.training import fit, measure
from ..utils.files import atomic
from ..utils.progress import Report, patience
from ..utils.seeds import seeds
from .experts import Training, check_sealed, key, new_manifest, read_manifest, seal

FILE = "teacher.safetensors"


@dataclass(frozen=True)
class Squeezing(Training):
    """How a teacher is trained: SGD on a learning rate that falls to 0 along a cosine, after `warmup` epochs of rise.

    >>> from bilp_core.distillers.squeezed import Squeezing
    >>> Squeezing(epochs=10, momentum=0.9, warmup=1).recipe(samples=500).warmup
    2
    """

    warmup: int = 0

    def recipe(self, samples: int = 0) -> Recipe:
        values = asdict(self)
        steps = values.pop("warmup") * -(-samples // self.batch)
        return Recipe(**values, cosine_to=0.0, warmup=steps)


@dataclass(frozen=True)
class Teacher:
    """A trained network, in evaluation mode. accuracy : on the real data it was trained on. seconds : to train it."""

    net: nn.Module
    network: str
    folder: Path
    accuracy: float
    seconds: float


def batch_normed(spec: str) -> str:
    """The version of a network with BatchNorm, whose statistics can be matched.

    Raises InputError for one that has none.

    >>> from bilp_core.distillers.squeezed import batch_normed
    >>> batch_normed("convnet:depth=2,width=32"), batch_normed("resnet18"), batch_normed("densenet-bn")
    ('convnet:depth=2,width=32,norm=batch', 'resnet18-bn', 'densenet-bn')
    """
    name, options = parse(spec)
    if "convnet" in name:
        options["norm"] = "batch"
    elif "-bn" not in name:
        name = f"{name}-bn"
    if name not in NETWORKS:
        raise InputError(f"sre2l matches the statistics of BatchNorm, and {spec!r} has no version with it")
    rest = ",".join(f"{option}={value}" for option, value in options.items())
    return f"{name}:{rest}" if rest else name


def build(data: ImageData, spec: str, training: Squeezing, home: Path, progress: Report | None = None) -> Teacher:
    """The teacher in `home / key(data, spec, training)`, trained if it is not there.

    Raises InputError, naming the file, for one that is damaged; FloatingPointError if it diverges.

    >>> from pathlib import Path
    >>> from bilp_core import load
    >>> from bilp_core.distillers.squeezed import Squeezing, build
    >>> train, _ = load("digits")
    >>> settings = (train, "convnet:depth=1,width=8,norm=batch", Squeezing(epochs=4, lr=0.1, batch=64), Path("stages"))
    >>> teacher = build(*settings)
    >>> teacher.accuracy > 0.5, build(*settings).accuracy == teacher.accuracy
    (True, True)
    """
    from safetensors.torch import load_file, save_file

    own = key(data, spec, training)
    folder = home / own
    net = network(spec, data.shape, data.num_classes).to(data.device)
    if not (manifest := read_manifest(folder, own)):
        ensemble = Ensemble(
            spec, data.shape, data.num_classes, seeds("teacher", 0, 1), data.device, batch=training.batch, stacked=False
        )

        def on_epoch(epoch: int) -> None:
            if progress and ((epoch + 1) % 10 == 0 or patience(progress) == 0):
                progress(epoch + 1, training.epochs, "teacher")

        start = time.perf_counter()
        try:
            history = fit(ensemble, data, training.recipe(len(data)), on_epoch=on_epoch)
        except FloatingPointError as error:
            raise FloatingPointError(f"the teacher: {error}") from None
        accuracy, _ = measure(ensemble, data)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / FILE) as path:
            save_file({n: t.cpu().contiguous() for n, t in ensemble.members[0].state_dict().items()}, path)
        manifest = new_manifest(data, spec, training)
        manifest["files"][FILE] = {
            **seal(folder / FILE), "loss": round(float(history[-1, 0]), 6), "accuracy": float(accuracy[0]),
            "seconds": round(time.perf_counter() - start, 3),
        }  # fmt: skip
        with atomic(folder / "manifest.json") as path:
            path.write_text(json.dumps(manifest, indent=1))
    about = manifest["files"][FILE]
    check_sealed(folder / FILE, about)
    net.load_state_dict(load_file(folder / FILE))
    net.eval().requires_grad_(False)
    return Teacher(net, spec, folder, about["accuracy"], about["seconds"])
