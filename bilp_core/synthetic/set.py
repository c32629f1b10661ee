"""The synthetic set: what it is and how it is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image
from torch import Tensor

from ..data.images import Map, strips
from ..data.whitening import Whitening
from ..errors import InputError
from ..utils.files import atomic
from .decoders import DECODERS, Decoder, budget
from .formation import Formation
from .relabelled import Relabelled

FORMAT = "bilp-synthetic-1"
FAR = 100  # standard deviations of the real pixels, from which a value is worth a warning
ROW = 200  # images of a class that a picture shows
VIEWS = "views."  # before the names of what a teacher says of views, in a file
FLAT = 1e-4  # a deviation, of pixels in [0, 1], that is none: a fortieth of a grey level


def middle_grey(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """[C]: a pixel of 0.5 in normalised space, with which decoding pads. mean, std : per channel, of pixels in [0, 1].

    >>> from bilp_core.synthetic import middle_grey
    >>> middle_grey(mean=(0.5, 0.25), std=(0.25, 0.25)).tolist()
    [0.0, 1.0]
    """
    return (0.5 - torch.tensor(mean)) / torch.tensor(std)


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """images : float32 [M, C, H, W], normalised or whitened (not clamped). labels : int64 [M], or soft float32
    [M, classes]. Clips are images as in `ImageData`.

    mean, std : per channel, of pixels in [0, 1]. meta : how it was made, JSON values only.
    formation : how many training images each stored one stands for.
    whitening : that of the data it was made of, if any; test data then is whitened by it, too.
    relabelled : what a teacher says of views of the images, for protocols that want it.
    frames : of clips; of images 1.
    decoder : where images are made from fewer numbers, these; `images` is what it gives, and a file keeps it instead.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    >>> made = SyntheticSet(images, labels, ("cat", "dog"), mean=(0.5,), std=(0.25,), meta={"method": "none"})
    >>> made.pixels().unique().tolist(), made.grid(least=16).size
    ([128], (20, 38))
    >>> made.save("set.safetensors")
    >>> again = SyntheticSet.load("set.safetensors")
    >>> torch.equal(again.images, images), again.classes, again.meta
    (True, ('cat', 'dog'), {'method': 'none'})
    """

    images: Annotated[Tensor, "float32 [M, C, H, W]"]
    labels: Annotated[Tensor, "int64 [M] or float32 [M, classes]"]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    formation: Formation = field(default_factory=Formation)
    whitening: Map | None = None
    decoder: Decoder | None = None
    relabelled: Relabelled | None = None
    frames: int = 1

    @property
    def numbers(self) -> int:
        """How many numbers a file keeps of the images."""
        return self.decoder.numbers if self.decoder else self.images.numel()

    @property
    def budget(self) -> float:
        """Those numbers, in images a class."""
        return budget(self.numbers, len(self.classes), tuple(self.images.shape[1:]))

    @property
    def hard_labels(self) -> Annotated[Tensor, "int64 [M]"]:
        """int64 [M]: the class of each image; of soft labels the likeliest."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def materialise(
        self,
    ) -> tuple[Annotated[Tensor, "float32 [m, C, H, W]"], Annotated[Tensor, "int64 [m] or float32 [m, classes]"]]:
        """Images and labels to train on: decoded class by class where one stored image stands for several."""
        if self.formation.factor == 1:
            return self.images, self.labels
        hard = self.hard_labels
        fill = middle_grey(self.mean, self.std)
        images, labels = [], []
        for c in range(len(self.classes)):
            decoded, origin = self.formation.decoded(self.images[hard == c], fill)
            images.append(decoded)
            labels.append(self.labels[hard == c][origin])
        return torch.cat(images), torch.cat(labels)

    def check(self, what: str = "the synthetic set") -> None:
        """Raise InputError, by name and number, unless every class has images, and every image a label.

        what : what messages call it.

        >>> from dataclasses import replace
        >>> import torch
        >>> from bilp_core import SyntheticSet
        >>> made = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,))
        >>> made.check()
        >>> replace(made, labels=torch.tensor([0, 37])).check()
        Traceback (most recent call last):
        bilp_core.errors.InputError: label 37 of the synthetic set is not in 0..1, its 2 classes
        """
        images, labels, count = self.images, self.labels, len(self.classes)
        if not len(images):
            raise InputError(f"{what} holds no images")
        if tuple(labels.shape) not in ((len(images),), (len(images), count)):
            raise InputError(
                f"labels {list(labels.shape)} of {len(images)} images: must be [M], or [M, classes] if soft"
            )
        _check_type(labels, what)
        if labels.ndim == 2:
            if not torch.isfinite(labels).all():
                raise InputError(f"some soft labels of {what} are not finite")
            counts = (labels > 0).sum(0)
        else:
            wrong = labels[(labels < 0) | (labels >= count)]
            if len(wrong):
                raise InputError(f"label {int(wrong[0])} of {what} is not in 0..{count - 1}, its {count} classes")
            counts = torch.bincount(labels, minlength=count)
        if absent := [name for name, there in zip(self.classes, counts.tolist(), strict=True) if not there]:
            more = f" and {len(absent) - 1} more of {count}" if len(absent) > 1 else f", one of {count},"
            raise InputError(f"class {absent[0]!r}{more} has no image in {what}")
        if not torch.isfinite(images).all():
            raise InputError(f"some images of {what} are not finite")
        if self.frames < 1 or images.shape[1] % self.frames:
            raise InputError(f"frames = {self.frames} of {what}: must divide its {images.shape[1]} channels")
        if not self.whitening and any(not deviation > 0 for deviation in self.std):
            raise InputError(f"std = {list(self.std)} of {what}: deviations must be above 0")

    def doubts(self) -> list[str]:
        """What is likely wrong with the values, a sentence each; empty where nothing is.

        >>> import torch
        >>> from bilp_core import SyntheticSet
        >>> images = torch.tensor([0.0, 640.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
        >>> SyntheticSet(images, torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,)).doubts()
        ['values of the synthetic images reach 640 standard deviations of the real pixels: lower image_lr']
        """
        found = []
        largest = float(self.images.detach().abs().max()) if self.images.numel() else 0.0
        if largest > FAR:
            found.append(
                f"values of the synthetic images reach {largest:.3g} standard deviations of the real pixels: "
                "lower image_lr"
            )
        if not self.whitening and min(self.std) < FLAT:
            found.append(
                f"std = {min(self.std):.3g} of the real pixels: they are all but constant in a channel, and dividing "
                "by so little makes noise of it"
            )
        return found

    def natural(self) -> Annotated[Tensor, "float32 [M, C, H, W]"]:
        """The stored images as pixels, [0, 1] where they are natural; not clipped, so they may go beyond."""
        if self.whitening:
            return self.whitening.invert(self.images.detach())
        mean, std = (torch.tensor(v, device=self.images.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return self.images.detach() * std + mean

    def pixels(self) -> Annotated[Tensor, "uint8 [M, C, H, W]"]:
        """uint8 [M, C, H, W], clipped: natural images for showing, not for training."""
        return (self.natural().clamp(0, 1) * 255).round().to(torch.uint8)

    def pictures(self) -> Annotated[Tensor, "uint8 [M, c, H, w]"]:
        """`pixels`; of clips some frames side by side, see `strips`."""
        return strips(self.pixels(), self.frames)

    def grid(self, least: int = 48) -> Image.Image:
        """All images, one row a class, magnified (nearest pixel) until each is at least `least` pixels wide; of a class
        with more than `ROW` images the first of them."""
        pixels = self.pictures().cpu()
        hard = self.hard_labels.cpu()
        rows = [pixels[hard == c][:ROW] for c in range(len(self.classes))]
        side, gap = max(len(row) for row in rows), 1
        _, c, h, w = pixels.shape
        sheet = torch.full((c, len(rows) * (h + gap) + gap, side * (w + gap) + gap), 255, dtype=torch.uint8)
        for i, row in enumerate(rows):
            for j, image in enumerate(row):
                top, left = gap + i * (h + gap), gap + j * (w + gap)
                sheet[:, top : top + h, left : left + w] = image
        array = sheet.permute(1, 2, 0).squeeze(-1).numpy()
        picture = Image.fromarray(array)
        scale = max(1, -(-least // w))
        return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all; everything but the tensors goes in its metadata."""
        from safetensors.torch import save_file

        about = {
            "format": FORMAT,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "formation": asdict(self.formation),
            "meta": dict(self.meta),
            **({"frames": self.frames} if self.frames > 1 else {}),
        }
        stored = {"images": self.images}
        if self.decoder:
            about["decoder"] = self.decoder.about()
            stored = {f"decoder.{name}": tensor for name, tensor in self.decoder.tensors().items()}
        tensors = {n: t.detach().cpu().contiguous() for n, t in {**stored, "labels": self.labels}.items()}
        if self.whitening:
            tensors |= {"zca_mean": self.whitening.mean.cpu(), "zca_matrix": self.whitening.matrix.cpu().contiguous()}
        if self.relabelled:
            tensors |= {VIEWS + n: t.detach().cpu().contiguous() for n, t in self.relabelled.tensors().items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"bilp": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticSet":
        """Read what `save` wrote. Raises InputError naming the file if it is missing, corrupt or something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["bilp"])
                decoder, labels = _decoder(about, file), file.get_tensor("labels")
                images = decoder.decoded() if decoder else file.get_tensor("images")
                views = {n.removeprefix(VIEWS): file.get_tensor(n) for n in file.keys() if n.startswith(VIEWS)}  # noqa: SIM118
                relabelled = Relabelled.made(views, images, len(about["classes"])) if views else None
                whitening = None
                if "zca_mean" in file.keys():  # noqa: SIM118 (the file is no mapping)
                    whitening = Whitening(file.get_tensor("zca_mean"), file.get_tensor("zca_matrix"))
            if about["format"] != FORMAT:
                raise InputError(f"{path}: format {about['format']!r}, this version reads {FORMAT!r}")
            _check_type(labels, str(path))
            loaded = cls(
                images,
                labels,
                tuple(about["classes"]),
                tuple(about["mean"]),
                tuple(about["std"]),
                about["meta"],
                Formation(**about.get("formation", {})),  # files of before it had any have none
                whitening,
                decoder,
                relabelled,
                int(about.get("frames", 1)),
            )
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (SafetensorError, OSError, RuntimeError) as error:
            raise InputError(f"{path} cannot be read as a synthetic set: {error}") from None
        except (KeyError, TypeError, json.JSONDecodeError):
            raise InputError(f"{path} is a safetensors file, but not a synthetic set of this library") from None
        fits = images.ndim == 4 and tuple(labels.shape) in ((len(images),), (len(images), len(loaded.classes)))
        if not fits or not torch.isfinite(images).all() or not torch.isfinite(labels).all():
            raise InputError(
                f"{path}: images {list(images.shape)} and labels {list(labels.shape)} must be finite [M, C, H, W] "
                "and [M] or [M, classes]"
            )
        loaded.check(str(path))
        if whitening:
            size = images[0].numel() if len(images) else 0
            if whitening.mean.shape != (size,) or whitening.matrix.shape != (size, size):
                raise InputError(f"{path}: its whitening does not fit images of {list(images.shape[1:])}")
        return loaded


def _decoder(about: Mapping[str, Any], file: Any) -> Decoder | None:
    """That of an opened file, None where it keeps images. Raises KeyError, TypeError or RuntimeError for damage."""
    if "decoder" not in about:
        return None
    prefix = "decoder."
    names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (the file is no mapping)
    tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    return DECODERS[about["decoder"]["kind"]].made(about["decoder"], tensors)


def _check_type(labels: Tensor, what: str) -> None:
    soft = labels.ndim == 2
    if labels.dtype != (torch.float32 if soft else torch.int64):
        wanted = "float32" if soft else "int64, or soft [M, classes]"
        raise InputError(f"{'soft ' * soft}labels of {what} are {labels.dtype}: must be {wanted}")
