"""Somebody's own folder of images: its name decides nothing, its size and shape do."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from bilp_core.cli.main import main
from bilp_core.data import DATASETS, ImageData, load
from bilp_core.distillers import METHODS, distill, make, suited
from bilp_core.evaluation import protocol
from bilp_core.indicators import INDICATORS, options_of, resolve, score, scored
from bilp_core.nets import PROBES, default_network, norm_positions, probe_for
from bilp_core.trials import Trial

NET = "convnet:depth=1,width=4"
NAMES = ("photos", *sorted({*DATASETS, *PROBES}))


def draw(name: str, rng: np.random.Generator, side: int = 32) -> Image.Image:
    """A bright shape somewhere on dark noise."""
    image = Image.fromarray(rng.integers(0, 120, (side, side, 3), dtype=np.uint8))
    pen, (x, y) = ImageDraw.Draw(image), rng.integers(side // 4 + 1, side - side // 4 - 1, 2)
    r, ink = int(rng.integers(side // 6, side // 4 + 1)), tuple(int(v) for v in rng.integers(130, 255, 3))
    if name == "circle":
        pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)
    elif name == "square":
        pen.rectangle([x - r, y - r, x + r, y + r], fill=ink)
    elif name == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    else:
        pen.line([x - r, y, x + r, y], fill=ink, width=side // 8)
        pen.line([x, y - r, x, y + r], fill=ink, width=side // 8)
    return image


def drawn(root: Path, train: int, test: int, side: int = 32) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("circle", "cross", "square", "triangle"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                draw(name, rng, side).save(root / split / name / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same pictures under the names of data sets that have settings of their own."""
    home = tmp_path_factory.mktemp("folders")
    return {name: drawn(home / name, 6, 2, side=8) for name in NAMES}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "records"))
    return tmp_path


@pytest.fixture
def own(folders, here):
    return {name: load(str(folder)).train for name, folder in folders.items()}


def test_no_setting_hangs_on_a_folder_s_name(own):
    photos = own["photos"]
    assert {data.named for data in own.values()} == {""}
    for data in own.values():
        assert probe_for(data) == probe_for(photos)
        for indicator in INDICATORS:
            assert resolve(indicator, data, {}) == resolve(indicator, photos, {})
        for method in METHODS:
            assert suited(method, data) == suited(method, photos)
            assert make(method).resolved(data, 1) == make(method).resolved(photos, 1)
            assert protocol(method, data, ipc=1, factor=2) == protocol(method, photos, ipc=1, factor=2)


def test_the_same_pictures_give_the_same_scores_and_sets(own):
    probe = {"trials": 1, "epochs": 2, "network": NET}
    tiny = {
        "dc": {}, "idc": {"inner": 2},
        "mtt": {"experts": 1, "epochs": 8, "steps": 2, "expert_batch": 8, "step_lr": 1e-9},
    }  # fmt: skip
    scores, sets = {}, {}
    for name in ("photos", "mnist", "digits"):
        scores[name] = scored(own[name], "loss", **probe).values
        sets[name] = [
            distill(make(method, iterations=1, **options), own[name], 1, network=NET).images
            for method, options in tiny.items()
        ]
    for name in ("mnist", "digits"):
        assert torch.equal(scores[name], scores["photos"])
        assert all(torch.equal(a, b) for a, b in zip(sets[name], sets["photos"], strict=True))


def test_names_of_ours_still_decide(own):
    for name in PROBES:
        assert asdict(PROBES[name]).items() <= options_of("loss", name).items()
    assert probe_for(replace(own["photos"], named="mnist")) == PROBES["mnist"]
    assert Trial("digits").network == "convnet"  # and the keys of what was stored


@pytest.mark.parametrize(("count", "batch"), [(8, 4), (160, 16), (1352, 128), (50_000, 512)])
def test_the_probe_follows_the_size(count, batch):
    images, labels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    data = ImageData(images.expand(count, -1, -1, -1), labels.expand(count), ("a", "b"), (0.5,) * 3, (0.5,) * 3, "own")
    found = probe_for(data)
    assert found.batch == batch
    assert found.batch <= max(4, count / 8)
    assert found.epochs * -(-count // found.batch) >= 300


@pytest.mark.parametrize("side", [4, 8, 12, 16, 28, 32, 48, 64, 96, 128, 256, 512])
def test_the_default_network_has_room_at_its_last_norm(side):
    for channels in (1, 3):
        assert norm_positions(default_network((channels, side, side)), (channels, side, side)) >= 9 + 7 * (side != 12)


def test_networks_that_hardly_learned_are_said(own):
    with pytest.warns(UserWarning, match=r"hardly learned: they name .* where chance is 25.0%.*more epochs"):
        score(own["photos"], "loss", trials=1, epochs=1, lr=1e-6, network=NET)
    found = scored(own["photos"], "loss", trials=2, epochs=40, lr=0.05, network=NET)
    assert found.learned > 0.6
    assert found.doubt(own["photos"]) == ""


def test_a_network_without_room_is_warned_about(own):
    with pytest.warns(UserWarning, match=r"normalises 8x8 images over 4 positions at last.*depth=2,width=32 has 16"):
        distill(make("dm", iterations=1), own["photos"], 1, network="convnet:depth=3,width=4")


def test_half_a_folder_is_enough(folders, here, capsys):
    """Only train/ to score and distil, only test/ to evaluate: and then real images to compare with are missing."""
    for half in ("train", "test"):
        (here / half).mkdir()
        (here / half / half).symlink_to(folders["photos"] / half)
    assert main(["score", "train", "--out", "s.npz", "--set", "trials=1", "epochs=1", f"network={NET}"]) == 0
    assert main(["distill", "train", "--out", "s.safetensors", "--network", NET, "--set", "iterations=1"]) == 0
    said = capsys.readouterr()
    assert "dc of train: 24 images, 4 classes, 3x8x8; network=convnet:depth=1,width=4 ipc=1 init=noise" in said.err
    assert "of the training images (chance 25.0%)" in said.out
    evaluation = ["evaluate", "s.safetensors", "test", "--repeats", "1", "--set", "epochs=1"]
    assert main(evaluation) == 0
    said = capsys.readouterr()
    assert "chance 25.00 %\nnot compared with real images: the data have no training half" in said.out
    assert "±" not in said.out
    assert main(["evaluate", "s.safetensors", "train", "--repeats", "1"]) == 2
    assert main(["distill", "test", "--out", "a.safetensors"]) == 2


def test_a_misspelt_method_of_an_evaluation_is_refused(folders, here, capsys):
    photos = str(folders["photos"])
    assert main(["distill", photos, "--out", "s.safetensors", "--network", NET, "--set", "iterations=1"]) == 0
    assert main(["evaluate", "s.safetensors", photos, "--method", "dcc"]) == 2
    assert "method 'dcc' has no evaluation protocol. Did you mean 'dc'?" in capsys.readouterr().err
    assert main(["evaluate", "s.safetensors", photos, "--set", "epochs=0"]) == 2
    assert "epochs = 0 of the evaluation" in capsys.readouterr().err


def test_planted_wrong_labels_are_ranked_high_in_every_class(here):
    """With the probe's own batch, steps and rate, on a folder of 160 images."""
    train = load(str(drawn(here / "shapes", 40, 2))).train
    wrong = torch.cat([train.of_class(c)[:4] for c in range(4)])
    planted = train.labels.clone()
    planted[wrong] = (planted[wrong] + 1) % 4
    data = replace(train, labels=planted)
    found = scored(data, "loss", trials=4, network="convnet:width=32")
    assert found.learned > 0.7
    places = []
    is_wrong = torch.zeros(len(data), dtype=torch.bool).index_fill(0, wrong, True)
    for c in range(4):
        bad, good = (found.values[(planted == c) & chosen] for chosen in (is_wrong, ~is_wrong))
        places.append(float((bad[:, None] > good[None]).float().mean()))  # by chance 0.5
    assert min(places) > 0.6
    assert sum(places) / 4 > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_runs_for_small_data_are_short_and_may_be_changed(own, method):
    short = make(method, **suited(method, own["photos"]))
    assert short.iterations < make(method).iterations
    large = ImageData(
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(5000, -1, -1, -1), torch.zeros(5000, dtype=torch.int64),
        ("a", "b"), (0.5,) * 3, (0.5,) * 3, "own",
    )  # fmt: skip
    assert suited(method, large) == {}
    for name in set(DATASETS) - {"digits"}:
        assert suited(method, replace(own["photos"], named=name)) == {}


# What makes the walk last seconds: smaller networks, and fewer of them.
SHORTER = {
    r"\bDATA\b": "shapes",
    r"\btrials=3\b": "trials=1 network=convnet:width=16",
    r"--method idc": "--method idc --set inner=12",
    r"--repeats 5": "--repeats 3 --set epochs=300",
}


def walk() -> list[list[str]]:
    """The commands of the README's section, without `bilp`."""
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    section = readme.split("## Your own data", 1)[1].split("```bash", 1)[1].split("```", 1)[0]
    section = re.sub(r"\s+#.*", "", section)
    for pattern, shorter in SHORTER.items():
        assert re.search(pattern, section), pattern
        section = re.sub(pattern, shorter, section)
    return [line.split()[1:] for line in section.splitlines() if line.strip()]


def test_the_newcomer_s_walk_ends_better_than_real_images(here, capsys):
    """The README line by line, on 4 classes of 40 drawn images of 32x32: the set is clearly better, and says so."""
    drawn(here / "shapes", 40, 20)
    for words in walk():
        assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "the set is better than as many random real images by" in said
    report = json.loads((here / "accuracy.json").read_text())
    assert report["chance"] == 0.25
    assert report["random_real"]["images_per_class"] == 1
    assert report["mean"] > report["random_real"]["mean"] + 0.05
