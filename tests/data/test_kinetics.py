"""Kinetics-400 from small files of the true layouts: lists or folders of classes, videos or frames; what cannot be read
leaves no hole."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.data import DATASETS, check, clips, complete, large, load
from bilp_core.data.stored import Stored
from bilp_core.distillers import distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import evaluate, protocol
from bilp_core.indicators import score
from bilp_core.nets import probe_for
from bilp_core.pruning import keep

from .killed import decode_and_kill, decode_on
from .test_large import folder_of
from .videos import noise, write

pytest.importorskip("av")
CLASSES = ("abseiling", "zumba")
HEAD = "label,youtube_id,time_start,time_end"
PLACES = [1, 3, 5, 7, 9, 11, 13, 15]  # of the frames of a video of 16 that are in its clip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(DATASETS, "kinetics-400", replace(DATASETS["kinetics-400"], classes=2))
    for module in (large, clips):
        monkeypatch.setattr(module, "BLOCK", 2)


def content(number):
    return noise(16, 64, 64, seed=number)


def clip_of(number):
    """What should be decoded of a video of `content`: uint8 [24, 64, 64]."""
    return content(number)[PLACES].transpose(0, 3, 1, 2).reshape(24, 64, 64)


@pytest.fixture
def folders(tmp_path):
    """Four videos of each class in train/, two in val/."""
    home, number = tmp_path / "kinetics-400", 0
    for half, count in (("train", 4), ("val", 2)):
        for name in CLASSES:
            for _ in range(count):
                write(home / half / name / f"v{number:02d}.mp4", content(number))
                number += 1
    return home


@pytest.fixture
def lists(folders):
    """The same as the public copies have it: all videos of a half in one folder, beside it a list; one row without a
    file, one file without a row."""
    for half, name in (("train", "train.csv"), ("val", "validate.csv")):
        rows = [f"{HEAD},split", f"{CLASSES[0]},gone,3,13,{half}"]
        for path in sorted((folders / half).rglob("*.mp4")):
            rows.append(f"{path.parent.name},id-_{path.stem},7,17,{half}")
            path.rename(folders / half / f"id-_{path.stem}_000007_000017.mp4")
        for empty in CLASSES:
            (folders / half / empty).rmdir()
        (folders / name).write_text("\n".join(rows) + "\n")
    write(folders / "train/stray_000001_000002.mp4", content(50))
    return folders


def numbers(data):
    return [int(Path(str(name)).stem.partition("v")[2][:2]) for name in data.files]


def test_folders_of_classes(folders):
    train, test = load("kinetics-400", root=folders.parent)
    assert train.classes == test.classes == CLASSES
    assert (numbers(train), train.labels.tolist()) == ([*range(8)], [0] * 4 + [1] * 4)
    assert (numbers(test), test.labels.tolist()) == ([8, 9, 10, 11], [0, 0, 1, 1])
    assert (train.frames, train.shape, train.named, train.flip) == (8, (24, 64, 64), "kinetics-400", True)
    assert train.mean == (0.485, 0.456, 0.406) * 8
    for data in (train, test):
        assert isinstance(data.images, Stored)
        for index, number in enumerate(numbers(data)):
            assert np.array_equal(data.images[torch.tensor([index])][0].numpy(), clip_of(number))
    shutil.rmtree(folders)
    assert load("kinetics-400", root=folders.parent).train.clips(torch.tensor([0])).shape == (1, 8, 3, 64, 64)


@pytest.mark.filterwarnings("ignore:kinetics-400")
def test_public_lists(lists, capsys):
    train, test = load("kinetics-400", root=lists.parent)
    assert (numbers(train), train.labels.tolist()) == ([*range(8)], [0] * 4 + [1] * 4)
    assert (len(test), train.classes) == (4, CLASSES)
    report = check(load("kinetics-400", root=lists.parent))
    assert report["frames"] == 8
    assert len(report["mean"]) == 3
    assert report["skipped"] == {"they are in no list of labels": ["train/stray_000001_000002.mp4"]}
    assert "1 rows of the train half's list have no file" in report["notes"]
    assert main(["data", "check", "kinetics-400", "--root", str(lists.parent)]) == 0
    assert "train/stray_000001_000002.mp4" in capsys.readouterr().out


def test_what_is_left_out_is_said(lists):
    with pytest.warns(UserWarning, match="kinetics-400: ") as said:
        load("kinetics-400", root=lists.parent)
    told = " ".join(str(one.message) for one in said)
    assert "1 files of the train half are in no list, the first train/stray_000001_000002.mp4" in told
    assert "1 rows of the test half's list have no file" in told


@pytest.mark.filterwarnings("ignore:kinetics-400")
def test_a_replacement_goes_before(lists):
    place = lists / "replacement/for_corrupted"
    write(place / "id-_v02_000007_000017.mp4", content(60))
    (lists / "train/id-_v02_000007_000017.mp4").write_bytes(b"")
    train, _ = load("kinetics-400", root=lists.parent)
    row = numbers(train).index(2)
    assert np.array_equal(train.images[torch.tensor([row])][0].numpy(), clip_of(60))
    assert len(train) == 8


@pytest.mark.filterwarnings("ignore:kinetics-400")
def test_files_that_cannot_be_read_leave_no_hole(folders):
    (folders / "train/abseiling/v01.mp4").write_bytes(b"")
    (folders / "train/zumba/v07.mp4").write_text("no video")
    write(folders / "val/zumba/v10.mp4", content(10)[:5])
    train, test = load("kinetics-400", root=folders.parent)
    for data, expected in ((train, [0, 2, 3, 4, 5, 6]), (test, [8, 9, 11])):
        assert numbers(data) == expected
        assert data.labels.tolist() == [int(number in (4, 5, 6, 10, 11)) for number in expected]
        whole = torch.cat(list(data.images.split(2)))
        assert all(np.array_equal(one.numpy(), clip_of(number)) for one, number in zip(whole, expected, strict=True))
        assert np.array_equal(data.subset(torch.tensor([1])).batch().shape, (1, 24, 64, 64))
    report = check(load("kinetics-400", root=folders.parent))
    assert report["skipped"]["they cannot be read"][0] == "train/abseiling/v01.mp4: the file is empty"
    assert "2 of the 8 files of the train half cannot be read and are left out" in report["notes"]
    folder = folder_of("kinetics-400", folders.parent)
    assert not list(folder.glob("*_bad_*"))
    (folder / "train_rows.npy").unlink()
    with pytest.raises(InputError, match=r"train_rows.npy is missing.*; remove the folder"):
        load("kinetics-400", root=folders.parent)


def test_a_class_of_which_nothing_can_be_read_is_named_and_read_again(folders):
    for number in (8, 9):
        write(folders / f"val/abseiling/v{number:02d}.mp4", content(number)[:3])
    with pytest.raises(
        InputError, match=r"class 'abseiling': none of its 2 files in the test half .*v08.mp4: too short"
    ):
        load("kinetics-400", root=folders.parent)
    for number in (8, 9):
        write(folders / f"val/abseiling/v{number:02d}.mp4", content(number))
    train, test = load("kinetics-400", root=folders.parent)
    assert numbers(test) == [8, 9, 10, 11]
    assert np.array_equal(test.images[torch.tensor([1])][0].numpy(), clip_of(9))


def frames(home, path, count=8):
    place = home / path
    place.mkdir(parents=True)
    for k in range(count):  # the tenth sorts after the second
        Image.new("RGB", (32, 16), (20 * k, 0, 0)).save(place / f"{k + 4}.jpg", quality=95)


@pytest.mark.filterwarnings("ignore:kinetics-400")
def test_folders_of_frames_in_the_order_of_their_numbers(tmp_path):
    for half, count in (("train", 8), ("val", 8)):
        for name in CLASSES:
            frames(tmp_path / "kinetics-400", f"{half}/{name}/one", count)
    frames(tmp_path / "kinetics-400", "train/zumba/other", 16)
    train, test = load("kinetics-400", root=tmp_path)
    assert [str(name) for name in train.files] == ["train/abseiling/one", "train/zumba/one"]
    reds = test.clips(torch.tensor([0]))[0, :, 0].float().mean((1, 2))
    assert (reds - 20 * torch.arange(8)).abs().max() < 3


def test_halves_with_other_numbers_of_frames(tmp_path):
    for half, count in (("train", 8), ("val", 16)):
        for name in CLASSES:
            frames(tmp_path / "kinetics-400", f"{half}/{name}/one", count)
    with pytest.raises(InputError, match=r"'abseiling': none of its 1 files in the test half .* 16 frames, not 8"):
        load("kinetics-400", root=tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: shutil.rmtree(h), r"is not in .*cvdfoundation/kinetics-dataset.* 450 GB.* 21.2 GB"),
        (lambda h: shutil.rmtree(h / "val"), "has no folder val"),
        (lambda h: shutil.rmtree(h / "val/zumba"), "class 'zumba' is in train, and not in val"),
        (lambda h: [shutil.rmtree(h / half / "zumba") for half in ("train", "val")], "has 1 classes: there must be 2"),
        (lambda h: (h / "train/zumba/v04.mp4").rename(h / "train/v04.mp4"), "in no folder of a class, .* put train"),
        (lambda h: (h / "train.csv").write_text("label,id\n"), "has no column 'youtube_id': must be label"),
        (lambda h: (h / "train.csv").write_text(f"{HEAD}\nzumba,a,b,c\n"), "line 2 has no label and youtube_id"),
        (lambda h: (h / "train.csv").write_text(f"{HEAD}\nzumba,a,1,2\n"), "names none of the 8 files"),
        (lambda h: (h / "train.csv").write_text(f"{HEAD}\nx,a,1,2\ny,a,1,2\n"), "line 3 says .* 'y', and before 'x'"),
        (lambda h: (h / "train.csv").write_bytes(b"label\xff"), "is no list in UTF-8"),
    ],
)
def test_what_is_no_kinetics_is_refused(folders, spoil, message):
    spoil(folders)
    with pytest.raises(InputError, match=message):
        load("kinetics-400", root=folders.parent)


@pytest.mark.filterwarnings("ignore:the networks have hardly learned")
def test_from_the_disk_to_an_accuracy_by_the_settings_of_the_paper(folders):
    """Supplement, Secs. 6.4 and 6.6, which go by the name; run with one iteration and a narrow network."""
    train, test = load("kinetics-400", root=folders.parent)
    probe = probe_for(train)
    assert (probe.trials, probe.epochs, probe.lr, probe.batch, probe.network) == (10, 20, 1e-2, 128, "convnet-gru")
    mtt = make("mtt").resolved(replace(train, classes=tuple(map(str, range(400)))), 1)
    assert (mtt.steps, mtt.span, mtt.starts, mtt.batch_synthetic, mtt.experts) == (5, 2, 5, 64, 40)
    assert (mtt.image_lr, mtt.step_lr, mtt.zca, mtt.strategy(train)) == (30_000, 1e-6, "none", "none")
    net = "convnet-gru:width=2"
    scores = score(train, "loss", trials=1, epochs=1, batch=4, network=net)
    kept = train.subset(keep(scores, train.labels, ratio=0.5))
    assert isinstance(kept.images, Stored)
    made = distill(make("dm", iterations=1, batch=2, image_lr=5.0), kept, 1, network=net)
    found = evaluate(made, test, protocol=protocol("dm", test, epochs=2), repeats=1)
    assert 0 <= found.mean <= 1


def test_it_is_listed_and_has_its_size(folders, capsys):
    assert main(["data", "list"]) == 0
    assert (
        "classes of 8x3x64x64  Kinetics-400, clips of 8 frames; licence: CC BY 4.0; you bring"
        in capsys.readouterr().out
    )
    with pytest.raises(InputError, match="kinetics-400 has a fixed size of 64 pixels"):
        load("kinetics-400", root=folders.parent, size=32)


def test_skipping_goes_on_after_a_kill(tmp_path):
    """Every fifth image cannot be read; the whole of it is killed in the middle, and nothing is lost or found twice."""
    folder, count = tmp_path / "map", 9 * 512 + 17
    made = {"log": str(tmp_path / "log"), "count": count, "every": 5}
    decode_and_kill(folder, **made)
    assert not (folder / "train_rows.npy").exists()
    decode_on(folder, **made)
    rows = complete.kept(folder, "train")
    assert rows.tolist() == [row for row in range(count) if row % 5 != 1]
    assert len(large.opened(folder)["skipped"]["train"]) == count - len(rows)
    images = Stored(folder / "train_images.npy", torch.from_numpy(rows))
    from tests.data.parts import image

    assert all(np.array_equal(images[i : i + 1][0].numpy(), image(rows[i])) for i in range(0, len(images), 41))
    assert not len(large.damaged(folder, "train"))
    assert not list(folder.glob("*_bad_*"))
