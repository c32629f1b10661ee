"""How the papers of the methods train the networks that judge a synthetic set."""

import difflib
from dataclasses import asdict, dataclass, replace
from math import ceil

from ..data.images import ImageData
from ..errors import InputError
from ..nets import augment
from ..nets.networks import parse
from ..nets.recipe import Recipe
from ..nets.views import views_of
from ..utils.options import merged

# method -> the protocol that it was published with; methods enter themselves, see `Distiller.judged_like`
METHODS = {
    "dc": "dc",
    "dsa": "dsa",
    "dm": "dsa",
    "mtt": "dsa",
    "datm": "datm",
    "haba": "haba",
    "linba": "linba",
    "idc": "idc",
    "frepo": "frepo",
    "rfad": "rfad",
    "kip": "kip",
    "sre2l": "sre2l",
}
SCHEDULES = ("half", "thirds", "cosine", "falling", "constant")
CLIP_EPOCHS = 500
# data -> images a class -> RFAD's learning rate, label scale, weight decay
RFAD_SETTINGS: dict[str, dict[int, tuple[float, float, float]]] = {
    "mnist": {1: (1e-3, 8, 1e-3), 10: (1e-2, 8, 1e-3), 50: (1e-2, 8, 0)},
    "fashion_mnist": {1: (1e-3, 8, 0), 10: (1e-2, 8, 1e-3), 50: (1e-3, 2, 0)},
    "svhn": {1: (1e-3, 16, 0), 10: (1e-2, 8, 0), 50: (1e-2, 2, 0)},
    "cifar10": {1: (1e-3, 8, 0), 10: (1e-3, 2, 0), 50: (1e-2, 2, 0)},
    "cifar100": {1: (1e-1, 8, 0), 10: (1e-1, 2, 0)},
}
# synthetic images, and the steps with which FRePo evaluates that many
FREPO_STEPS = (
    *((10, 1000), (100, 2000), (200, 20_000), (400, 5000), (500, 5000), (1000, 10_000)),
    *((2000, 40_000), (5000, 40_000)),
)


@dataclass(frozen=True)
class Protocol:
    """An evaluation's settings.

    schedule : 'half', as DC, DSA and DM: epochs + 1 are trained, and after epoch epochs // 2 + 1 the learning rate
               falls to a tenth with a fresh optimiser. 'thirds', as IDC: it falls to a fifth after two thirds and
               after five sixths of the epochs. 'cosine', as FRePo: it rises for 500 steps and falls to a hundredth.
               'falling', as KIP and SRe2L: it falls to 0 along a cosine, after `warmup` steps in which it rises.
               'constant', as LinBa: it stays.
    optimizer : 'sgd', or 'adam' and 'adamw' (without momentum).
    augment  : a strategy (`bilp_core.nets.augment`), or one of views (`bilp_core.nets.views`): then a set that keeps
               what a teacher said of its views is seen in those, with their labels.
    cutmix   : probability that a batch is mixed.
    loss     : one of `training.LOSSES`, of hard or soft labels. temperature : see `Recipe`; of hard labels 1.
    relative, label_scale, lr_share, parameterisation : see `Recipe`.
    test_every : epochs between two points of the test curves; 0 tests only at the end.
    Raises InputError, from `recipe`, for a value out of range.

    >>> from bilp_core.evaluation import Protocol
    >>> recipe = Protocol(epochs=300).recipe()
    >>> recipe.epochs, recipe.drop_after
    (301, 151)
    >>> Protocol(epochs=1000, schedule="thirds").recipe().milestones
    (666, 833)
    """

    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augment: str = "none"
    schedule: str = "half"
    cutmix: float = 0.0
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    relative: bool = False
    label_scale: float = 1.0
    lr_share: float = 0.0
    parameterisation: str = "standard"
    test_every: int = 0
    temperature: float = 1.0
    warmup: int = 0

    def recipe(self) -> Recipe:
        if self.epochs < 1:
            raise InputError(f"epochs = {self.epochs} of the evaluation: must be at least 1")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule = {self.schedule!r}: must be one of {', '.join(SCHEDULES)}")
        views_of(self.augment)
        half = self.schedule == "half"
        return Recipe(
            epochs=self.epochs + half,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch=self.batch,
            drop_after=self.epochs // 2 + 1 if half else None,
            milestones=(2 * self.epochs // 3, 5 * self.epochs // 6) if self.schedule == "thirds" else (),
            cosine_to={"cosine": 0.01, "falling": 0.0}.get(self.schedule),
            warmup=500 if self.schedule == "cosine" else self.warmup,
            optimizer=self.optimizer,
            augment=self.augment,
            cutmix=self.cutmix,
            loss=self.loss,
            relative=self.relative,
            label_scale=self.label_scale,
            lr_share=self.lr_share,
            parameterisation=self.parameterisation,
            temperature=self.temperature,
        )


def protocol(
    method: str,
    data: ImageData,
    network: str = "convnet",
    *,
    ipc: int = 1,
    factor: int = 1,
    learned_lr: float | None = None,
    **overrides: object,
) -> Protocol:
    """The protocol that `method` was published with.

    dc       : 300 epochs without augmentation; but 1000 with one random crop, scaling or rotation an image on
               MNIST and on our small digits, with crop or noise for a ConvNet with BatchNorm.
    dsa, dm, mtt, tesla : 1000 epochs with DSA augmentation, without flip on digit data.
    datm     : the same at batch 128. haba : at batch 256, as many steps as 1000 epochs of one image a base
               take, in epochs of the five images that there are of each.
    linba    : 300 epochs at a constant learning rate without weight decay, batch 640, no augmentation.
    idc      : see `idc_protocol`. frepo : see `frepo_protocol`. kip, rfad : see `kip_protocol`,
               `rfad_protocol`. sre2l : see `sre2l_protocol`.
    Clips are seen without augmentation, and in the protocols of dc, dsa and what follows it for 500 epochs, as in the
    code of Wang et al., Dancing with Still Images, CVPR 2024.
    ipc, factor : of the synthetic set; idc, frepo and haba depend on them.
    learned_lr : the step size that was distilled with the set (`meta["lr"]`), which then is the learning rate.
    Raises InputError for a method without a protocol and an unknown override, naming those there are.
    Source: the methods' papers and code; supplement Sec. 6.3.

    >>> import bilp_core
    >>> train, _ = bilp_core.load("digits")
    >>> judged = bilp_core.protocol("dm", train)
    >>> judged.epochs, judged.augment, judged.schedule
    (1000, 'color_crop_cutout_scale_rotate', 'half')
    >>> bilp_core.protocol("dm", train, epochs=50).epochs
    50
    """
    kind = METHODS[known(method)]
    if kind == "idc":
        base = idc_protocol(data, network, ipc, factor)
    elif kind == "frepo":
        base = frepo_protocol(data, ipc)
    elif kind == "kip":
        base = kip_protocol(data, ipc)
    elif kind == "rfad":
        base = rfad_protocol(data, ipc)
    elif kind == "sre2l":
        base = sre2l_protocol(data, ipc)
    elif kind == "linba":
        base = Protocol(epochs=300, lr=0.01, momentum=0.9, weight_decay=0.0, batch=640, schedule="constant")
    else:
        strategy = dc_strategy(data, network) if kind == "dc" else augment.dsa_strategy(data.flip)
        batch = 128 if kind == "datm" else 256
        epochs = CLIP_EPOCHS if data.frames > 1 else 300 if strategy == "none" else 1000
        if kind == "haba":
            one, five = (ceil(ipc * data.num_classes * images / batch) for images in (1, 5))
            epochs = 1000 * one // five
        base = Protocol(epochs=epochs, augment=strategy, batch=batch)
    if data.frames > 1:
        base = replace(base, augment="none", cutmix=0.0)
    if learned_lr is not None:
        base = replace(base, lr=learned_lr)
    return Protocol(**merged(f"the evaluation of {method!r}", asdict(base), overrides))


def known(method: str) -> str:
    """`method`, if its protocol is known; else InputError naming those that are.

    >>> from bilp_core.evaluation import known
    >>> known("dcc")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: method 'dcc' has no evaluation protocol. Did you mean 'dc'? There are: dc, ...
    """
    if method not in METHODS:
        close = difflib.get_close_matches(method, METHODS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"method {method!r} has no evaluation protocol.{hint} There are: {', '.join(METHODS)}")
    return method


def dc_strategy(data: ImageData, network: str) -> str:
    """The augmentation that DC evaluates with. Source: its reference; on our digits, ours: as on MNIST.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import dc_strategy
    >>> train, _ = load("digits")
    >>> dc_strategy(train, "convnet"), dc_strategy(train, "convnet:norm=batch")
    ('dc:crop_scale_rotate', 'dc:crop_noise')
    """
    name, options = parse(network)
    if name == "convnet" and options.get("norm") == "batch":
        return "dc:crop_noise"
    return "dc:crop_scale_rotate" if data.named in ("mnist", "digits") else "none"


def idc_protocol(data: ImageData, network: str, ipc: int, factor: int) -> Protocol:
    """1000 epochs at batch 64, augmentation of each image and CutMix with probability 0.5.

    Without CutMix on SVHN at IPC 1 and factor 1 (with cutout then), and on MNIST and our digits at factors above 1.
    DenseNet trains 400 epochs from IPC 50 on. From 128x128 pixels on CutMix is certain and the epochs fall with the
    number of decoded images a class; the reference's photographic transforms there are not ours.
    factor : of the formation.
    Source: Kim et al., ICML 2022, and their code.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import idc_protocol
    >>> train, _ = load("digits")
    >>> found = idc_protocol(train, "convnet", ipc=1, factor=1)
    >>> found.epochs, found.batch, found.cutmix, found.augment
    (1000, 64, 0.5, 'idc:color_crop_scale_rotate')
    >>> idc_protocol(train, "convnet", ipc=1, factor=2).cutmix
    0.0
    """
    words = ["color", "crop", "cutout", "flip", "scale", "rotate"]
    epochs, probability = 1000, 0.5
    if min(data.shape[1:]) >= 128:
        decoded = ipc * factor**2
        steps = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
        epochs = next((epochs for most, epochs in steps if decoded <= most), 300)
        probability = 1.0
    elif data.named == "svhn" and ipc == factor == 1:
        probability = 0.0
    elif data.named in ("mnist", "digits") and factor > 1:
        probability = 0.0
        words.remove("cutout")
    elif network.startswith("densenet") and ipc >= 50 and factor > 1:
        epochs = 400
    if probability:
        words.remove("cutout")
    if not data.flip:
        words.remove("flip")
    return Protocol(epochs=epochs, batch=64, augment="idc:" + "_".join(words), schedule="thirds", cutmix=probability)


def frepo_protocol(data: ImageData, ipc: int) -> Protocol:
    """Regression of the labels by Adam, with one operation of FRePo's augmentation a step, at batch 500.

    The steps depend on the number of synthetic images; between the reference's numbers, the next one's are taken. Its
    batches are in the order of the classes, ours are shuffled.
    Source: Zhou et al., NeurIPS 2022, and their code.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import frepo_protocol
    >>> train, _ = load("digits")
    >>> found = frepo_protocol(train, ipc=10)  # 100 images, one batch: 2000 steps
    >>> found.epochs, found.loss, found.optimizer
    (2000, 'mse', 'adam')
    """
    images, batch = ipc * data.num_classes, 500
    steps = next((steps for most, steps in FREPO_STEPS if images <= most), FREPO_STEPS[-1][1])
    return Protocol(
        epochs=steps // -(-images // batch),
        lr=3e-4,
        weight_decay=0.0,
        batch=batch,
        augment=augment.frepo_strategy(data.flip and data.shape[0] > 1),
        schedule="cosine",
        loss="mse",
        optimizer="adam",
    )


def rfad_protocol(data: ImageData, ipc: int) -> Protocol:
    """Regression of the labels from the fresh network's outputs by SGD, at a constant rate, the labels scaled up.

    Rate, scale and decay are the published ones of a data set, for the next number of images a class that there is;
    they are for kernel-convnet:width=1024. For other data the rate is a tenth of the largest stable one, the scale 8.
    Batches of 513, so up to that many images are seen at once; 5000 steps, on other data 1000.
    The reference stops once the accuracy on images of the training data has not risen for 500 steps, at most after
    20,000; the evaluation here sees no training data. Its weight decay, of the squared distance and not half of it, is
    doubled here. In larger sets it divides by the scale, but does not multiply labels by it.
    Source: Loo et al., NeurIPS 2022, and their code.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import rfad_protocol
    >>> train, _ = load("digits")
    >>> found = rfad_protocol(train, ipc=1)
    >>> found.epochs, found.loss, found.relative, found.label_scale
    (1000, 'mean_mse', True, 8.0)
    """
    table = RFAD_SETTINGS.get(data.named, {})
    lr, scale, decay = table[min((n for n in table if ipc <= n), default=max(table))] if table else (0, 8, 0)
    batch = 513
    return Protocol(
        epochs=max(1, (5000 if table else 1000) // -(-ipc * data.num_classes // batch)),
        lr=lr or 1.0,
        lr_share=0.0 if lr else 0.1,
        weight_decay=2 * decay,
        batch=batch,
        schedule="constant",
        loss="mean_mse",
        relative=True,
        label_scale=float(scale),
    )


def kip_protocol(data: ImageData, ipc: int) -> Protocol:
    """Regression of the labels from the fresh network's outputs by SGD at batch 100, its rate the largest that is
    stable at the start and falling to 0.

    The reference counts outputs from 0, takes the same rate from 50 images of the validation data, and searches a grid
    of shares of it and of weight decays. For our digits and folders of images, 1000 steps at a tenth of that rate; at
    the whole of it narrow networks were not stable.
    Source: the notebook nn_training of Nguyen et al., 2021; outputs from the start as in the code of RFAD.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import kip_protocol
    >>> train, _ = load("digits")
    >>> found = kip_protocol(train, ipc=50)  # 500 images, five batches
    >>> found.epochs, found.loss, found.lr_share, found.schedule
    (200, 'mean_mse', 0.1, 'falling')
    """
    batch, unpublished = 100, data.named in ("", "digits")
    steps = 1000 if unpublished else 5000
    return Protocol(
        epochs=max(1, steps // -(-ipc * data.num_classes // batch)),
        lr=1.0,
        lr_share=0.1 if unpublished else 1.0,
        weight_decay=2e-3,
        batch=batch,
        schedule="falling",
        loss="mean_mse",
        relative=True,
    )


def sre2l_protocol(data: ImageData, ipc: int) -> Protocol:
    """What a teacher says of random resized crops, softened by a temperature, on a learning rate that falls to 0.

    From 128x128 pixels on as on ImageNet, from 64x64 on as on Tiny ImageNet, else as on CIFAR-100, but with CutMix in
    the place of MixUp, and crops of at least half of the area in that of shifts. Under 16x16 pixels ours.
    Source: Yin et al., NeurIPS 2023, and their code.

    >>> from bilp_core import load
    >>> from bilp_core.evaluation.protocols import sre2l_protocol
    >>> train, _ = load("digits")
    >>> found = sre2l_protocol(train, ipc=10)
    >>> found.optimizer, found.loss, found.augment
    ('adamw', 'divergence', 'views:0.5_cutmix')
    """
    side = min(data.shape[1:])
    base = Protocol(schedule="falling", loss="divergence", temperature=20.0)
    if 64 <= side < 128:
        rise = 5 * ceil(ipc * data.num_classes / 256)
        return replace(base, epochs=100, lr=0.2, weight_decay=1e-4, augment="views:0.08", warmup=rise)
    base = replace(base, optimizer="adamw", lr=1e-3, weight_decay=0.01, augment="views:0.5_cutmix")
    if side < 16:
        return replace(base, epochs=300, batch=32, lr=5e-3, temperature=4.0)
    if side < 64:
        return replace(base, epochs=400, batch=128, temperature=30.0)
    return replace(base, epochs=300, batch=1024, augment="views:0.08_cutmix")
