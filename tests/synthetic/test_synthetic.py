import sys

import pytest
import torch
from safetensors.torch import save_file

from bilp_core.coresets import herding
from bilp_core.data import ImageData
from bilp_core.errors import InputError
from bilp_core.synthetic import SyntheticSet, initial


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def data():
    images = torch.randint(0, 256, (30, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    return ImageData(images, torch.arange(30) % 3, ("a", "b", "c"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "tiny", True)


def test_noise(data):
    made = initial(data, 50, "noise", rng())
    assert made.images.shape == (150, 3, 8, 8)
    assert made.labels.tolist() == [0] * 50 + [1] * 50 + [2] * 50
    assert abs(made.images.mean()) < 0.02
    assert abs(made.images.std() - 1) < 0.02


def test_real_images_come_from_their_class_and_differ(data):
    made = initial(data, 4, "real", rng())
    for c in range(3):
        own = data.batch(data.of_class(c)).flatten(1)
        matches = [
            (own == image.flatten()).all(1).nonzero().flatten().tolist() for image in made.images[c * 4 : c * 4 + 4]
        ]
        assert all(len(m) == 1 for m in matches)
        assert len({m[0] for m in matches}) == 4


def test_herd_picks_real_images_near_the_class_mean(data):
    made = initial(data, 2, "herd", rng(), network="convnet:depth=2,width=4")
    for c in range(3):
        own = data.batch(data.of_class(c)).flatten(1)
        for image in made.images[c * 2 : c * 2 + 2]:
            assert (own == image.flatten()).all(1).any()


def test_herd_uses_the_given_features(data, monkeypatch):
    features = data.batch().flatten(1)
    module = sys.modules[initial.__module__]  # the room has a function of that name
    monkeypatch.setattr(module, "features_of_trained_network", lambda *_: features)
    made = initial(data, 3, "herd", rng())
    own = data.of_class(1)
    assert torch.equal(made.images[3:6], data.batch(own[herding(features[own], 3)]))


def test_bad_starts(data):
    with pytest.raises(InputError, match="init = 'zeros'"):
        initial(data, 1, "zeros", rng())
    with pytest.raises(InputError, match="ipc = 0"):
        initial(data, 0, "noise", rng())
    with pytest.raises(InputError, match="class 'a' has 10 samples: too few"):
        initial(data, 11, "real", rng())


def test_save_and_load(data, tmp_path):
    made = initial(data, 2, "noise", rng())
    made = SyntheticSet(made.images, made.labels, made.classes, made.mean, made.std, {"method": "dc", "x": [1, 2.5]})
    made.save(tmp_path / "s.safetensors")
    back = SyntheticSet.load(tmp_path / "s.safetensors")
    assert torch.equal(back.images, made.images)
    assert torch.equal(back.labels, made.labels)
    assert (back.classes, back.mean, back.std, back.meta) == (made.classes, made.mean, made.std, made.meta)
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_files_that_are_not_synthetic_sets(data, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        SyntheticSet.load(tmp_path / "absent.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"not a tensor file at all")
    with pytest.raises(InputError, match="junk.safetensors cannot be read"):
        SyntheticSet.load(tmp_path / "junk.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a synthetic set"):
        SyntheticSet.load(tmp_path / "other.safetensors")
    initial(data, 1, "noise", rng()).save(tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut.safetensors cannot be read"):
        SyntheticSet.load(tmp_path / "cut.safetensors")


def test_pixels_undo_the_normalisation(data):
    made = initial(data, 3, "real", rng())
    first = made.pixels()[0]
    originals = data.images[data.of_class(0)].flatten(1)
    assert (originals == first.flatten()).all(1).any()


def test_grid_has_a_row_a_class(data):
    picture = initial(data, 4, "real", rng()).grid(least=8)
    assert picture.size == (4 * 9 + 1, 3 * 9 + 1)
    assert initial(data, 4, "real", rng()).grid(least=48).size == (37 * 6, 28 * 6)
