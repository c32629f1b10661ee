"""A part of the library that is raised invalidates what rests on it, and nothing else."""

import json

import pytest
import torch

from bilp_core.data import DATASETS, load
from bilp_core.distillers import METHODS, distill, experts, make
from bilp_core.indicators import INDICATORS, scored
from bilp_core.trials import Trial, run
from bilp_core.utils.files import Unfinished
from bilp_core.utils.revisions import REVISIONS

from .common import TINY

LOSS = {"criterion": "loss", "ratio": 0.5}
TRIALS = {
    "dc": Trial("digits"),
    "dc from real": Trial("digits", init="real"),
    "dm": Trial("digits", method="dm"),
    "dm, loss": Trial("digits", method="dm", **LOSS),
    "dm, loss, adaptive": Trial("digits", method="dm", adaptive=0.1, **LOSS),
    "dm, another loss": Trial("digits", method="dm", criterion="el2n", ratio=0.5),
    "dm, unused loss": Trial("digits", method="dm", criterion="loss"),
    "dm on cifar10": Trial("cifar10", method="dm"),
    "dm, own effect": Trial("digits", method="dm", ipc=10, adaptive=0.3, effect="sketch"),
    "idc, left to it": Trial("digits", method="idc", ipc=10, adaptive=0.3),
}
ALL = set(TRIALS)
PRUNING = {"dm, loss, adaptive", "dm, own effect", "idc, left to it"}
PROBE = {"trials": 1, "epochs": 1, "network": TINY["network"]}


def keys(what):
    return {name: getattr(trial, what) for name, trial in TRIALS.items()}


@pytest.fixture
def raised(monkeypatch):
    def put(part):
        monkeypatch.setitem(REVISIONS, part, REVISIONS.get(part, 1) + 1)

    return put


def test_the_table_names_parts_that_there_are():
    starts = {init for method in METHODS.values() for init in method.inits}
    kinds = {"method": METHODS, "indicator": INDICATORS, "data": [*DATASETS, "folder"], "init": starts}
    alone = {"core", "experts", "adaptive", "effects", "protocol"}
    known = alone | {f"{kind}:{name}" for kind, names in kinds.items() for name in names}
    assert set(REVISIONS) <= known
    assert all(part == "core" or number > 1 for part, number in REVISIONS.items())


@pytest.mark.parametrize(
    ("part", "trials", "sets"),
    [
        ("core", ALL, ALL),
        ("method:dc", {"dc", "dc from real"}, {"dc", "dc from real"}),
        ("indicator:loss", {"dm, loss", "dm, loss, adaptive"}, {"dm, loss", "dm, loss, adaptive"}),
        ("adaptive", PRUNING, PRUNING),
        ("effects", {"idc, left to it"}, {"idc, left to it"}),
        ("protocol", ALL, set()),
        ("data:cifar10", {"dm on cifar10"}, {"dm on cifar10"}),
        ("data:folder", set(), set()),
        ("init:noise", {"dc"}, {"dc"}),  # its own default counts as if it were named
        ("init:real", ALL - {"dc", "idc, left to it"}, ALL - {"dc", "idc, left to it"}),
        ("method:of tomorrow", set(), set()),
    ],
)
def test_only_what_rests_on_a_part_gets_another_key(part, trials, sets, raised):
    before = keys("key"), keys("synthetic_key")
    raised(part)
    after = keys("key"), keys("synthetic_key")
    changed = [{name for name in TRIALS if old[name] != new[name]} for old, new in zip(before, after, strict=True)]
    assert changed == [trials, sets]


def test_scores_rest_on_core_indicator_and_data(raised):
    trial, changed = TRIALS["dm, loss, adaptive"], []
    for part in ("method:dm", "init:real", "adaptive", "protocol", "indicator:loss", "data:digits", "core"):
        before = trial.score_key
        raised(part)
        if trial.score_key != before:
            changed.append(part)
    assert changed == ["indicator:loss", "data:digits", "core"]


def test_a_folder_is_one_part_whatever_its_name(tmp_path, raised):
    from PIL import Image

    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    trial = Trial(str(tmp_path))
    assert "data:folder" in trial.rests_on
    before = trial.key
    raised("data:folder")
    assert trial.key != before


def test_a_record_names_what_it_rests_on(tmp_path, raised):
    raised("method:dm")
    todo = [Trial(**TINY, method="dm"), Trial(**TINY, criterion="el2n", ratio=0.5, score=PROBE)]
    whole, pruned = (json.loads(text) for text in run(todo, tmp_path, "inline", progress=False)["revisions"])
    core = REVISIONS["core"]
    assert whole == {"core": core, "data:digits": 1, "method:dm": 2, "init:real": 1, "protocol": 1}
    assert pruned.keys() == {"core", "data:digits", "indicator:el2n", "method:dc", "init:noise", "protocol"}


class Places(Unfinished):
    """Remembers what was asked of it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.asked = []

    def path(self, name):
        self.asked.append(name)
        return super().path(name)


def test_what_was_stopped_is_not_gone_on_with(tmp_path, monkeypatch):
    """The places of unfinished jobs: of a distillation, of scores, and of experts."""
    train, net = load("digits").train.subset(torch.arange(100)), "convnet:depth=1,width=4"

    def places():
        with Places(tmp_path) as unfinished:
            distill(make("dm", iterations=1), train, 1, network=net, init="real", unfinished=unfinished)
            scored(train, "loss", trials=1, epochs=1, batch=10, network=net, unfinished=unfinished)
        return *unfinished.asked, experts.key(train, net, experts.Training())

    first, changed = places(), []
    for part in ("indicator:el2n", "method:dm", "init:real", "indicator:loss", "experts"):
        with monkeypatch.context() as patch:
            patch.setitem(REVISIONS, part, 2)
            changed.append([new != old for new, old in zip(places(), first, strict=True)])
    no, yes = False, True
    assert changed == [[no, no, no], [yes, no, no], [yes, no, no], [no, yes, no], [no, no, yes]]
