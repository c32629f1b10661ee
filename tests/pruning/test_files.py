"""Files of scores and of kept indices: what they carry, and where they are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.errors import InputError
from bilp_core.indicators import load_scores, save_scores
from bilp_core.pruning import load_kept, save_kept

KEPT = torch.tensor([0, 2, 5])


def drawn(seed: int = 0, size: int = 4, classes: tuple[str, ...] = ("cat", "dog"), name: str = "pets") -> ImageData:
    pixels = torch.randint(0, 256, (6, 3, size, size), generator=torch.Generator().manual_seed(seed))
    files = np.array([f"train/{classes[i // 3]}/{i}.png" for i in range(6)], dtype=object)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    return ImageData(pixels.to(torch.uint8), labels, classes, (0.5,) * 3, (0.2,) * 3, name, files=files)


@pytest.fixture(params=["scores", "kept"])
def kind(request, tmp_path, monkeypatch):
    """(save(data), load(data, trust=False), words of the message) of each kind of file."""
    monkeypatch.chdir(tmp_path)
    scores = torch.arange(6.0)
    if request.param == "scores":
        return (
            lambda data: save_scores("f.npz", scores, data),
            lambda data, trust=False: load_scores("f.npz", data, trust)[0],
            "f.npz holds scores of other data",
        )
    return (
        lambda data: save_kept("f.npy", KEPT, data),
        lambda data, trust=False: load_kept("f.npy", data, trust),
        "f.npy holds indices of other data",
    )


def test_what_the_files_hold(tmp_path):
    data = drawn()
    save_scores(tmp_path / "s.npz", torch.arange(6.0), data, {"indicator": "loss", "options": {"lr": 0.1}, "seed": 3})
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert file["names"].tolist() == data.files.tolist()
        assert file["names"].dtype.kind == "U"
        assert file["labels"].tolist() == data.labels.tolist()
        about = json.loads(str(file["about"]))
    assert about["data"] == "pets"
    assert about["classes"] == ["cat", "dog"]
    assert (about["indicator"], about["options"], about["seed"], about["flip"]) == ("loss", {"lr": 0.1}, 3, True)
    save_kept(tmp_path / "k.npy", KEPT, data, {"ratio": 0.5, "drop": "largest"})
    with (tmp_path / "k.npy").open("rb") as file:
        kept, about, names = (np.load(file, allow_pickle=False) for _ in range(3))
    assert kept.dtype == np.int64
    assert kept.tolist() == np.load(tmp_path / "k.npy").tolist() == KEPT.tolist()
    assert json.loads(str(about))["ratio"] == 0.5
    assert names.tolist() == [data.files[i] for i in KEPT.tolist()]


def test_the_same_samples_are_taken(kind):
    save, load, _ = kind
    save(drawn())
    expected = load(drawn()).tolist()
    for data in (
        replace(drawn(), flip=False),
        replace(drawn(), mean=(0.4,) * 3, std=(0.3,) * 3),  # as another machine rounds them
        replace(drawn(), name="moved", files=np.array([f"x/{i}" for i in range(6)], dtype=object)),
    ):
        assert load(data).tolist() == expected


def other_labels(data: ImageData) -> ImageData:
    return replace(data, labels=torch.tensor([0, 0, 1, 1, 1, 1]))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (drawn(1), r"'pets' with 6 samples of 2 classes \(cat, dog\), .*first sample that differs is train/cat/0.png"),
        (drawn(0, name="copy", classes=("cat", "fox")), r"not 'copy' with 6 samples of 2 classes \(cat, fox\)"),
        (drawn(0, size=5), "its images are 3x4x4, these 3x5x5"),
        (
            drawn().subset(torch.tensor([0, 1, 3, 4, 5])),
            "6 samples .* not 'pets' with 5 .* differs is train/cat/2.png there",
        ),
        (other_labels(drawn()), "these are the same and others are not"),
    ],
    ids=["pixels", "classes", "size", "fewer", "labels"],
)
def test_other_samples_are_refused_by_name(kind, other, words):
    save, load, begin = kind
    save(drawn())
    with pytest.raises(InputError, match=f"{begin}: .*{words}"):
        load(other)
    if other.shape == drawn().shape:  # it is known whose they are: trust is for those that do not say it
        with pytest.raises(InputError, match=begin):
            load(other, trust=True)


def test_one_changed_file_is_named(kind):
    save, load, begin = kind
    save(drawn())
    images = drawn().images.clone()
    images[2, 0, 0, 0] ^= 1
    with pytest.raises(InputError, match=f"{begin}: .* is train/cat/2.png: it has the same name and other pixels"):
        load(replace(drawn(), images=images))


def test_the_same_files_at_another_size_need_trust(kind):
    save, load, begin = kind
    save(drawn())
    with pytest.raises(InputError, match="--trust-indices"):
        load(drawn(size=5))
    assert len(load(drawn(size=5), trust=True))


def test_names_that_are_no_utf8_come_back(kind):
    save, load, _ = kind
    odd = replace(drawn(), files=np.array([f"train/caf\udce9/{i}" for i in range(6)], dtype=object))
    save(odd)
    load(odd)
    with pytest.raises(InputError, match="first sample that differs is train/caf\udce9/0 there and train/cat/0.png"):
        load(drawn(1))


@pytest.mark.parametrize("array", [np.array([0, 2, 5]), np.array([True, False, True, False, False, True])])
def test_plain_indices_and_masks_need_trust(array, tmp_path):
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(InputError, match="does not say which images its indices are of: .*--trust-indices"):
        load_kept(tmp_path / "k.npy", drawn())
    assert load_kept(tmp_path / "k.npy", drawn(), trust=True).tolist() == KEPT.tolist()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([0, 6]), r"index 6 is not in 0\.\.5"),
        (np.array([-1, 2]), r"index -1 is not in 0\.\.5"),
        (np.array([1, 1]), "twice"),
        (np.array([0.5]), "whole numbers"),
        (np.array([True, False]), "true and false for each of 6"),
        (np.zeros(6, bool), "holds int64 .0."),
    ],
)
def test_trust_does_not_reach_beyond_the_data(array, words, tmp_path):
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(InputError, match=words):
        load_kept(tmp_path / "k.npy", drawn(), trust=True)


def test_plain_scores_need_trust(tmp_path):
    np.savez(tmp_path / "s.npz", scores=np.arange(6), labels=drawn().labels.numpy())
    np.save(tmp_path / "s.npy", np.arange(6.0))
    for name, words in (("s.npz", "does not say which images"), ("s.npy", "does not say what it is of")):
        with pytest.raises(InputError, match=words):
            load_scores(tmp_path / name, drawn())
        scores, about = load_scores(tmp_path / name, drawn(), trust=True)
        assert scores.tolist() == [0, 1, 2, 3, 4, 5]
        assert about == {}
        with pytest.raises(InputError, match="labels do not match"):
            load_scores(tmp_path / name, drawn().subset(torch.arange(5)), trust=True)
    np.savez(tmp_path / "s.npz", scores=np.arange(6), labels=np.array([0, 1, 0, 1, 0, 1]))
    with pytest.raises(InputError, match="labels do not match"):
        load_scores(tmp_path / "s.npz", drawn(), trust=True)


def test_damaged_files_and_other_formats(tmp_path):
    path = tmp_path / "k.npy"
    save_kept(path, KEPT, drawn())
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(InputError, match="damaged"):
        load_kept(path, drawn())
    path.write_bytes(whole.replace("bilp-kept-1".encode("utf-32-le"), "bilp-kept-9".encode("utf-32-le")))
    with pytest.raises(InputError, match="format 'bilp-kept-9', this version reads 'bilp-kept-1'"):
        load_kept(path, drawn())
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no file of NumPy arrays"):
        load_kept(path, drawn(), trust=True)
