"""Squeeze, recover and relabel, SRe2L (Yin et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.images import ImageData
from ..errors import InputError
from ..evaluation.protocols import sre2l_protocol
from ..nets.recipe import cosine
from ..nets.views import Views, views_of
from ..synthetic.relabelled import Relabelled, label_bytes
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report
from .experts import disk_bytes, key, network_size
from .idc import limits
from .method import Distiller, Kept, Stage
from .run import Run
from .squeezed import Squeezing, batch_normed, build


@dataclass(frozen=True)
class Setting:
    """What the authors choose for a data set: for recovering, then for the teacher."""

    image_lr: float
    bn_weight: float
    crop: str
    roll: int
    teacher: str
    epochs: int
    teacher_lr: float
    teacher_batch: int
    teacher_decay: float
    warmup: int
    teacher_augment: str = "idc:flip_crop"


# their shifts on ImageNet and CIFAR go one way, up to 32 and 4 pixels: as far apart, these go both ways
IMAGENET = Setting(0.25, 0.01, "views:0.08", 16, "resnet18-bn", 90, 0.1, 256, 1e-4, 0)
TINY = Setting(0.1, 1.0, "views:0.08", 4, "resnet18-bn", 50, 0.2, 256, 1e-4, 5)
CIFAR100 = Setting(0.25, 0.01, "none", 2, "resnet18-bn", 200, 0.1, 128, 5e-4, 0)
CIFAR10 = replace(CIFAR100, teacher="own", epochs=50)  # ours, but for what it shares
DIGITS = Setting(0.1, 1.0, "none", 1, "own", 30, 0.05, 64, 5e-4, 0, "idc:crop")  # ours


def setting(data: ImageData) -> Setting:
    """Under 16x16 pixels ours; from 128x128 on that of ImageNet, from 64x64 on of Tiny ImageNet; else of CIFAR-100 from
    100 classes on, and with fewer the same with a teacher that is the run's own network.

    >>> from bilp_core import load
    >>> from bilp_core.distillers.sre2l import setting
    >>> setting(load("digits").train).teacher
    'own'
    """
    side = min(data.shape[1:])
    if side < 16:
        return DIGITS
    if side >= 64:
        return IMAGENET if side >= 128 else TINY
    return CIFAR100 if data.num_classes >= 100 else CIFAR10


@contextmanager
def statistics(net: nn.Module) -> Iterator[list[tuple[nn.BatchNorm2d, Tensor]]]:
    """Lists each BatchNorm, in the order in which they run, with what comes into it, [N, C, H, W], while open."""
    seen: list[tuple[nn.BatchNorm2d, Tensor]] = []
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda norm, inputs, _: seen.append((norm, inputs[0]))) for norm in norms]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def recovery_loss(net: nn.Module, images: Tensor, labels: Tensor, bn_weight: float, first_bn: float) -> Tensor:
    """Cross-entropy, and how far means and variances of what comes into each BatchNorm are from its running ones.

    first_bn : by how much the first BatchNorm weighs more than others. Variances are biased ones.
    """
    with statistics(net) as seen:
        loss = F.cross_entropy(net(images), labels)
    for place, (norm, inputs) in enumerate(seen):
        assert norm.running_var is not None
        assert norm.running_mean is not None
        variance, mean = torch.var_mean(inputs, (0, 2, 3), correction=0)
        apart = (norm.running_var - variance).norm() + (norm.running_mean - mean).norm()
        loss = loss + bn_weight * (first_bn if place == 0 else 1.0) * apart
    return loss


@dataclass(frozen=True)
class SRe2L(Distiller):
    """Recover images from a network trained on real data: they should be classified rightly by it, and have the
    statistics that its BatchNorm layers remember. Then let it label many views of each image.

    image_lr, image_momentum : Adam on the images, the momentum its first beta, 0.9 the other; the rate falls to 0.
    batch    : images that are recovered together, the classes mixed; whole rows of one image a class where they fit.
    bn_weight, first_bn : of the statistics, and by how much the first layer weighs more.
    crop, roll : views in recovering (see `bilp_core.nets.views`, or 'none'), and pixels that they are shifted by at
               most, around the edges.
    teacher  : its network, 'own' for the run's with BatchNorm. epochs, teacher_*, warmup : its SGD, see `Squeezing`.
    views    : epochs of views that the teacher labels. augment : which views.
    The network of the run is that of the students. 0 and 'auto' stand for the authors' choice for the data, see
    `setting`, and for views and augment `sre2l_protocol`.
    Real data are seen by the teacher alone, so that pruning them preemptively prunes its training.
    Raises InputError for a value that is not allowed, for ZCA, for adaptive pruning, and for a teacher without
    BatchNorm.
    Source: Yin, Xing & Shen, Squeeze, Recover and Relabel, NeurIPS 2023, and their code.

    >>> from bilp_core import distill, load, make
    >>> train, _ = load("digits")
    >>> made = distill(make("sre2l", iterations=2, epochs=1, views=3), train, ipc=1, network="convnet:depth=1,width=4")
    >>> made.images.shape, made.relabelled.logits.shape, made.meta["label_bytes"]
    (torch.Size([10, 1, 8, 8]), torch.Size([3, 10, 10]), 1230)
    """

    name: ClassVar[str] = "sre2l"
    summary: ClassVar[str] = "images from the BatchNorm statistics of a trained network, which labels views of them"
    learns: ClassVar[str] = "images; labels of views by a teacher"
    inits: ClassVar[tuple[str, ...]] = ("noise", "real")
    staged: ClassVar[bool] = True
    judged_like: ClassVar[str] = "sre2l"
    inseparable: ClassVar[str] = (
        "its rounds see no real samples, only what a teacher that was trained on them remembers"
    )
    small: ClassVar[Mapping[str, Any]] = {"iterations": 500, "epochs": 30}

    iterations: int = 4000
    image_lr: float = 0.0
    batch: int = 100
    bn_weight: float = 0.0
    first_bn: float = 10.0
    crop: str = "auto"
    roll: int = 0
    teacher: str = "auto"
    epochs: int = 0
    teacher_lr: float = 0.0
    teacher_momentum: float = 0.9
    teacher_decay: float = 0.0
    teacher_batch: int = 0
    teacher_augment: str = "auto"
    warmup: int = 0
    views: int = 0
    augment: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zca != "none":
            raise InputError(f"sre2l: zca = {self.zca!r}: must be none, since its images are limited as pixels")
        if self.image_momentum >= 1:
            raise InputError(f"sre2l: image_momentum = {self.image_momentum}: must be below 1")
        for name, others in (("crop", ("auto", "none")), ("augment", ("auto",))):
            value = getattr(self, name)
            if value not in others and not views_of(value):
                raise InputError(f"sre2l: {name} = {value!r}: must be one of {', '.join(others)}, or views:...")
        if self.crop.endswith("cutmix"):
            raise InputError(f"sre2l: crop = {self.crop!r}: images cannot be mixed while they are recovered")
        if self.teacher not in ("auto", "own"):
            batch_normed(self.teacher)

    def resolved(self, data: ImageData, ipc: int) -> SRe2L:
        if data.frames > 1:
            raise InputError(f"sre2l: {data.name} has clips, of which no views are defined: take another method")
        own, judged = setting(data), sre2l_protocol(data, ipc)
        values = {f.name: getattr(self, f.name) for f in fields(own)}
        made = {name: getattr(own, name) if value in (0, "auto") else value for name, value in values.items()}
        if not data.flip:
            made["teacher_augment"] = made["teacher_augment"].replace("flip_", "")
        augment = judged.augment if self.augment == "auto" else self.augment
        return replace(self, **made, views=self.views or judged.epochs, augment=augment)

    def squeezing(self) -> Squeezing:
        return Squeezing(
            self.epochs, self.teacher_lr, self.teacher_momentum, self.teacher_decay, self.teacher_batch,
            self.teacher_augment, warmup=self.warmup,
        )  # fmt: skip

    def first_stage(self, data: ImageData, spec: str) -> Stage:
        own = self.resolved(data, 1)
        teacher, training = batch_normed(spec if own.teacher == "own" else own.teacher), own.squeezing()

        def make(home: Path, progress: Report | None) -> Any:
            return build(data, teacher, training, home, progress)

        return Stage(key(data, teacher, training), 1, make, lambda: disk_bytes(1, 0, network_size(teacher, data)))

    def kept_bytes(self, data: ImageData, ipc: int) -> int:
        own = self.resolved(data, ipc)
        return label_bytes(own.views, ipc * data.num_classes, data.num_classes)

    def prepare(self, run: Run) -> Rounds:
        run.optimizer = torch.optim.Adam([run.images], self.image_lr, (self.image_momentum, 0.9))
        return Rounds()

    def together(self, run: Run) -> list[Tensor]:
        """Which images are recovered together: as many rows of one image a class as fit, else parts of a row."""
        rows = torch.arange(len(run.images), device=run.images.device).view(run.data.num_classes, run.ipc).T
        fit = self.batch // run.data.num_classes
        if fit:
            return [part.flatten() for part in rows.split(fit)]
        return [part for row in rows for part in row.split(self.batch)]

    def step(self, run: Run) -> Tensor:
        state: Rounds = run.state
        for group in run.optimizer.param_groups:
            group["lr"] = self.image_lr * cosine(state.done / self.iterations, 0.0)
        state.done += 1
        batches, seen = self.together(run), torch.zeros((), device=run.images.device)
        for picks in batches:
            view = self.view(run)
            loss = recovery_loss(
                run.stage.net, view(run.images[picks]), run.labels[picks], self.bn_weight, self.first_bn
            )
            loss.backward(inputs=[run.images])
            seen += loss.detach()
        run.descend()
        low, high = limits(run.data)
        with torch.no_grad():
            run.images.clamp_(low, high)
        return seen / len(batches)

    def view(self, run: Run) -> Callable[[Tensor], Tensor]:
        """One draw for a batch: a crop, perhaps mirrored, and a shift around the edges."""
        chosen, size = views_of(self.crop), run.data.shape[1:]
        views = Views.draw(1, size, run.host, least=chosen[0] if chosen else 1.0, flip=run.data.flip, mix=False)
        down, right = torch.randint(-self.roll, self.roll + 1, (2,), generator=run.host).tolist()

        def seen(images: Tensor) -> Tensor:
            if chosen:
                images = views.to(images.device).expand(len(images)).crops(images)
            return images.roll((down, right), (2, 3))

        return seen

    def learned(self, run: Run) -> dict[str, Any]:
        stage = run.stage
        about = {"accuracy": round(stage.accuracy, 4), "network": stage.network, "folder": stage.folder.name}
        return {"teacher": about, "stage_seconds": stage.seconds, "label_bytes": self.kept_bytes(run.data, run.ipc)}

    def result(self, run: Run, meta: dict[str, Any]) -> SyntheticSet:
        made = super().result(run, meta)
        chosen = views_of(self.augment)
        assert chosen is not None
        count, size = len(made.images), run.data.shape[1:]
        views = Views.stack(
            [
                Views.draw(count, size, run.host, least=chosen[0], flip=run.data.flip, mix=chosen[1])
                for _ in range(self.views)
            ]
        )
        return replace(made, relabelled=Relabelled.by(run.stage.net, made.images, views.to(made.images.device)))


@dataclass
class Rounds(Kept):
    """Rounds that are done: the step on the images shrinks with them."""

    done: int = 0
