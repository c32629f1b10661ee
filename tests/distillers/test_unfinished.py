"""Distillations that were stopped go on, to the very set that they would have given at once."""

from contextlib import nullcontext

import pytest
import torch

from bilp_core.distillers import METHODS, distill, state
from bilp_core.pruning import Adaptive
from bilp_core.utils.files import Unfinished

from .common import NET, short

CASES = [(name, None) for name in METHODS] + [("dc", Adaptive(0.4, 3)), ("idc", Adaptive(0.4, 3))]
CASES += [("frepo", Adaptive(0.4, 3)), ("rfad", Adaptive(0.4, 3)), ("kip", Adaptive(0.4, 3))]
ROUNDS = 5


class Stopped(Exception):
    pass


def made(name, adaptive, data, folder, stop_after=ROUNDS, seen=None, **settings):
    def progress(done, *_):
        if seen is not None:
            seen.append(done)
        if done > stop_after:
            raise Stopped

    network = "frepo-convnet:depth=2,width=4,norm=batch" if name == "frepo" else NET
    options = {"frepo": {"image_lr": 0.02}, "dc": {"inner": 2}, "dsa": {"inner": 2}}.get(name, {})
    method = short(name, iterations=ROUNDS, **options)
    settings = {"network": network, "init": "random" if name == "idc" else None, "seed": 0, **settings}
    with Unfinished(folder) if folder else nullcontext() as unfinished:
        return distill(method, data, 2, adaptive=adaptive, progress=progress, unfinished=unfinished, **settings)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "unfinished"


@pytest.fixture(autouse=True)
def always_due(monkeypatch):
    monkeypatch.setattr(state, "EVERY", 0)
    monkeypatch.setattr(state, "SHARE", 1e9)


@pytest.mark.filterwarnings("ignore:the expert recognises only")
@pytest.mark.parametrize(("name", "adaptive"), CASES)
def test_goes_on_to_the_same_set(name, adaptive, data, folder):
    whole = made(name, adaptive, data, None)
    with pytest.raises(Stopped):
        made(name, adaptive, data, folder, stop_after=2)  # in round 3, after which nothing is kept
    (file,) = folder.iterdir()
    seen = []
    resumed = made(name, adaptive, data, folder, seen=seen)
    assert seen == [2, 3, 4, 5]
    assert torch.equal(resumed.images, whole.images)
    assert torch.equal(resumed.labels, whole.labels)
    if whole.relabelled:
        assert resumed.relabelled.views.boxes.tolist() == whole.relabelled.views.boxes.tolist()
        assert torch.equal(resumed.relabelled.logits, whole.relabelled.logits)
    without = [{k: v for k, v in one.meta.items() if k not in ("seconds", "stage_seconds")} for one in (whole, resumed)]
    assert without[0] == without[1]
    assert not file.exists()


def test_time_counts_from_the_first_start(data, folder, monkeypatch):
    with pytest.raises(Stopped):
        made("dm", None, data, folder, stop_after=2)
    (file,) = folder.iterdir()
    kept = torch.load(file, weights_only=True)
    torch.save({**kept, "seconds": 1000.0}, file)
    assert 1000 < made("dm", None, data, folder).meta["seconds"] < 1100


@pytest.mark.parametrize("change", [{"seed": 1}, {"init": "noise"}, {"network": "mlp"}])
def test_other_settings_start_anew(change, data, folder):
    with pytest.raises(Stopped):
        made("dm", None, data, folder, stop_after=2)
    seen = []
    made("dm", None, data, folder, seen=seen, **change)
    assert seen == [1, 2, 3, 4, 5]


def test_other_images_start_anew(data, folder):
    with pytest.raises(Stopped):
        made("dm", None, data, folder, stop_after=2)
    seen = []
    made("dm", None, data.subset(torch.arange(1, 30)), folder, seen=seen)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_starts_anew_and_says_so(damage, data, folder):
    with pytest.raises(Stopped):
        made("dm", None, data, folder, stop_after=2)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:500] if damage is None else damage)
    seen = []
    with pytest.warns(UserWarning, match=f"{file.name}.*damaged"):
        made("dm", None, data, folder, seen=seen)
    assert seen == [1, 2, 3, 4, 5]


def test_nothing_is_kept_before_it_is_due(data, folder, monkeypatch):
    monkeypatch.setattr(state, "EVERY", 3600)
    with pytest.raises(Stopped):
        made("dm", None, data, folder, stop_after=2)
    assert not folder.exists()


def test_a_set_that_was_not_stored_is_not_lost(data, folder):
    seen, method = [], short("dm", iterations=ROUNDS)
    distill(method, data, 2, network=NET, unfinished=Unfinished(folder))
    with Unfinished(folder) as unfinished:
        distill(method, data, 2, network=NET, unfinished=unfinished, progress=lambda done, *_: seen.append(done))
    assert seen == [ROUNDS - 1, ROUNDS]
    assert not list(folder.iterdir())
