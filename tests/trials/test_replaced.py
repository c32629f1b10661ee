"""When every image of a folder is replaced under its name, nothing of the old ones is found again, in one process."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.book import building
from bilp_core.book.chapter import Chapter
from bilp_core.cli.main import main
from bilp_core.data import folders, load
from bilp_core.distillers import experts
from bilp_core.errors import InputError
from bilp_core.trials import Trial, run, work

NET = "convnet:depth=1,width=4"
SCORE = {"trials": 1, "epochs": 1, "network": NET}


def draw(folder, seed):
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(6):  # BMP: each file is as long as the one that it replaces
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.bmp")


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    draw(tmp_path / "pets", 0)
    return tmp_path / "pets"


def numbers(folder, capsys):
    """Of everything that is stored and found again: what it is now."""
    train, test = load(str(folder))
    trial = Trial(
        str(folder), method="dm", criterion="loss", ratio=0.5, network=NET, score=SCORE, options={"iterations": 1},
        evaluation={"epochs": 1}, repeats=2,
    )  # fmt: skip
    record = run([trial], "records", engine="inline", progress=False).iloc[0]
    assert main(["score", str(folder), "--set", "trials=1", "epochs=1", f"network={NET}", "--out", "s.npz"]) == 0
    with np.load("s.npz") as file:
        scores, about = file["scores"].tolist(), json.loads(str(file["about"]))
    chapter, values = Chapter("chapters/first", ""), {"data": str(folder)}
    return {
        "train": train.images.tolist(),
        "test": test.images.tolist(),
        "record": record["key"],
        "scores": scores,
        "fingerprint": about["fingerprint"],
        "chapter": building._key(folder.parent, "", chapter, values),
        "experts": experts.key(train, NET, experts.Training()),
        "relative": building._key(folder.parent, "", chapter, {"data": folder.name}),
    }


def test_new_images_give_new_numbers(pets, capsys, monkeypatch):
    first = numbers(pets, capsys)
    made = []
    monkeypatch.setattr(work, "run_trial", lambda *given, real=work.run_trial: made.append(given) or real(*given))
    assert numbers(pets, capsys) == first
    assert not made  # found again
    draw(pets, 1)
    second = numbers(pets, capsys)
    assert [name for name in first if first[name] == second[name]] == []
    assert made
    draw(pets, 0)
    assert numbers(pets, capsys) == first


def test_a_change_in_the_same_tick_of_the_clock_is_seen(pets, monkeypatch):
    """Size, times and inode of a file may all stay when it is written twice in quick succession."""
    file = pets / "train/cat/0.bmp"
    before = folders.folder_identity(pets, folders.Reading())
    real = type(file).stat
    frozen = {path: real(path) for path in pets.rglob("*.bmp")}
    draw(pets, 1)
    monkeypatch.setattr(type(file), "stat", lambda path, **more: frozen.get(path) or real(path, **more))
    assert folders.folder_identity(pets, folders.Reading()) != before


def test_what_changes_while_it_is_read_is_refused(pets, monkeypatch):
    def slow(*given, real=folders._decode):
        made = real(*given)
        draw(pets, 1)
        return made

    monkeypatch.setattr(folders, "_decode", slow)
    with pytest.raises(InputError, match="changed while it was read"):
        load(str(pets))
    monkeypatch.undo()
    monkeypatch.setattr(work, "load", lambda *given, real=work.load, **more: (real(*given, **more), draw(pets, 2))[0])
    trial = Trial(str(pets), method="dm", network=NET, options={"iterations": 1}, evaluation={"epochs": 1}, repeats=2)
    with pytest.raises(InputError, match="changed while it was read"):
        run([trial], "records", engine="inline", progress=False)


def test_keys_tell_speed_and_mirroring(pets, monkeypatch):
    train = load(str(pets), need="train").train
    chapter = Chapter("chapters/first", "")
    before = building._key(pets, "", chapter, {"seeds": 1}), experts.key(train, NET, experts.Training())
    monkeypatch.setenv("BILP_SPEED", "auto")
    assert building._key(pets, "", chapter, {"seeds": 1}) == before[0]
    monkeypatch.setenv("BILP_SPEED", "plain")
    after = building._key(pets, "", chapter, {"seeds": 1}), experts.key(train, NET, experts.Training())
    assert not set(before) & set(after)


def test_a_stopped_distillation_is_not_gone_on_with_for_mirrored_images(pets):
    from bilp_core.data import fingerprint

    plain, mirrored = (load(str(pets), flip=flip).train for flip in (False, True))
    assert torch.equal(plain.images, mirrored.images)
    assert fingerprint(plain) != fingerprint(mirrored)
