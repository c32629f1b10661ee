"""bilp compare, from files of several kinds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.data import load
from bilp_core.indicators import save_scores, score


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Random scores of digits, and what follows from them: their cubes, their negatives, and other random ones."""
    monkeypatch.chdir(tmp_path)
    train = load("digits").train
    one, other = (score(train, "random", seed=seed) for seed in (0, 1))
    for name, values in {"one": one, "cubes": one**3, "negative": -one, "other": other}.items():
        save_scores(f"{name}.npz", values, train)
    np.save("one.npy", one.numpy())
    (tmp_path / "cubes.json").write_text(json.dumps((one**3).tolist()))
    by_class = [(one**3)[train.labels == c].tolist() for c in range(10)]
    (tmp_path / "classes.json").write_text(json.dumps(by_class))
    return tmp_path


def report(capsys, *words):
    assert main(["compare", *words, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("files", [
    ("one.npz", "cubes.npz"), ("one.npz", "cubes.json"), ("classes.json", "one.npz"), ("one.npz", "one.npy"),
    ("classes.json", "classes.json"), ("one.npy", "cubes.json", "--data", "digits"),
    ("one.npy", "classes.json", "--data", "digits"), ("cubes.npz", "one.npz", "--data", "digits"),
])  # fmt: skip
def test_equal_rankings_in_files_of_any_kind(files, here, capsys):
    found = report(capsys, *files)
    assert found["mean"] == pytest.approx(1)
    assert [row["share"] for row in found["kept"]] == [0.01, 0.1, 0.4]
    assert [row["both"] for row in found["kept"]] == [1, 1, 1]
    assert found["samples"] == 1352
    assert [entry["samples"] for entry in found["classes"].values()] == load("digits").train.counts().tolist()


def test_reversed_and_unrelated_rankings(here, capsys):
    found = report(capsys, "one.npz", "negative.npz", "--shares", "0.4")
    assert found["mean"] == pytest.approx(-1)
    assert found["kept"][0]["both"] == 0
    assert report(capsys, "one.npz", "negative.npz", "--drop", "largest", "smallest")["kept"][0]["both"] == 1
    found = report(capsys, "one.npz", "other.npz", "--shares", "0.4")
    assert abs(found["mean"]) < 0.15
    assert found["kept"][0]["both"] == pytest.approx(found["kept"][0]["chance"], abs=0.1)
    assert found["kept"][0]["chance"] == pytest.approx(0.4, abs=0.01)


def test_it_is_shown_and_drawn(here, capsys):
    assert main(["compare", "one.npz", "cubes.npz", "--figure", "f.png", "--shares", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0", "134", "1.000"]
    assert lines[-1] == "kept  50.0%: of what one keeps, the other keeps 100.0% (by chance 50.2%)"  # 69 of 137
    with Image.open("f.png") as picture:
        assert picture.size[0] > 1000


@pytest.mark.parametrize(("words", "why"), [
    (["one.npy", "cubes.json"], "neither one.npy nor cubes.json says of which class each sample is: name"),
    (["one.npy", "classes.json"], "do not both list their scores class by class"),
    (["one.npz", "few.json"], "few.json holds 3 scores, one.npz has 1352 samples: must be of the same data"),
    (["one.npz", "groups.json"], "groups.json has 1352 scores of the classes, one.npz has 134, 137, 133"),
    (["one.npz", "shuffled.npz"], "the first label that differs is that of sample 0"),
    (["one.npz", "half.npz"], "the two hold scores of different samples: one.npz of 'digits', half.npz of 'digits'"),
    (["half.npz", "one.npz", "--data", "digits"], "half.npz holds scores of other data"),
    (["one.npz", "words.json"], "words.json holds scores <U3 [2]: must be one row of real numbers"),
    (["one.npz", "mixed.json"], "mixed.json holds no list of numbers, and no list of such lists"),
    (["one.npz", "not.json"], "not.json: no such file"),
    (["one.npz", "nan.npy"], "nan.npy: score 2 is not finite"),
    (["one.npz", "cubes.npz", "--shares", "10"], "share = 10: what is kept of each class must be in (0, 1), such"),
    (["one.npz", "cubes.npz", "--drop", "hard"], "drop = 'hard': must be one of largest, smallest"),
    (["one.npz", "cubes.npz", "--figure", "f.jpg"], "the name must end in .png"),
])  # fmt: skip
def test_what_is_refused(words, why, here, capsys):
    train = load("digits").train
    for name, content in {
        "few": [1, 2, 3], "words": ["one", "two"], "mixed": [1, [2]], "groups": [np.arange(1352.0).tolist()],
    }.items():  # fmt: skip
        (here / f"{name}.json").write_text(json.dumps(content))
    np.savez("shuffled.npz", scores=np.arange(1352), labels=train.labels.numpy()[::-1])
    np.save("nan.npy", [1, 2, np.nan])
    half = train.subset(torch.arange(0, 1352, 2))
    save_scores("half.npz", score(half, "random"), half)
    assert main(["compare", *words]) == 2
    assert why in capsys.readouterr().err
