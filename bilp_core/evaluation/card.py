"""The card of a synthetic set: what it is, how it is evaluated, which accuracies are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..synthetic.set import SyntheticSet
from ..utils.files import atomic
from .accuracies import judge_of


def set_print(synthetic: SyntheticSet) -> str:
    """Stands for images and labels, and how test images are seen: 16 hexadecimal digits.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.evaluation import set_print
    >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    >>> set_print(SyntheticSet(images, labels, ("cat", "dog"), mean=(0.5,), std=(0.25,)))
    'a5e069321b9fbcbc'
    """
    zca = synthetic.whitening.identity if synthetic.whitening else ""
    digest = hashlib.sha256(f"{synthetic.classes} {synthetic.mean} {synthetic.std} {zca}".encode())
    for tensor in (synthetic.images, synthetic.labels):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def accuracies_of(path: Path) -> Path:
    return path.with_suffix(".accuracies.json")


def remember(path: str | Path, synthetic: SyntheticSet, row: Mapping[str, Any]) -> bool:
    """Add what an evaluation found to the file beside a set: JSON values. Returns whether it could be written.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.evaluation import known_accuracies, remember
    >>> made = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,))
    >>> remember("s.safetensors", made, {"mean": 0.5})
    True
    >>> known_accuracies("s.safetensors", made)[0]["mean"]
    0.5
    """
    place, row = accuracies_of(Path(path)), {"set": set_print(synthetic), **row}
    rows = [old for old in _rows(place) if old != row]
    try:
        with atomic(place) as temporary:
            temporary.write_text(json.dumps([*rows, row], indent=1) + "\n", "utf-8")
    except OSError:
        return False
    return True


def known_accuracies(path: str | Path, synthetic: SyntheticSet) -> list[dict[str, Any]]:
    """What was found before of this very set; nothing of one that had its name.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.evaluation import known_accuracies, remember
    >>> made = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,))
    >>> other = SyntheticSet(torch.ones(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,))
    >>> remember("known.safetensors", made, {"mean": 0.5})
    True
    >>> len(known_accuracies("known.safetensors", made)), len(known_accuracies("known.safetensors", other))
    (1, 0)
    """
    print_ = set_print(synthetic)
    return [row for row in _rows(accuracies_of(Path(path))) if row.get("set") == print_]


def _rows(place: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def card(synthetic: SyntheticSet, name: str, known: Sequence[Mapping[str, Any]] = ()) -> str:
    """The card, Markdown.

    name : of the set's file. known : what evaluations found, see `known_accuracies`.

    >>> import torch
    >>> from bilp_core import SyntheticSet
    >>> from bilp_core.evaluation import card
    >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    >>> made = SyntheticSet(images, labels, ("cat", "dog"), (0.5,), (0.25,), {"method": "dm", "data": "pets"})
    >>> print(card(made, "s.safetensors", [{"mean": 0.9, "std": 0.01, "data": "pets", "repeats": 5}]))
    ... # doctest: +ELLIPSIS
    # s.safetensors
    <BLANKLINE>
    2 images of 1x8x8, 2 classes, 1 a class; made by dm of pets
    ...
    """
    meta, counts = synthetic.meta, torch.bincount(synthetic.hard_labels, minlength=len(synthetic.classes)).tolist()
    each = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    channels, *size = synthetic.images.shape[1:]
    shape = "x".join(map(str, (channels // synthetic.frames, *size)))
    kind = f"images of {shape}" if synthetic.frames == 1 else f"clips of {synthetic.frames} frames of {shape}"
    lines = [
        f"# {name}",
        "",
        f"{len(synthetic.images)} {kind}, {len(synthetic.classes)} classes, {each} a class; made by "
        f"{meta.get('method', 'a method that is not known')} of {meta.get('data') or 'data that are not known'}",
        "",
        f"- Print: {set_print(synthetic)}",
    ]
    if synthetic.decoder:
        lines.append(f"- Made from {synthetic.numbers} numbers, as many as {synthetic.budget:.2f} images a class have")
    if synthetic.formation.factor > 1:
        lines.append(f"- Each image stands for several: {_words(vars(synthetic.formation))}")
    lines += [f"- Seen: {_seen(synthetic)}", f"- Labels: {_labels(synthetic)}"]
    lines += [f"- {title}: {said}" for title, said in _made(meta).items() if said]
    shown = "all images" if synthetic.frames == 1 else "some frames of all clips"
    lines += ["", "## Evaluate", "", *_evaluation(synthetic, name)]
    lines += ["", "## Accuracies that are known", ""]
    lines += [_accuracy(row) for row in known] or ["None yet: evaluate it, and they stand here."]
    lines += [
        "",
        f"![{shown}, a row a class]({Path(name).with_suffix('.png').name})",
        "",
    ]
    return "\n".join(lines)


def _seen(synthetic: SyntheticSet) -> str:
    if synthetic.whitening:
        return "whitened (ZCA), by a map that the file holds"
    colours = len(synthetic.mean) // synthetic.frames
    mean, std = (", ".join(f"{v:.4g}" for v in values[:colours]) for values in (synthetic.mean, synthetic.std))
    every = " in every frame" * (synthetic.frames > 1)
    return f"normalised by mean {mean} and deviation {std} of pixels in [0, 1]{every}"


def _labels(synthetic: SyntheticSet) -> str:
    if synthetic.relabelled:
        return "what a teacher says of views of the images"
    if synthetic.labels.ndim == 1:
        return "one class each"
    return "numbers to regress on" if (synthetic.labels < 0).any() else "shares of the classes"


def _made(meta: Mapping[str, Any]) -> dict[str, str]:
    """What the set keeps of how it was made, in words."""
    of, origin, kept = meta.get("imported", {}), meta.get("provenance", {}), meta.get("kept", {})
    real = meta.get("real_samples")
    share = f", {real / kept['of']:.1%} of {kept['of']}" if real and kept.get("of") and not meta.get("part") else ""
    version = f"bilp {origin.get('versions', {}).get('bilp_core')} {origin.get('commit')}"
    return {
        "Real images": f"{real}{share}" if real else "",
        "Data": f"print {kept['data']} of all training images" if kept.get("data") else "",
        "Settings": _words(meta.get("options", {})),
        "Network": str(meta.get("network", "")),
        "Start": " ".join(f"{key}={meta[key]}" for key in ("init", "seed") if key in meta),
        "Goes on from": _words(meta.get("continues", {})),
        "Pruned in batches": _words(meta.get("adaptive", {})),
        "Learning rate, learned": f"{meta['lr']:.6g}" if "lr" in meta else "",
        "Imported": f"as {of['like']} saves it, from {', '.join(of['files'])}" if of else "",
        "Accuracy that its file tells": ", ".join(f"{net} {value:.2%}" for net, value in meta.get("told", {}).items()),
        "Merged of": ", ".join(meta.get("merged", ())),
        "Made": f"{origin.get('date')}, {origin.get('device')}, {version}" if origin else "",
    }


def _evaluation(synthetic: SyntheticSet, name: str) -> list[str]:
    meta = synthetic.meta
    judged = meta.get("evaluation", {})
    data = meta.get("named") or "FOLDER"
    words = ["bilp evaluate", name, data, *judged.get("reading", ())]
    words += [f"--method {meta.get('method', 'dm')}", f"--network {judged.get('network') or judge_of(synthetic)}"]
    lines = ["```bash", " ".join(words), "```"]
    if data == "FOLDER":
        lines += ["", f"FOLDER: the images of {meta.get('data') or 'its classes'}."]
    if judged.get("protocol"):
        lines += ["", f"Protocol: {_words(judged['protocol'])}"]
    return lines


def _accuracy(row: Mapping[str, Any]) -> str:
    spread = f" ± {100 * row['std']:.2f}" if row.get("repeats", 1) > 1 else ""
    said = f"- {100 * row['mean']:.2f}{spread} % on {row.get('data')}, {row.get('repeats')} networks"
    rest = {
        key: row[key] for key in ("network", "method", "seed", "options", "date") if row.get(key) not in (None, "", {})
    }
    return said + (f" ({_words(rest)})" if rest else "")


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
