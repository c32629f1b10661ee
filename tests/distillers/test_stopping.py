"""Distillations that end early: at a round, or when the loss no longer falls."""

import pytest
import torch

from bilp_core import InputError, SyntheticSet, distill, load, make
from bilp_core.cli.main import main
from bilp_core.distillers import METHODS, EarlyStop
from bilp_core.distillers.dm import DM
from bilp_core.utils.files import Unfinished

SETTINGS = {"ipc": 1, "network": "convnet:depth=1,width=4", "seed": 2}


@pytest.fixture(scope="module")
def train():
    return load("digits").train


@pytest.fixture
def falling(monkeypatch):
    """DM whose losses are given, while its images move as ever; the list of rounds that were run."""
    rounds, usual = [], DM.step

    def step(self, run):
        usual(self, run)
        rounds.append(len(rounds) + 1)
        return torch.tensor(max(10.0 - rounds[-1], 4.0))  # flat from round 6 on

    monkeypatch.setattr(DM, "step", step)
    return rounds


@pytest.mark.parametrize("name", ["dm", "dc"])
def test_a_fixed_round(train, name):
    early = distill(make(name, iterations=6), train, early=EarlyStop(rounds=3), **SETTINGS)
    three = distill(make(name, iterations=3), train, **SETTINGS)
    assert torch.equal(early.images, three.images)
    assert early.meta["rounds"] == 3
    assert early.meta["options"]["iterations"] == 6  # what was asked for is what follows from them
    assert "rounds" not in three.meta
    assert "rounds" not in distill(make(name, iterations=3), train, early=EarlyStop(rounds=9), **SETTINGS).meta


def test_a_schedule_stays_that_of_all_rounds(train):
    """CAFE halves its rate along the iterations: three of six are not three of three."""
    method = {"most": 2, "image_lr": 0.1}
    early = distill(make("cafe", iterations=6, **method), train, early=EarlyStop(rounds=5), **SETTINGS)
    five = distill(make("cafe", iterations=5, **method), train, **SETTINGS)
    assert not torch.equal(early.images, five.images)


def test_a_plateau(train, falling):
    made = distill(make("dm", iterations=30), train, early=EarlyStop(plateau=2), **SETTINGS)
    assert made.meta["rounds"] == len(falling) == 9  # means of 6, 7 and of 8, 9 are both 4
    falling.clear()
    assert "rounds" not in distill(make("dm", iterations=5), train, early=EarlyStop(plateau=2), **SETTINGS).meta


def test_a_stopped_run_knows_the_losses_of_before(train, falling, tmp_path, monkeypatch):
    from bilp_core.distillers import loop

    monkeypatch.setattr(loop.State, "due", lambda self: True)

    def killed(done, total, note):
        if done == 7:
            raise KeyboardInterrupt

    asked = {"early": EarlyStop(plateau=2), **SETTINGS}
    with pytest.raises(KeyboardInterrupt), Unfinished(tmp_path) as unfinished:
        distill(make("dm", iterations=30), train, progress=killed, unfinished=unfinished, **asked)
    falling[:] = falling[:6]  # the seventh was not kept
    with Unfinished(tmp_path) as unfinished:
        made = distill(make("dm", iterations=30), train, unfinished=unfinished, **asked)
    assert made.meta["rounds"] == 9


def test_every_method_can_end_early():
    assert all(EarlyStop(rounds=5).last(make(name).iterations) == 5 for name in METHODS)
    assert EarlyStop().last(7) == 7
    with pytest.raises(InputError, match="plateau = -1: must not be negative"):
        EarlyStop(plateau=-1)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    words = ["distill", "digits", "--method", "dm", "--set", "iterations=5", "--stop", "2", "--out", "s.safetensors"]
    assert main([*words, "--network", SETTINGS["network"]]) == 0
    assert SyntheticSet.load("s.safetensors").meta["rounds"] == 2
