"""DATM: as MTT, with logits as labels, and the learned rate in `lr_best.pt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ....data.images import ImageData
from ..layout import Raw, Told, Written
from ..writing import normalised, shares
from . import mtt


def read(paths: list[Path], data: ImageData, told: Told) -> Raw:
    found = mtt.read(paths, data, told)
    return replace(found, says={**found.says, "method": "datm"})


def write(written: Written, folder: Path) -> list[Path]:
    logits = shares(written).clamp_min(1e-30).log()
    return mtt.save(folder, images=normalised(written, LAYOUT), labels=logits, lr=mtt.rate(written))


LAYOUT = replace(
    mtt.LAYOUT,
    files="images_best.pt, labels_best.pt and lr_best.pt, or their folder",
    source="NUS-HPC-AI-Lab/DATM",
    read=read,
    write=write,
    labels="logits",
)
