"""The README beside an exported set: what the numbers are, and how to train on them."""

from __future__ import annotations

from pathlib import Path

from .layout import Layout, Written
from .writing import terms, whitened


def readme(written: Written, to: str, layout: Layout, files: list[Path]) -> str:
    about, meta = written.synthetic, written.synthetic.meta
    mean, std = (about.mean, about.std) if not layout.source else terms(written, layout)
    numbers = f"mean {', '.join(f'{v:g}' for v in mean)}; deviation {', '.join(f'{v:g}' for v in std)}"
    if to in ("folder", "idc"):
        values = f"pixels; networks were shown them normalised ({numbers}, of pixels in [0, 1])"
        if about.whitening:
            values = "pixels, turned back from whitened ones; networks were shown those"
    elif about.whitening and (whitened(written, layout) or not layout.source):
        values = "whitened by ZCA: test images have to be whitened by the same map"
        values += {"pt": " (zca.pt)", "npz": " (zca_mean, zca_matrix)"}.get(to, "")
    else:
        values = f"normalised, not clipped: (pixel - mean) / deviation, pixels in [0, 1]; {numbers}"
    labels = written.labels
    kind = "one class each, int64" if labels.ndim == 1 else "float32, a number a class"
    if labels.ndim == 2:
        kind += "; to regress on (mean squared error)" if labels.min() < 0 else "; shares, for soft cross-entropy"
        kind += "; written as logits" * (to == "datm")
    lr = f"- Learning rate that was learned with the images: {meta['lr']:.6g}\n" if "lr" in meta else ""
    classes = ", ".join(f"{i} {name}" for i, name in enumerate(about.classes[:20]))
    classes += ", ..." * (len(about.classes) > 20)
    where = "." if not layout.source else " ".join(path.name for path in files)
    method = meta.get("method", "?")
    clips = f" Each is a clip of {about.frames} frames, one after the other in the channels." * (about.frames > 1)
    judged = meta.get("evaluation", {})
    protocol = " ".join(f"{name}={value}" for name, value in judged.get("protocol", {}).items())
    return f"""# A synthetic set of {meta.get("data", "a data set")}

{len(written.images)} images of {"x".join(map(str, written.images.shape[1:]))}, made by {method}.{clips}

- Files: {", ".join(path.name for path in files)}
- Images: {values}
- Labels: {kind}
{lr}- Classes: {classes}

## Train on it

{_code(to)}
Give networks test images that are normalised as these are; with other numbers the same images score lower. The set was
made with {meta.get("network", "a network that is not known")}. Evaluation: {protocol or "as its method was published"}.

The same set in this library:

```bash
bilp import {where} --like {to} --data DATA {" ".join([*_told(written, to, layout), ""])}--out s.safetensors
bilp evaluate s.safetensors DATA
```
"""


def _told(written: Written, to: str, layout: Layout) -> list[str]:
    """What `bilp import` has to be told, since no file of the layout says it."""
    about, meta = written.synthetic, written.synthetic.meta
    if not layout.source:
        return []
    told = [f"--method {meta['method']}"] if meta.get("method", to) != to else []
    if "factor" in layout.asks:
        told.append(f"--factor {about.formation.factor if written.stored else 1}")
    if layout.zca is not Layout.zca:
        told.append("--zca KIND" if whitened(written, layout) else "--zca none")
    if "lr" in layout.asks and "lr" not in meta:
        told.append("--lr RATE")
    if not whitened(written, layout) and not layout.stats(str(meta.get("named", "")), None):
        mean, std = (" ".join(f"{v:.9g}" for v in values) for values in terms(written, layout))
        told.append(f"--mean {mean} --std {std}")
    return told


def _code(to: str) -> str:
    read = {
        "pt": 'images, labels = torch.load("images.pt"), torch.load("labels.pt")',
        "npz": 'found = numpy.load("set.npz")\nimages, labels = found["images"], found["labels"]',
        "dc": 'images, labels = torch.load("res_....pt")["data"][-1]',
        "idc": 'images, labels = torch.load("data.pt")',
        "folder": 'data = torchvision.datasets.ImageFolder("train")  # classes in text order of their names',
    }.get(to, 'images, labels = torch.load("images_best.pt"), torch.load("labels_best.pt")')
    return f"```python\n{read}\n```\n"
