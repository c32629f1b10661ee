"""bilp import, export, merge, show, distil --init: as a person types them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bilp_core.cli.main import main
from bilp_core.data import load
from bilp_core.evaluation import baselines
from bilp_core.synthetic import Formation, SyntheticSet, initial

NET = "convnet:depth=1,width=4"
FAST = ["--set", "epochs=3", "--repeats", "2", "--no-real"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(baselines, "CHECK_EPOCHS", 30)
    return tmp_path


@pytest.fixture(scope="module")
def real() -> SyntheticSet:
    made = initial(load("digits").train, 2, "real", torch.Generator().manual_seed(0))
    return replace(made, meta={"method": "dm", "network": NET, "named": "digits", "data": "digits", "flip": False})


def said(capsys, *words: str) -> str:
    assert main(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def accuracies(capsys, name: str) -> list[float]:
    return json.loads(said(capsys, "evaluate", name, "digits", *FAST, "--json", "-"))["accuracies"]


def test_somebody_elses_file_is_read_evaluated_written_and_read_again(here, real, capsys):
    torch.save([real.natural(), real.labels], "data.pt")
    words = ["import", "data.pt", "--like", "idc", "--data", "digits", "--out", "s.safetensors", "--network", NET]
    assert main(words) == 2
    assert "--factor 1 for IDC-I" in capsys.readouterr().err
    told = said(capsys, *words, "--factor", "1")
    assert "data.pt, as idc saves it: 20 images of 1x8x8, 10 classes, 2 a class" in told
    assert float(re.search(r"names ([\d.]+)% of the training images", told)[1]) > 20
    assert {"s.safetensors", "s.png", "s.md"} <= {path.name for path in here.iterdir()}
    before = accuracies(capsys, "s.safetensors")
    for to in ("pt", "npz"):
        assert "README.md" in said(capsys, "export", "s.safetensors", "--to", to, "--out", to)
        said(capsys, "import", to, "--like", to, "--data", "digits", "--out", f"{to}.safetensors")
        assert accuracies(capsys, f"{to}.safetensors") == before


def test_the_command_that_a_readme_names_works(here, real, capsys):
    folder = replace(real, meta={**real.meta, "named": ""})  # of which nobody knows the numbers
    for to in ("pt", "dc", "datm", "idc"):
        folder.save("s.safetensors")
        said(capsys, "export", "s.safetensors", "--to", to, "--out", to)
        line = re.search(r"^bilp (import .*)$", (here / to / "README.md").read_text(), re.M)[1]
        words = line.replace("DATA", "digits").replace("RATE", "0.01").split()
        files = [str(here / to / word) if (here / to / word).exists() else word for word in words]
        assert "names" in said(capsys, *files)
        again = SyntheticSet.load("s.safetensors")
        assert again.meta["method"] == "dm"
        assert torch.allclose(again.images, real.images, atol=1e-6)


def test_images_of_other_classes_are_warned_of(here, real, capsys):
    turned = (real.labels + 1) % 10
    torch.save([real.natural(), turned], "data.pt")
    words = ["import", "data.pt", "--like", "idc", "--data", "digits", "--factor", "1", "--out", "s.safetensors"]
    assert main([*words, "--network", NET]) == 0
    assert (
        "the images teach next to nothing of these classes: another order of them (--classes)"
        in capsys.readouterr().err
    )


def test_numbers_that_are_none(here, real, capsys):
    torch.save({"data": [[real.images, real.labels]]}, "res_DC_digits_ConvNet_2ipc.pt")
    words = ["import", "res_DC_digits_ConvNet_2ipc.pt", "--like", "dc", "--data", "digits", "--out", "s.safetensors"]
    assert main([*words, "--mean", "a"]) == 2
    assert "mean = 'a': must be numbers, data, or a data set" in capsys.readouterr().err
    assert main([*words, "--mean", "0.5", "--std", "b"]) == 2
    assert "'b': must be a number a channel" in capsys.readouterr().err
    assert main([*words, "--mean", "cifar10", "--std", "0.2"]) == 2
    assert "mean = cifar10, std = (0.2,): must be 1 numbers each" in capsys.readouterr().err
    assert main([*words, "--mean", "0.5", "0.5", "--std", "0.2"]) == 2
    assert "mean = (0.5, 0.5), std = (0.2,): must be 1 numbers each" in capsys.readouterr().err
    assert main([*words, "--zca", "pca"]) == 2
    assert "zca = 'pca': must be one of none, absolute, relative, channels" in capsys.readouterr().err


def test_a_folder_says_what_clipping_costs(here, real, capsys):
    bright = replace(real, images=real.images * 2)
    bright.save("s.safetensors")
    told = said(
        capsys,
        "export",
        "s.safetensors",
        "--to",
        "folder",
        "--out",
        "out",
        "--data",
        "digits",
        "--repeats",
        "1",
        "--set",
        "epochs=3",
    )
    share = float(((bright.natural() < 0) | (bright.natural() > 1)).double().mean())
    assert f"{share:.2%} of their values are not in [0, 1] and were clipped" in told
    assert re.search(r"accuracy as it was: [\d.]+ % over 1 networks", told)
    assert re.search(r"accuracy exported: [\d.]+ % over 1 networks", told)
    train = load("out", need="train").train
    assert np.array_equal(train.images.numpy(), bright.pixels().numpy()), "a folder of images like any other"


def test_a_card_knows_accuracies(here, real, capsys):
    real.save("s.safetensors")
    assert "None yet" in said(capsys, "show", "s.safetensors")
    values = accuracies(capsys, "s.safetensors")
    card = said(capsys, "show", "s.safetensors")
    assert f"{100 * np.mean(values):.2f} ± {100 * np.std(values):.2f} % on digits, 2 networks" in card
    assert "bilp evaluate s.safetensors digits --method dm --network convnet:depth=1,width=4" in card
    assert card == (here / "s.md").read_text()
    replace(real, images=-real.images).save("s.safetensors")
    assert "None yet" in said(capsys, "show", "s.safetensors"), "another set of the same name"


def test_a_distilled_set_has_a_card_and_goes_on(here, capsys):
    np.save("kept.npy", np.arange(0, 1352, 2))
    words = ["distill", "digits", "--method", "dm", "--network", NET, "--set", "iterations=2"]
    said(capsys, *words, "--keep", "kept.npy", "--trust-indices", "--out", "a.safetensors")
    card = (here / "a.md").read_text()
    for part in (
        "1 a class; made by dm of digits",
        "Real images: 676, 50.0% of 1352",
        "iterations=2",
        "Protocol: epochs=",
    ):
        assert part in card
    said(capsys, *words, "--init", "a.safetensors", "--out", "b.safetensors")
    first, second = (SyntheticSet.load(f"{name}.safetensors") for name in "ab")
    assert second.meta["continues"]["method"] == "dm"
    assert not torch.equal(first.images, second.images)
    assert "Goes on from: " in (here / "b.md").read_text()
    assert main([*words, "--init", "none.safetensors", "--out", "c.safetensors"]) == 2
    assert "none.safetensors: no such file" in capsys.readouterr().err


def test_merged_sets_are_evaluated_on_all_classes(here, real, capsys):
    for name, classes in (("low", range(5)), ("high", range(5, 10))):
        mine = torch.isin(real.labels, torch.tensor(classes))
        part = replace(
            real,
            images=real.images[mine],
            labels=real.labels[mine] - classes[0],
            classes=real.classes[classes[0] : classes[-1] + 1],
        )
        part.save(f"{name}.safetensors")
    assert "classes: 0, 1, 2, 3" in said(
        capsys, "merge", "high.safetensors", "low.safetensors", "--out", "all.safetensors"
    )
    real.save("real.safetensors")
    assert torch.equal(SyntheticSet.load("all.safetensors").images, real.images)
    assert accuracies(capsys, "all.safetensors") == accuracies(capsys, "real.safetensors")
    assert main(["merge", "high.safetensors", "high.safetensors", "--out", "x.safetensors"]) == 2
    assert "must be at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("stored", [True, False])
def test_decoded_images_are_judged_by_the_protocol_of_the_stored_ones(here, real, capsys, stored):
    """IDC's has CutMix on digits only where an image stands for itself."""
    replace(real, formation=Formation(2), meta={**real.meta, "method": "idc"}).save("s.safetensors")
    said(capsys, "export", "s.safetensors", "--to", "npz", "--out", "out", *["--stored"] * stored)
    said(capsys, "import", "out", "--like", "npz", "--data", "digits", "--out", "again.safetensors")
    assert len(SyntheticSet.load("again.safetensors").images) == (20 if stored else 80)
    for name in ("s", "again"):
        said(capsys, "evaluate", f"{name}.safetensors", "digits", *FAST, "--json", f"{name}.json")
    first, second = (json.loads((here / f"{name}.json").read_text()) for name in ("s", "again"))
    assert first["protocol"] == second["protocol"]
    assert first["accuracies"] == second["accuracies"]


def test_layouts_are_listed(capsys):
    told = said(capsys, "layouts")
    assert re.search(r"^  mtt +read, written  images_best\.pt", told, re.M)
