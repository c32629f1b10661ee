"""Pictures of synthetic sets."""

import numpy as np
import torch
from PIL import Image

from bilp_core import SyntheticSet
from bilp_core.trials import Store, Trial, pictures


class OneSet(Store):
    """A store with one set for every trial."""

    def __init__(self, folder, made):
        super().__init__(folder)
        self.made = made

    def get(self, trial):
        return {}

    def synthetic(self, key):
        return self.made


def test_a_class_that_learned_labels_left_without_images_is_a_blank(tmp_path):
    """Soft labels move: the likeliest class of both images may become the same, as DATM's logits did on photographs."""
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    made = SyntheticSet(images, soft, ("a", "b", "c"), (0.5,), (0.25,))
    trial = Trial("digits")
    assert pictures([trial], tmp_path, OneSet(tmp_path, made)) == 1
    with Image.open(tmp_path / f"{trial.key}.png") as picture:
        grey = np.asarray(picture.convert("L"))
    assert grey.shape == (7, 10)  # two rows of three columns, a white pixel around each
    assert [[int(grey[y, x]) for x in (1, 4, 7)] for y in (1, 4)] == [[64, 255, 191], [128, 255, 255]]
