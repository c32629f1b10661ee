"""Our own exports: about.json beside plain files says what they are, so that nothing has to be asked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ...data.whitening import Whitening
from ...errors import InputError
from .layout import Raw, Written

FORMAT = "bilp-exchange-1"
ABOUT = "about.json"


def write_about(written: Written, values: str, folder: Path) -> Path:
    """values : 'pixels', or 'normalised', which is whitened where the set has a whitening."""
    about, meta = written.synthetic, dict(written.synthetic.meta)
    if not written.stored:  # protocols go by what there was before
        factor, count = about.formation.factor, len(about.images) / len(about.classes)
        meta["decoded"] = {"factor": factor, "ipc": max(1, round(count))}
    soft = "hard" if written.labels.ndim == 1 else "targets" if written.labels.min() < 0 else "shares"
    told = {
        "format": FORMAT,
        "classes": list(about.classes),
        "values": values,
        "labels": soft,
        "mean": list(about.mean),
        "std": list(about.std),
        "zca": "own" if about.whitening else "none",
        "formation": asdict(about.formation) if written.stored else {"factor": 1, "decode": "single"},
        "meta": meta,
    }
    path = folder / ABOUT
    path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return path


def read_about(folder: Path) -> dict[str, Any]:
    """Raises InputError where the folder is no export of ours."""
    path = folder / ABOUT
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != FORMAT:
            raise InputError(f"{path}: format {found['format']!r}, this version reads {FORMAT!r}")
        return {**found, **found["formation"]}
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{folder} is no export of this library: {ABOUT} is absent or damaged") from None


def raw(about: dict[str, Any], images: Tensor, labels: Tensor, zca: tuple[Tensor, Tensor] | None) -> Raw:
    """zca : mean and matrix of the set's own whitening."""
    try:
        says = {name: about[name] for name in ("values", "labels", "zca", "factor", "decode")}
        says |= {name: about["meta"][name] for name in ("method", "network", "lr") if name in about["meta"]}
        says["classes"] = tuple(about["classes"])
        stats = (tuple(about["mean"]), tuple(about["std"]))
        whitening = Whitening(zca[0].float(), zca[1].float()) if zca else None
        if bool(whitening) != (says["zca"] == "own"):
            raise InputError(f"{ABOUT} says zca = {says['zca']!r}, and the whitening is {'there' if zca else 'absent'}")
        return Raw(images, labels, says, stats, whitening, about["meta"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{ABOUT} lacks {error}") from None
