"""Large data sets: true formats in small files, decoded once, stopped and gone on with, and never quietly wrong."""

import errno
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.data import DATASETS, check, downsampled, fingerprint, imagenet, large, load, whitened
from bilp_core.data import pictures as pictures_of
from bilp_core.data.cache import place
from bilp_core.data.samples import sample_prints
from bilp_core.data.stored import Stored
from bilp_core.errors import InputError

from .killed import decode_and_kill, decode_on

WNIDS = ("n01443537", "n01629819", "n02124075")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """As many classes and samples as the files of these tests have; small blocks, so that there are several."""
    for name, samples in {"tiny-imagenet": (12, 6), "imagenet-64": (23, 6), "imagenet-64-resized": (12, 6)}.items():
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], classes=3, samples=samples))
    for module in (large, pictures_of, downsampled):
        monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setattr(pictures_of, "JOB", 4)


def drawn(path, rng, size=(64, 64), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(path, quality=95)


def folder_of(name, root):
    """What `load` keeps of a data set."""
    return place(root / ".bilp-cache", name)


@pytest.fixture
def tiny(tmp_path):
    """Tiny ImageNet as its zip holds it: boxes beside images, a flat val/ with its list, an unlabelled test/."""
    home, rng, lines = tmp_path / "tiny-imagenet-200", np.random.default_rng(0), []
    for c, wnid in enumerate(WNIDS):
        for i in range(4):
            mode = "L" if (c, i) == (1, 2) else "RGB"  # some are grey
            drawn(home / f"train/{wnid}/images/{wnid}_{i}.JPEG", rng, mode=mode)
        (home / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    for i in range(6):
        drawn(home / f"val/images/val_{i}.JPEG", rng)
        lines.append(f"val_{i}.JPEG\t{WNIDS[(2 * i) % 3]}\t0\t32\t44\t62")
    (home / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    drawn(home / "test/images/test_0.JPEG", rng)
    (home / "wnids.txt").write_text("\n".join(reversed(WNIDS)))
    return tmp_path


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


# ---- Tiny ImageNet ----------------------------------------------------------------------------------------------


def test_tiny_imagenet(tiny):
    train, test = load("tiny-imagenet", root=tiny)
    assert train.classes == test.classes == WNIDS
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    home = tiny / "tiny-imagenet-200"
    for data in (train, test):
        assert isinstance(data.images, Stored)
        for i, file in enumerate(data.files):
            assert np.array_equal(data.images[torch.tensor([i])][0].numpy(), pixels(home / file)), file
    assert [Path(file).name for file in test.files[:2]] == ["val_0.JPEG", "val_3.JPEG"]
    assert (train.named, train.mean, train.flip) == ("tiny-imagenet", (0.485, 0.456, 0.406), True)
    for path in home.rglob("*.JPEG"):
        path.unlink()
    assert fingerprint(load("tiny-imagenet", root=tiny).train) == fingerprint(train)  # from what was decoded


def test_the_zip_is_read_as_it_is(tiny, tmp_path, monkeypatch):
    before = load("tiny-imagenet", root=tiny)
    root = tmp_path / "other"
    root.mkdir()
    archive = root / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tiny / "tiny-imagenet-200").rglob("*")):
            file.write(path, path.relative_to(tiny))
    with pytest.raises(InputError, match=r"its MD5 is [0-9a-f]{32}, not 90528d7ca1a48142e341f4ef8d21d0de"):
        load("tiny-imagenet", root=root)
    monkeypatch.setattr(imagenet, "TINY_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    again = load("tiny-imagenet", root=root)
    assert [fingerprint(half) for half in again] == [fingerprint(half) for half in before]
    archive.write_bytes(archive.read_bytes()[:-500])
    monkeypatch.setattr(imagenet, "TINY_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    (folder_of("tiny-imagenet", root) / "about.json").unlink()
    with pytest.raises(InputError, match=r"tiny-imagenet-200.zip cannot be read .*get it again"):
        load("tiny-imagenet", root=root)


def annotate(home, text):
    (home / "val/val_annotations.txt").write_text(text)


def one_of(home):
    return home / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_1.JPEG"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: shutil.rmtree(h / "train" / WNIDS[1]), "has images in val, but none in train"),
        (lambda h: annotate(h, "val_0.JPEG\tn01443537\t0\t0\t1\t1\n"), "'val_1' is in no list of labels"),
        (lambda h: annotate(h, "val_0.JPEG n01443537\n"), "row 1 of val_annotations.txt has no image and class"),
        (lambda h: (h / "val/val_annotations.txt").unlink(), "no list says their classes"),
        (lambda h: (h / "val/images/val_4.JPEG").unlink(), "'val_4' is in the list of labels, and no such file"),
        (lambda h: one_of(h).unlink(), "3 classes, 11 training and 6 validation images: there must be 3, 12 and 6"),
        (lambda h: one_of(h).write_bytes(b"nothing"), r"files cannot be read \(1 of them\)"),
        (lambda h: Image.new("RGB", (32, 64)).save(h / "val/images/val_0.JPEG"), "val_0.JPEG: 32x64 pixels, not 64x64"),
    ],
)
def test_a_tiny_imagenet_that_is_not_whole_is_refused(tiny, spoil, message):
    spoil(tiny / "tiny-imagenet-200")
    with pytest.raises(InputError, match=message):
        load("tiny-imagenet", root=tiny)
    assert large.opened(folder_of("tiny-imagenet", tiny)) is None


def test_a_class_missing_in_val_is_named(tiny):
    notes = tiny / "tiny-imagenet-200/val/val_annotations.txt"
    notes.write_text(notes.read_text().replace(WNIDS[2], WNIDS[0]))
    with pytest.raises(InputError, match=f"class '{WNIDS[2]}' has images in train, but none in val"):
        load("tiny-imagenet", root=tiny)


def test_who_has_none_of_it_is_told_where_it_is(tmp_path):
    for name, words in {
        "tiny-imagenet": "248 MB",
        "imagenet-64": "register at image-net.org .* 13 GB",
        "imagenet-64-resized": "register at image-net.org .* 145 GB",
    }.items():
        with pytest.raises(InputError, match=words):
            load(name, root=tmp_path)


# ---- ImageNet at 64x64 ------------------------------------------------------------------------------------------


def released(home, rng):
    """Batches as the release has them: rows in no order, labels from 1 on, a mean beside those for training."""
    home.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in (*downsampled.TRAIN, downsampled.VAL):
        count = 6 if name == downsampled.VAL else 5 if name == downsampled.TRAIN[-1] else 2
        labels = rng.permutation(np.arange(count) % 3 + 1)
        if count == 2:
            labels = rng.integers(1, 4, 2)
        data = rng.integers(0, 256, (count, 12288), dtype=np.uint8)
        mean = {} if name == downsampled.VAL else {"mean": data.mean(0)}
        np.savez_compressed(home / name, data=data, labels=labels, **mean)
        made[name] = (data, labels)
    return made


@pytest.fixture
def release(tmp_path):
    return tmp_path, released(tmp_path / "imagenet-64", np.random.default_rng(1))


def test_the_downsampled_release(release):
    root, made = release
    train, test = load("imagenet-64", root=root)
    assert train.classes == ("1", "2", "3")
    assert (len(train), len(test), train.shape) == (23, 6, (3, 64, 64))
    for data in (train, test):
        assert data.labels.tolist() == sorted(data.labels.tolist())  # each class lies together
        for i, origin in enumerate(data.files):
            name, row = str(origin).split("/")
            rows, labels = made[f"{name}.npz"]
            image = data.images[i : i + 1][0].numpy()
            planes = rows[int(row)].reshape(3, 64, 64)  # written out here: red, green, blue
            assert np.array_equal(image, planes), origin
            assert data.labels[i] + 1 == labels[int(row)]
    assert len(set(map(str, train.files))) == 23


def test_classes_of_the_release_have_the_names_of_its_list(release):
    root, _ = release
    (root / "imagenet-64/map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02100735 2 setter\nn02110185 3 husky\n")
    assert load("imagenet-64", root=root).train.classes == ("n02119789", "n02100735", "n02110185")
    (folder_of("imagenet-64", root) / "about.json").unlink()
    (root / "imagenet-64/map_clsloc.txt").write_text("n02119789 1 kit_fox\n")
    with pytest.raises(InputError, match="has no line for class 2"):
        load("imagenet-64", root=root)


def test_a_release_that_is_not_whole_is_refused(release):
    root, made = release
    home = root / "imagenet-64"
    eighth, ninth = home / downsampled.TRAIN[7], home / downsampled.TRAIN[8]
    content = eighth.read_bytes()
    eighth.write_bytes(content[: len(content) // 2])  # a truncated archive
    with pytest.raises(InputError, match=r"train_data_batch_8.npz is damaged.*: get it again"):
        load("imagenet-64", root=root)
    with zipfile.ZipFile(eighth, "w") as file:  # one whose pixels do not agree with its checksum
        for member in ("data", "labels"):
            with file.open(f"{member}.npy", "w") as out:
                np.lib.format.write_array(out, made[eighth.name][member == "labels"])
    spoilt = bytearray(eighth.read_bytes())
    spoilt[5000] ^= 1
    eighth.write_bytes(spoilt)
    with pytest.raises(InputError, match=r"train_data_batch_8.npz is damaged or incomplete \(Bad CRC-32"):
        load("imagenet-64", root=root)
    eighth.write_bytes(content)
    ninth.rename(home / "kept")
    with pytest.raises(InputError, match=r"has no train_data_batch_9.npz: register"):
        load("imagenet-64", root=root)
    (home / "kept").rename(ninth)
    data, labels = made[downsampled.VAL]
    np.savez(home / downsampled.VAL, data=data, labels=np.minimum(labels, 2))
    with pytest.raises(InputError, match=r"class 3 has images in train, but none in val \(1 such\)"):
        load("imagenet-64", root=root)
    np.savez(home / downsampled.VAL, data=data[:, :3072], labels=labels)
    with pytest.raises(InputError, match=r"data is uint8 \[6, 3072\], not uint8 \[6, 12288\]"):
        load("imagenet-64", root=root)


def tree(home, flat):
    """ILSVRC 2012: photographs of many sizes; validation images in folders, or together."""
    rng = np.random.default_rng(2)
    for c, wnid in enumerate(WNIDS):
        for i in range(4):
            drawn(home / f"train/{wnid}/{wnid}_{i}.JPEG", rng, size=(90 + 60 * c, 80 + 70 * i))
        for i in range(2):
            number = f"ILSVRC2012_val_{2 * c + i:08d}"
            drawn(home / "val" / ("" if flat else wnid) / f"{number}.JPEG", rng, size=(75, 100))


def test_the_original_tree_is_resized_as_a_folder_is(tmp_path):
    tree(tmp_path / "imagenet", flat=False)
    train, test = load("imagenet-64-resized", root=tmp_path)
    own, _ = load(str(tmp_path / "imagenet"), size=64)
    assert train.classes == own.classes == WNIDS
    assert [str(file) for file in train.files] == list(own.files)
    assert torch.equal(train.images[:], own.images)
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_flat_val_needs_kaggles_list(tmp_path):
    home = tmp_path / "imagenet/ILSVRC/Data/CLS-LOC"
    tree(home, flat=True)
    with pytest.raises(InputError, match="no list says their classes"):
        load("imagenet-64-resized", root=tmp_path)
    rows = [f"ILSVRC2012_val_{i:08d},{WNIDS[(i + 1) % 3]} 85 1 499 272 " for i in range(6)]
    (tmp_path / "imagenet/LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    test = load("imagenet-64-resized", root=tmp_path).test
    found = {Path(str(file)).stem: WNIDS[label] for file, label in zip(test.files, test.labels.tolist(), strict=True)}
    assert found == {f"ILSVRC2012_val_{i:08d}": WNIDS[(i + 1) % 3] for i in range(6)}


# ---- decoding: stopped, gone on with, and refused ---------------------------------------------------------------


def test_decoding_that_is_killed_goes_on_where_it_was(tmp_path):
    """The whole of it, with its processes, by kill -9; nothing that was done is done again."""
    folder, log = tmp_path / "map", tmp_path / "log"
    decode_and_kill(folder, log=str(log))
    done = (folder / "train_done").read_bytes().count(1)
    before = len(log.read_text().splitlines())
    assert 3 <= done <= before <= done + 2  # each of two workers may have been in the middle of a block
    decode_on(folder, log=str(log))
    blocks = sum(-(-len(rows) // 512) for rows in np.array_split(np.arange(20 * 512 + 17), 3)) + 3
    assert len(log.read_text().splitlines()) - before == blocks - done
    images = Stored(folder / "train_images.npy")
    from tests.data.parts import image

    assert all(np.array_equal(images[i : i + 1][0].numpy(), image(i)) for i in range(0, len(images), 41))
    assert not len(large.damaged(folder, "train"))
    assert sorted(path.name for path in folder.glob("*_done")) == []


def test_another_source_begins_anew(tiny):
    home, folder = tiny / "tiny-imagenet-200", folder_of("tiny-imagenet", tiny)
    bad = home / "train" / WNIDS[2] / "images" / f"{WNIDS[2]}_3.JPEG"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:300])
    with pytest.raises(InputError, match=rf"{WNIDS[2]}_3.JPEG: "):
        load("tiny-imagenet", root=tiny)
    assert (folder / "train_done").read_bytes() == b"\1\1\1\1\1\0"  # all but its block
    bad.write_bytes(whole)  # its size is another: so is the source
    train, _ = load("tiny-imagenet", root=tiny)
    assert np.array_equal(train.images[:][11].numpy(), pixels(bad))


def test_a_disk_that_is_full(tiny, monkeypatch):
    usual, written = large._write, []

    def full(file, start, rows, values):
        if len(written) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(rows)
        usual(file, start, rows, values)

    with monkeypatch.context() as patched:
        patched.setattr(large, "_write", full)
        with pytest.raises(InputError, match=r"the disk of .* is full: 6 of 18 images are decoded and stay"):
            load("tiny-imagenet", root=tiny)
    with monkeypatch.context() as patched:
        patched.setattr(large.shutil, "disk_usage", lambda _: type("", (), {"free": 1000})())
        with pytest.raises(InputError, match=r"decoding takes .* GB of disk in .*, where 1e-06 GB are free: make room"):
            load("tiny-imagenet", root=tiny)
    reads = []
    own = pictures_of.Pictures._one
    monkeypatch.setattr(pictures_of.Pictures, "_one", lambda *a: reads.append(a[2]) or own(*a))
    assert len(load("tiny-imagenet", root=tiny).train) == 12
    assert len(reads) == 12  # of 18


def test_what_a_crash_has_lost_is_decoded_again(tiny, monkeypatch):
    usual = large._check

    def lost(folder, halves, progress):
        with (folder / "train_images.npy").open("rb+") as file:
            file.seek(128 + 5 * 12288)
            file.write(bytes(50))
        usual(folder, halves, progress)

    with monkeypatch.context() as patched:
        patched.setattr(large, "_check", lost)
        with pytest.raises(InputError, match="1 images in .* are not what was written .*: run it again"):
            load("tiny-imagenet", root=tiny)
    assert (folder_of("tiny-imagenet", tiny) / "train_done").read_bytes() == b"\1\1\0\1\1\1"
    assert np.array_equal(load("tiny-imagenet", root=tiny).train.images[:][5].numpy(),
                          pixels(tiny / f"tiny-imagenet-200/train/{WNIDS[1]}/images/{WNIDS[1]}_1.JPEG"))  # fmt: skip


def test_a_damaged_or_other_map_is_refused(tiny):
    load("tiny-imagenet", root=tiny)
    folder = folder_of("tiny-imagenet", tiny)
    images, about = folder / "train_images.npy", folder / "about.json"
    whole, manifest = images.read_bytes(), about.read_text()

    def refused(words):
        with pytest.raises(InputError, match=words) as caught:
            load("tiny-imagenet", root=tiny)
        assert f"remove the folder {folder}" in str(caught.value)

    images.write_bytes(whole[:-12288])
    refused(r"train_images.npy is missing, damaged or too short")
    images.write_bytes(whole + b"\0")
    refused(r"train_images.npy has [\d,]+ bytes where its header says")
    np.save(images, np.zeros((11, 3, 64, 64), np.uint8))
    refused(r"train_images.npy is \[11, 3, 64, 64\], not \[12, 3, 64, 64\]")
    images.unlink()
    refused("train_images.npy is missing")
    images.write_bytes(whole)
    about.write_text(json.dumps({**json.loads(manifest), "format": 7}))
    refused("is of format 7, this version reads 1")
    about.write_text(manifest[:20])
    refused("about.json is damaged")
    about.write_text(manifest)
    spoilt = bytearray(whole)
    spoilt[128 + 7 * 12288 + 100] ^= 255
    images.write_bytes(spoilt)
    with pytest.raises(InputError, match=r"1 images of tiny-imagenet's train half are damaged, the first .*_3.JPEG"):
        check(load("tiny-imagenet", root=tiny))  # every pixel is looked at


def test_a_file_that_becomes_shorter_is_an_error_and_no_dead_process(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3, 8, 8), np.uint8))
    images = Stored(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 128 + 2 * 192)
    assert images[torch.tensor([1])].sum() == 192
    with pytest.raises(InputError, match="became shorter while it was read"):
        images[torch.tensor([3])]


# ---- the same numbers as from memory ----------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path):
    """The digits in memory and on the disk."""
    train, test = load("digits")
    halves = []
    for name, half in (("train", train), ("test", test)):
        np.save(tmp_path / f"{name}.npy", half.images.numpy())
        halves.append(replace(half, images=Stored(tmp_path / f"{name}.npy")))
    return (train, test), halves


def test_rows_in_any_order(both):
    (train, _), (stored, _) = both
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        picks = torch.randint(-len(train), len(train), (40,), generator=rng)
        assert torch.equal(stored.images[picks], train.images[picks])
        few, again = stored.subset(picks % len(train)), torch.randperm(40, generator=rng)[:7]
        assert isinstance(few.subset(again).images, Stored)
        assert torch.equal(few.subset(again).batch(), train.batch(picks[again]))
    assert torch.equal(stored.images[3:2000], train.images[3:2000])
    assert stored.images[torch.tensor([], dtype=torch.int64)].shape == (0, 1, 8, 8)
    assert torch.equal(torch.cat(list(stored.images.split(1000))), train.images)
    with pytest.raises(IndexError):
        stored.images[torch.tensor([len(train)])]


def test_what_names_samples_is_the_same(both):
    (train, _), (stored, _) = both
    assert fingerprint(stored) == fingerprint(train)
    assert np.array_equal(sample_prints(stored), sample_prints(train))
    white, own = whitened(stored, "relative"), whitened(train, "relative")
    assert white.white is None
    assert fingerprint(white) == fingerprint(own)
    torch.testing.assert_close(white.batch(torch.tensor([5, 2])), own.batch(torch.tensor([5, 2])))


def test_from_scores_to_accuracy(both):
    """Every number is that of the same samples in memory."""
    from bilp_core import distill, evaluate, keep, make, score
    from bilp_core.evaluation import Protocol

    network, found = "convnet:depth=1,width=4", []
    for train, test in both:
        train, test = (half.subset(torch.arange(0, len(half), 3)) for half in (train, test))
        scores = score(train, "loss", trials=2, epochs=4, sigma=1.0, batch=32, network=network)
        kept = train.subset(keep(scores, train.labels, ratio=0.5))
        made = [
            distill(make(name, iterations=2, **more), kept, ipc=2, network=network)
            for name, more in (("dm", {}), ("dc", {}), ("dc", {"zca": "relative"}))
        ]
        protocol = Protocol(epochs=3, lr=0.1)
        accuracy = evaluate(made[0], test, network=network, protocol=protocol, repeats=2).values
        found.append((scores, *(each.images for each in made), torch.tensor(accuracy)))
    for memory, disk in zip(*found, strict=True):
        torch.testing.assert_close(memory, disk, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[0][1], found[1][1])


def test_a_gpu_holds_them_where_they_fit_and_else_is_sent_batches(both, monkeypatch):
    from bilp_core.data import stored as module
    from tests.emulated_gpu import emulated_gpu

    (train, _), (disk, _) = both
    picks = torch.tensor([3, 1, 700])
    wanted = train.batch(picks)
    with emulated_gpu():
        there = disk.to("cuda")
        assert not isinstance(there.images, Stored)
        assert torch.equal(there.batch(picks.to("cuda")).cpu(), wanted)
        monkeypatch.setattr(module, "GPU_SHARE", 0.0)
        there = disk.to("cuda")
        assert isinstance(there.images, Stored)
        assert there.device.type == "cuda"
        assert there.subset(picks).batch().is_cuda
        assert torch.equal(there.batch(picks.to("cuda")).cpu(), wanted)


def test_only_what_is_an_array_of_images_is_taken(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"holds float64 \[2, 3\]: must be uint8 \[N, C, H, W\]"):
        Stored(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"")
    with pytest.raises(InputError, match="missing, damaged or too short"):
        Stored(tmp_path / "b.npy")
