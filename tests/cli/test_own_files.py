"""Scores and kept indices of one folder, used with it and with another; lists of files; names that are no UTF-8."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bilp_core.cli.main import main

SCORE = ["--set", "trials=1", "epochs=1", "network=convnet:depth=1,width=4"]
DISTILL = ["--method", "dm", "--set", "iterations=1", "--network", "convnet:depth=1,width=4"]


def draw(folder, seed, classes=("cat", "dog")):
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    draw(tmp_path / "one", 0)
    draw(tmp_path / "two", 1)
    return tmp_path


def test_results_of_one_folder_are_refused_with_another(here, capsys):
    assert main(["score", "one", *SCORE, "--out", "s.npz"]) == 0
    assert main(["prune", "one", "--scores", "s.npz", "--ratio", "0.5", "--out", "k.npy"]) == 0
    for trust in ([], ["--trust-indices"]):
        capsys.readouterr()
        assert main(["prune", "two", "--scores", "s.npz", "--ratio", "0.5", "--out", "x.npy", *trust]) == 2
        said = capsys.readouterr().err
        for words in ("s.npz holds scores of other data", "'one' with 12 samples of 2 classes (cat, dog)", "not 'two'"):
            assert words in said
        assert "train/cat/0.png" in said
        assert main(["distill", "two", "--keep", "k.npy", *DISTILL, "--out", "x.safetensors", *trust]) == 2
        assert "k.npy holds indices of other data: 'one'" in capsys.readouterr().err
    assert not list(here.glob("x.*"))
    assert main(["distill", "one", "--keep", "k.npy", *DISTILL, "--out", "x.safetensors"]) == 0
    (here / "one").rename(here / "moved")  # the same samples, wherever they lie
    assert main(["distill", "moved", "--keep", "k.npy", *DISTILL, "--out", "x.safetensors"]) == 0


def test_a_mask_of_ones_own(here):
    np.save("mask.npy", np.arange(12) % 2 == 0)
    wanted = ["distill", "one", "--keep", "mask.npy", *DISTILL, "--out", "x.safetensors"]
    assert main(wanted) == 2
    assert main([*wanted, "--trust-indices"]) == 0


def test_lists_of_files(here):
    lists = ["--list", "kept.txt", "--list-removed", "removed.txt"]
    assert main(["prune", "one", "--drop", "random", "--ratio", "0.5", "--out", "k.npy", *lists]) == 0
    kept, gone = ((here / name).read_text().splitlines() for name in ("kept.txt", "removed.txt"))
    files = [f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(6)]
    assert kept == [files[i] for i in np.load("k.npy")]
    assert sorted(kept + gone) == files
    assert main(["prune", "digits", "--drop", "random", "--ratio", "0.9", "--out", "d.npy", "--list", "d.txt"]) == 0
    assert (here / "d.txt").read_text().split() == [str(i) for i in np.load("d.npy")]


def test_names_that_are_no_utf8(here):
    """In a process of its own, whose output takes UTF-8 and nothing else, or ASCII."""
    odd = b"caf\xe9"
    draw(here / "odd", 2, ("cat", os.fsdecode(odd)))
    for encoding in ("utf-8:strict", "ascii:strict"):
        words = ["prune", "odd", "--drop", "random", "--ratio", "0.5", "--out", "k.npy", "--list", "kept.txt"]
        done = subprocess.run(
            [sys.executable, "-m", "bilp_core.cli", *words],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert rb"caf\udce9: kept 3 of 6" in done.stdout
        assert b"train/caf\xe9/" in (here / "kept.txt").read_bytes()
    assert main(["distill", "odd", "--keep", "k.npy", *DISTILL, "--out", "x.safetensors"]) == 0


def test_a_name_with_a_line_break_cannot_be_listed(here, capsys):
    (here / "one/train/cat/0.png").rename(here / "one/train/cat/a\nb.png")
    assert main(["prune", "one", "--drop", "random", "--ratio", "0", "--out", "k.npy", "--list", "kept.txt"]) == 2
    assert "has a line break in its name" in capsys.readouterr().err
    assert not (here / "k.npy").exists()
