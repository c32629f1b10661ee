import gzip
import hashlib
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from bilp_core.data import DATASETS, ImageData, check, fingerprint, load
from bilp_core.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Two classes of three training and two test images, 8x8, colour."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            place = tmp_path / "pets" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return tmp_path / "pets"


# ---- ImageData ----------------------------------------------------------------------------------------------


def test_digits_are_the_real_ones_split_for_good():
    train, test = load("digits")
    assert (len(train), len(test)) == (1352, 445)
    assert train.shape == (1, 8, 8)
    assert train.counts().min() > 4 * test.counts().min() * 0.7
    normal = train.batch()
    assert abs(normal.mean()) < 1e-5
    assert abs(normal.std() - 1) < 1e-3
    from sklearn.datasets import load_digits

    stock = {tuple(image.astype(int).ravel()) for image in load_digits().images}
    back = (train.images.float() * 16 / 255).round().int().flatten(1)
    assert {tuple(row.tolist()) for row in back} <= stock
    assert torch.equal(load("digits").train.images, train.images)


def test_batch_subset_and_classes():
    images = torch.arange(4 * 2 * 1 * 1, dtype=torch.uint8).view(4, 2, 1, 1)
    data = ImageData(images, torch.tensor([0, 1, 0, 1]), ("a", "b"), (0.5, 0.25), (0.5, 0.25), "x")
    torch.testing.assert_close(
        data.batch(torch.tensor([3])).flatten(), torch.tensor([(6 / 255 - 0.5) / 0.5, (7 / 255 - 0.25) / 0.25])
    )
    assert data.images.dtype == torch.uint8  # not normalised in place
    assert data.of_class(1).tolist() == [1, 3]
    part = data.subset(torch.tensor([2, 0]))
    assert part.labels.tolist() == [0, 0]
    assert part.counts().tolist() == [2, 0]
    assert part.images.flatten().tolist() == [4, 5, 0, 1]


def test_levels_are_those_of_the_data_that_are_asked():
    data, _ = load("digits")
    mean, std = data.levels
    assert (mean.shape, mean.item(), std.item()) == ((1, 1, 1), pytest.approx(data.mean[0]), pytest.approx(data.std[0]))
    assert data.levels[0] is mean
    other = replace(data, mean=(0.25,))
    assert other.levels[0].item() == 0.25
    assert pickle.loads(pickle.dumps(data.subset(torch.arange(3)))).levels[1].item() == std.item()
    assert fingerprint(data) == fingerprint(replace(data))


def test_wrong_tensors_are_refused():
    with pytest.raises(InputError, match="must be uint8"):
        ImageData(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), ("a",), (0.5,), (0.5,), "x")
    with pytest.raises(InputError, match="must be int64"):
        ImageData(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3), ("a",), (0.5,), (0.5,), "x")


# ---- folders ------------------------------------------------------------------------------------------------


def test_a_folder(folder):
    train, test = load(str(folder))
    assert train.classes == ("cat", "dog")
    assert train.shape == (3, 8, 8)
    assert train.counts().tolist() == [3, 3]
    assert test.counts().tolist() == [2, 2]
    first = np.asarray(Image.open(folder / "train" / "cat" / "0.png"))
    assert np.array_equal(train.images[0].permute(1, 2, 0).numpy(), first)
    pixels = train.images.double() / 255
    assert train.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert train.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_the_cache_serves_until_the_folder_changes(folder, tmp_path, monkeypatch):
    first = load(str(folder))
    monkeypatch.setattr("bilp_core.data.folders._decode", lambda *_: pytest.fail("decoded again"))
    again = load(str(folder))
    assert torch.equal(first.train.images, again.train.images)
    assert again.train.classes == first.train.classes
    monkeypatch.undo()
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (8, 8), "red").save(folder / "train" / "dog" / "new.png")
    assert load(str(folder)).train.counts().tolist() == [3, 4]


def test_a_damaged_cache_is_made_again(folder, tmp_path):
    first = load(str(folder))
    for file in (tmp_path / "cache").rglob("train_images.npy"):
        file.write_bytes(file.read_bytes()[:-20])
    assert torch.equal(load(str(folder)).train.images, first.train.images)
    for file in (tmp_path / "cache").rglob("about.json"):
        file.write_text("{")
    assert torch.equal(load(str(folder)).train.images, first.train.images)


def test_size_resizes_and_crops(folder):
    Image.new("RGB", (20, 10), "blue").save(folder / "train" / "cat" / "wide.jpg")
    with pytest.raises(InputError, match=r"differ in size: .* 8x8, .*wide.jpg is 20x10; give a size"):
        load(str(folder))
    train, _ = load(str(folder), size=6)
    assert train.shape == (3, 6, 6)
    assert train.images[3, 2].float().mean() > 240  # the blue one
    for size in (0, -1, 5000):
        with pytest.raises(InputError, match=f"size = {size}"):
            load(str(folder), size=size)


def save_all(folder, image, name):
    for file in folder.rglob("*.png"):
        file.unlink()
    for split in ("train", "test"):
        for c in ("cat", "dog"):
            for i in range(2):
                image.save(folder / split / c / f"{i}-{name}")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.jpeg", "x.webp", "x.JPG"])
def test_grey_images_in_every_format(folder, name):
    save_all(folder, Image.new("L", (8, 8), 77), name)
    train, _ = load(str(folder))
    assert train.shape == (3 if name.endswith("webp") else 1, 8, 8)  # WebP knows no grey
    assert (train.images.int() - 77).abs().max() <= 2


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), [255, 0, 0]),
        (Image.new("P", (8, 8), 0), [0, 0, 0]),
        (Image.fromarray(np.full((8, 8), 65535, np.uint16)), [255]),
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), [128]),
        (Image.new("1", (8, 8), 1), [255]),
        (Image.new("LA", (8, 8), (90, 255)), [90]),
    ],
)
def test_unusual_modes(folder, image, expected):
    save_all(folder, image, "x.png")
    assert load(str(folder)).train.images[0, :, 0, 0].tolist() == expected


def test_one_colour_image_makes_all_colour(folder):
    Image.new("L", (8, 8), 9).save(folder / "train" / "cat" / "grey.png")
    train, _ = load(str(folder))
    assert train.images[3].flatten(1)[:, 0].tolist() == [9, 9, 9]


def test_a_truncated_image_is_named(folder):
    victim = folder / "test" / "dog" / "1.png"
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(InputError, match=r"test.dog.1\.png cannot be read as an image"):
        load(str(folder))
    victim.write_text("no image at all")
    with pytest.raises(InputError, match=r"1\.png cannot be read"):
        load(str(folder))


def test_classes_that_do_not_work(folder):
    (folder / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image"):
        load(str(folder))
    (folder / "train" / "empty" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"1 files of other kinds\); allowed: .jpg"):
        load(str(folder))
    Image.new("RGB", (8, 8)).save(folder / "train" / "empty" / "a.png")
    with pytest.raises(InputError, match=r"class 'empty' is in train/ but not in test/"):
        load(str(folder))
    (folder / "test" / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "test" / "empty" / "a.png")
    with pytest.raises(InputError, match="empty holds one image"):
        load(str(folder))
    (folder / "train" / "empty" / "a.png").rename(folder / "train" / "cat" / "a.png")
    (folder / "train" / "empty" / "notes.txt").unlink()
    (folder / "train" / "empty").rmdir()
    with pytest.raises(InputError, match=r"class 'empty' is in test/ but not in train/"):
        load(str(folder))


def test_folders_that_are_no_data_set(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'cifar10'"):
        load("cifra10")
    with pytest.raises(InputError, match="has no folder 'train'"):
        load(str(tmp_path))
    (tmp_path / "train" / "only").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "train" / "only" / "a.png")
    with pytest.raises(InputError, match="at least 2 are needed"):
        load(str(tmp_path))
    with pytest.raises(InputError, match="fixed size of 8"):
        load("digits", size=16)


# ---- torchvision: tiny files in the true formats -------------------------------------------------------------


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(path, array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") as file:
        file.write(head + array.tobytes())


@pytest.mark.parametrize(("name", "folder_name"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files(name, folder_name, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    images = {
        "train": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "t10k": rng.integers(0, 256, (3, 28, 28), dtype=np.uint8),
    }
    resources = []
    for half, pixels in images.items():
        for kind, array in (
            (f"{half}-images-idx3-ubyte", pixels),
            (f"{half}-labels-idx1-ubyte", np.arange(len(pixels), dtype=np.uint8)),
        ):
            file = tmp_path / folder_name / "raw" / f"{kind}.gz"
            idx(file, array)
            resources.append((file.name, md5(file)))
    monkeypatch.setattr(getattr(datasets, folder_name), "resources", resources)
    train, test = load(name, root=tmp_path)
    assert np.array_equal(train.images[:, 0].numpy(), images["train"])
    assert test.labels.tolist() == [0, 1, 2]
    assert train.num_classes == 10
    assert train.flip == (name == "fashion_mnist")
    assert train.mean == DATASETS[name].mean
    for file in (tmp_path / folder_name).rglob("*-ubyte*"):
        file.unlink()
    assert torch.equal(load(name, root=tmp_path, download=False).train.images, train.images)  # from our cache


@pytest.mark.parametrize(
    ("name", "base", "key"),
    [("cifar10", "cifar-10-batches-py", "labels"), ("cifar100", "cifar-100-python", "fine_labels")],
)
def test_cifar_files(name, base, key, tmp_path, monkeypatch):
    kind = getattr(datasets, DATASETS[name].torchvision)
    place = tmp_path / base
    place.mkdir()
    pixels = np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)

    def write(file, content):
        with (place / file).open("wb") as out:
            pickle.dump(content, out)
        return [file, md5(place / file)]

    batch = {"data": pixels, key: [1, 0], "filenames": ["a", "b"]}
    monkeypatch.setattr(kind, "train_list", [write("part_1", batch), write("part_2", batch)])
    monkeypatch.setattr(kind, "test_list", [write("part_t", batch)])
    names = [f"class {i}" for i in range(DATASETS[name].classes)]
    meta = write("meta", {"label_names": names, "fine_label_names": names})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "filename": meta[0], "md5": meta[1]})
    train, test = load(name, root=tmp_path)
    assert train.classes == tuple(names)
    assert train.labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(test.images.numpy(), pixels.reshape(2, 3, 32, 32))


def test_a_wrong_checksum_is_never_unpickled(tmp_path, monkeypatch):
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    (place / "data_batch_1").write_bytes(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}))
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled an unverified file"))
    monkeypatch.setattr(datasets.CIFAR10, "download", lambda _: None)
    with pytest.raises(InputError, match=r"CIFAR-10: the train half is not in .*corrupted"):
        load("cifar10", root=tmp_path)


def test_svhn_files(tmp_path, monkeypatch):
    pixels = np.arange(32 * 32 * 3 * 2, dtype=np.int64).reshape(32, 32, 3, 2).astype(np.uint8)
    lists = {}
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        savemat(file, {"X": pixels, "y": np.array([[10], [3]], np.uint8)})
        lists[split] = ["nowhere", file.name, md5(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    train, _ = load("svhn", root=tmp_path)
    assert train.labels.tolist() == [0, 3]  # the file writes 10 for zero
    assert np.array_equal(train.images[1].numpy(), pixels[..., 1].transpose(2, 0, 1))
    assert not train.flip


def test_offline_and_absent(tmp_path):
    with pytest.raises(InputError, match=r"MNIST: the train half is not in .*--root"):
        load("mnist", root=tmp_path, download=False)


# ---- check --------------------------------------------------------------------------------------------------


def test_check_finds_duplicates_leaks_and_constants(folder):
    Image.new("RGB", (8, 8), "red").save(folder / "train" / "cat" / "red.png")
    Image.new("RGB", (8, 8), "red").save(folder / "train" / "dog" / "red.png")
    Image.new("RGB", (8, 8), "red").save(folder / "test" / "dog" / "red.png")
    report = check(load(str(folder)))
    assert report["duplicates_in_train"] == 1
    assert report["test_images_also_in_train"] == 1
    assert report["classes"] == {"cat": {"train": 4, "test": 2}, "dog": {"train": 4, "test": 3}}
    assert report["constant_images_in_train"] == 2


def test_check_on_digits():
    report = check(load("digits"))
    assert sum(c["train"] + c["test"] for c in report["classes"].values()) == 1797
    assert report["constant_images_in_train"] == 0
