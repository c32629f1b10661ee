"""Somebody's own folder of videos, from files to accuracies: classes that differ only in the direction of motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.data import check_folder, load
from bilp_core.data.folders import Reading, folder_identity
from bilp_core.distillers import distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import Protocol, evaluate
from bilp_core.indicators import score
from bilp_core.nets import default_network
from bilp_core.pruning import keep

from .data.videos import moving, noise, write

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
    return load(str(folder), size=16)


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
    assert main(["distill", str(folder), *short, "--network", "convnet-gru:depth=1,width=4,frames=4", *given]) == 0
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
