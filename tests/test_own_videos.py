"""Somebody's own folder of videos, from files to accuracies: classes that differ only in the direction of motion."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.data import check_folder, clips, films, load
from bilp_core.data.folders import Reading, folder_identity
from bilp_core.data.stored import Stored
from bilp_core.distillers import distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import Protocol, evaluate
from bilp_core.indicators import score
from bilp_core.nets import default_network
from bilp_core.pruning import keep

from .data.videos import moving, noise, write
from .waiting import wait_until

pytest.importorskip("av")
NET = "convnet-gru:depth=1,width=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of each class forty videos to train on, twenty to test."""
    home, rng = tmp_path_factory.mktemp("own") / "moves", np.random.default_rng(0)
    for half, count in (("train", 40), ("test", 20)):
        for name, direction in (("left", -1), ("right", 1)):
            for number in range(count):
                write(home / half / name / f"{number}.mp4", moving(rng, direction))
    return home


@pytest.fixture(scope="module")
def splits(folder):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BILP_CACHE", str(folder.parent / "cache"))
        return load(str(folder), size=16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_clips_of_a_folder(folder, splits):
    train, test = splits
    assert (len(train), len(test), train.shape, train.frames) == (80, 40, (24, 16, 16), 8)
    assert (train.classes, train.named, train.files[2]) == (("left", "right"), "", "train/left/10.mp4")
    assert train.mean == train.mean[:3] * 8
    assert train.mean[0] == pytest.approx(float(train.clips(torch.arange(80))[:, :, 0].float().mean()) / 255)
    few = load(str(folder), size=16, frames=4).train
    assert (few.frames, few.shape) == (4, (12, 16, 16))
    assert torch.equal(load(str(folder), size=16).train.images, train.images)


def test_from_files_to_accuracy(splits, tmp_path):
    """Loss, half of each class kept, DM and MTT; a network without time could only guess."""
    train, test = splits
    scores = score(train, "loss", trials=1, epochs=12, batch=20, lr=0.05, network=NET)
    kept = train.subset(keep(scores, train.labels, ratio=0.5))
    assert kept.counts().tolist() == [20, 20]
    judged = Protocol(epochs=60, lr=0.05, batch=10)
    made = distill(make("dm", iterations=40, batch=20), kept, 5, network=NET, seed=1)
    assert (made.frames, made.meta["network"]) == (8, NET)
    found = evaluate(made, test, protocol=judged, repeats=2)
    assert found.mean > 0.85, found  # by chance 0.5
    options = {"steps": 3, "span": 1, "starts": 2, "experts": 2, "epochs": 3, "expert_batch": 20, "image_lr": 1.0}
    mtt = distill(make("mtt", iterations=2, **options), kept, 1, network=NET, home=tmp_path)
    assert torch.isfinite(mtt.images).all()
    assert mtt.meta["augment"] == "none"


def test_a_single_frame_does_not_tell(splits):
    """So the accuracy above comes of the order of the frames: in reverse, the answers turn round."""
    train, test = splits
    for data in splits:
        middle = data.clips(torch.arange(len(data)))[:, 4].float().mean((2, 3))
        assert (middle[data.labels == 0].mean(0) - middle[data.labels == 1].mean(0)).abs().max() < 5
    back = test.clips(torch.arange(len(test))).flip(1).flatten(1, 2)
    made = distill(make("dm", iterations=1), train, 40, network=NET)
    judged = Protocol(epochs=20, lr=0.05, batch=40)
    forth, turned = (evaluate(made, d, protocol=judged, repeats=1).mean for d in (test, replace(test, images=back)))
    assert forth > 0.8 > 0.2 > turned


def test_the_command(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", str(folder), "--size", "16"]) == 0
    said = capsys.readouterr().out
    assert "frames: 8" in said
    assert "verdict: it can be used" in said
    short = ["--size", "16", "--frames", "4"]
    given = ["--method", "dm", "--ipc", "1", "--set", "iterations=1", "--out", "s.safetensors"]
    command = ["distill", str(folder), *short, "--network", "convnet-gru:depth=1,width=4,frames=4", *given]
    assert main([*command, "--set", "augment=true"]) == 2
    assert "dm: augment = true: must be false on clips, of which none is defined" in capsys.readouterr().err
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "dm of moves: 80 clips of 4 frames, which are not augmented, 2 classes, 12x16x16;" in said
    assert "augment=False" in said
    with Image.open("s.png") as picture:
        assert picture.width % (4 * 16 + 2) == 0  # one clip a row, its four frames side by side, magnified
    card = (tmp_path / "s.md").read_text()
    assert "2 clips of 4 frames of 3x16x16" in card
    assert "--size 16 --frames 4" in card
    judged = ["--set", "epochs=2", "--repeats", "1", "--no-real"]
    assert main(["evaluate", "s.safetensors", str(folder), *short, *judged]) == 0


@pytest.fixture
def few(tmp_path):
    for half in ("train", "test"):
        for name in ("a", "b"):
            for number in range(3):
                write(tmp_path / "few" / half / name / f"{number}.mp4", noise(16, 16, 24, seed=number))
    return tmp_path / "few"


def test_what_cannot_be_read_is_named_or_left_out(few):
    (few / "train/b/1.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"train/b/1.mp4 cannot be read as a video \(the file is empty\).*--skip-bad"):
        load(str(few), size=16)
    with pytest.warns(UserWarning, match="1 videos in .* cannot be read and are left out"):
        train, _ = load(str(few), size=16, skip_bad=True)
    assert train.counts().tolist() == [3, 2]
    report = check_folder(few, Reading(size=16))
    assert report["unreadable"] == {"train/b/1.mp4": "the file is empty"}


def test_skipping_decodes_nothing_again(few, monkeypatch):
    """Whether unreadable videos are left out or an error: the clips of the others are the same."""
    (few / "test/a/0.mp4").write_bytes(b"")
    (few / "train/b/1.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"(?s)2 videos in .*--skip-bad.*train/b/1.mp4: .*test/a/0.mp4: the file is"):
        load(str(few), size=16)
    monkeypatch.setattr(clips, "clip", lambda *_: pytest.fail("decoded again"))
    with pytest.warns(UserWarning, match="2 videos in .* cannot be read and are left out"):
        train, test = load(str(few), size=16, skip_bad=True)
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
    assert list(train.files[3:]) == ["train/b/0.mp4", "train/b/2.mp4"]


@pytest.mark.filterwarnings("ignore:.*left out")
def test_too_few_that_can_be_read(few):
    (few / "train/b/0.mp4").write_bytes(b"")
    (few / "train/b/1.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="train/b holds one video: a class needs at least 2"):
        load(str(few), size=16, skip_bad=True)
    assert "holds one video" in check_folder(few, Reading(size=16))["verdict"]
    (few / "train/b/2.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"class 'b': none of its 3 files in the train half can be read"):
        load(str(few), size=16, skip_bad=True)


def test_many_clips_stay_on_the_disk(few, tmp_path, monkeypatch):
    """The same numbers as in memory, whoever decodes them: one process, or several that have a clip at a time."""
    inside = load(str(few), size=16)
    monkeypatch.setattr(films, "HELD", 0)
    outside = load(str(few), size=16)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(clips, "AT_ONCE", 1)
    monkeypatch.setattr(films, "FEW", 0)
    again = load(str(few), size=16)
    for held, disk, other in zip(inside, outside, again, strict=True):
        assert isinstance(disk.images, Stored)
        assert isinstance(other.images, Stored)
        assert torch.equal(held.images, disk.images[:])
        assert torch.equal(held.images, other.images[:])
        assert (held.mean, held.std) == (disk.mean, disk.std) == (other.mean, other.std)
    whole = inside.train.clips(torch.arange(6)).transpose(0, 2).flatten(1).double() / 255  # of each colour
    assert torch.allclose(whole.mean(1), torch.tensor(inside.train.mean[:3], dtype=torch.float64))
    assert torch.allclose(whole.std(1, unbiased=False), torch.tensor(inside.train.std[:3], dtype=torch.float64))
    few.rename(few.with_name("moved"))  # found again by content
    monkeypatch.setattr(clips, "clip", lambda *_: pytest.fail("decoded again"))
    assert len(load(str(few.with_name("moved")), size=16).train) == 6


def test_centres_are_cut_out(tmp_path):
    """Of a video that is wider than high, whose sides are black."""
    frames = np.zeros((24, 16, 32, 3), np.uint8)
    frames[:, :, 8:24] = 200
    for name in ("train/a/0.mp4", "train/a/1.mp4", "train/b/0.mp4", "train/b/1.mp4"):
        write(tmp_path / "wide" / name, frames)
    train, test = load(str(tmp_path / "wide"), size=16, need="train")
    assert (train.images == 200).all()
    assert len(test) == 0


SLOW = """
import time
from bilp_core.data import clips, load
usual = clips.clip
def slow(*args):
    time.sleep(0.3)
    return usual(*args)
clips.clip, clips.AT_ONCE = slow, 1
load({folder!r}, size=16)
"""


def test_decoding_that_is_killed_goes_on(few, cache, monkeypatch):
    """By kill -9; no clip that was decoded is decoded again."""
    root = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", SLOW.format(folder=str(few))], cwd=root, env=dict(os.environ))

    def flags():
        return b"".join(path.read_bytes() for path in cache.glob("*/t*_done")).count(1)

    wait_until(lambda: flags() >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, read, usual = flags(), [], clips.clip
    assert 3 <= done < 12
    monkeypatch.setattr(clips, "AT_ONCE", 1)
    monkeypatch.setattr(clips, "clip", lambda *args: read.append(args) or usual(*args))
    train, test = load(str(few), size=16)
    assert len(read) == 12 - done
    middle = noise(16, 16, 24, seed=2)[1::2, :, 4:20].transpose(0, 3, 1, 2).reshape(24, 16, 16)
    for data in (train, test):
        for row in (2, 5):
            assert np.array_equal(data.images[row].numpy(), middle)


def test_a_folder_that_changes_while_it_is_read_is_read_anew(few, monkeypatch):
    usual = clips.clip

    def spoilt(path, frames):
        if path.name == "2.mp4" and path.parts[-3:-1] == ("test", "b"):  # the last one
            write(few / "train/a/0.mp4", noise(16, 16, 24, seed=9))
        return usual(path, frames)

    with monkeypatch.context() as patched:
        patched.setattr(clips, "clip", spoilt)
        with pytest.raises(InputError, match="was changed while it was read"):
            load(str(few), size=16)
    train, _ = load(str(few), size=16)
    wanted = noise(16, 16, 24, seed=9)[1::2, :, 4:20].transpose(0, 3, 1, 2).reshape(24, 16, 16)
    assert np.array_equal(train.images[0].numpy(), wanted)


def test_a_disk_without_room_is_said_before(few, monkeypatch):
    monkeypatch.setattr("bilp_core.data.large.shutil.disk_usage", lambda _: type("", (), {"free": 1000})())
    with pytest.raises(InputError, match=r"make room, or name another place with \$BILP_CACHE"):
        load(str(few), size=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "holds videos: give the size of their clips in pixels, such as --size 64"),
        ({"size": 16, "frames": 1}, "frames = 1: must be from 2 to 64"),
    ],
)
def test_settings_of_videos(few, options, message):
    with pytest.raises(InputError, match=message):
        load(str(few), **options)
    assert folder_identity(few, Reading()) != folder_identity(few, Reading(frames=4))


def test_videos_beside_images_stay_out(few):
    """As in the folders of telephones; and frames are of videos."""
    for half in ("train", "test"):
        for name in ("a", "b"):
            for number in range(2):
                Image.new("RGB", (16, 16), (number, 0, 0)).save(few / half / name / f"{number}.png")
    train, _ = load(str(few))
    assert (train.frames, train.shape, len(train)) == (1, (3, 16, 16), 4)
    with pytest.raises(InputError, match="frames = 8: is of videos, and .* holds images"):
        load(str(few), frames=8)


def test_the_network_of_small_clips_by_itself(splits):
    assert make("dm").network(splits.train) == default_network((24, 16, 16), 8) == "convnet-gru"
