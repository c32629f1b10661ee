"""Small data on which anything runs in no time."""

import torch

from bilp_core.data import ImageData

PROBED = {"trials": 2, "epochs": 3, "batch": 8, "network": "mlp"}
TINY = {**PROBED, "runs": 2, "iterations": 2}


def awkward(seed: int = 0) -> ImageData:
    """41 images of 8x8 in four classes: a class of one sample, samples 0 and 1 alike, sample 2 of one grey."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0] * 14 + [1] * 13 + [2] * 13 + [3])
    images = (60 * labels.view(-1, 1, 1, 1) + torch.randint(0, 70, (41, 1, 8, 8), generator=rng)).to(torch.uint8)
    images[1], images[2] = images[0], 128
    return ImageData(images, labels, ("a", "b", "c", "d"), (0.5,), (0.3,), "awkward", False)
