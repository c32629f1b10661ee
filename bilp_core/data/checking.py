"""What a user should know of a data set before using it."""

import hashlib
from typing import Any

from .images import ImageData, Splits


def check(splits: Splits) -> dict[str, Any]:
    """What a user should know of a data set before using it; JSON values only.

    Counts per class, shape, mean and std, images without contrast, exact duplicates inside the training split
    and between the splits (a leak).

    >>> from bilp_core import load
    >>> from bilp_core.data import check
    >>> report = check(load("digits"))
    >>> report["shape"], report["classes"]["3"]
    ([1, 8, 8], {'train': 138, 'test': 45})
    >>> report["duplicates_in_train"], report["test_images_also_in_train"]
    (0, 0)
    """

    def prints(data: ImageData) -> list[bytes]:
        return [hashlib.sha256(image.numpy().tobytes()).digest() for image in data.images.cpu()]

    train, test = splits
    seen = set(own := prints(train))
    report: dict[str, Any] = {
        "name": train.name,
        "shape": list(train.shape),
        "mean": [round(v, 4) for v in train.mean],
        "std": [round(v, 4) for v in train.std],
        "classes": {
            name: {"train": a, "test": b}
            for name, a, b in zip(train.classes, train.counts().tolist(), test.counts().tolist(), strict=True)
        },
        "duplicates_in_train": len(own) - len(seen),
        "test_images_also_in_train": sum(p in seen for p in prints(test)),
    }
    flat = train.images.flatten(2)
    report["constant_images_in_train"] = int((flat.amax(2) == flat.amin(2)).all(1).sum())
    return report
