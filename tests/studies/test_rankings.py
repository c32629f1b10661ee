import os

import matplotlib.pyplot as plt
import pytest
import torch

from bilp_core.data import load
from bilp_core.errors import InputError
from bilp_core.indicators import rank_correlation, recording, score
from bilp_core.nets import speed
from bilp_core.studies import rankings
from bilp_core.utils.files import Unfinished

PROBE = {"trials": 2, "epochs": 2, "network": "convnet:depth=1,width=4"}
LABELS = torch.arange(2).repeat(100)


def rows(noise, seed, trials=4):
    """Trials of 200 samples: their levels, and noise of each trial."""
    rng = torch.Generator().manual_seed(seed)
    level = torch.rand(200, generator=torch.Generator().manual_seed(9))
    return level + noise * torch.randn(trials, 200, generator=rng)


def test_the_losses_are_those_of_the_indicators():
    train = load("digits").train
    found = rankings.losses(train, 1, seed=3, **PROBE)
    torch.testing.assert_close(found["late"].mean(0), score(train, "loss", seed=3, **PROBE))
    one = score(train, "early-loss", seed=3, **{**PROBE, "epochs": 1})
    torch.testing.assert_close(found["early"].mean(0), one)
    with pytest.raises(InputError, match="early = 3: must be from 1 to the 2 epochs"):
        rankings.losses(train, 3, **PROBE)


def test_trials_are_kept(tmp_path, monkeypatch):
    train, sizes, real = load("digits").train, [], recording._train
    monkeypatch.setattr(recording, "_train", lambda *args: sizes.append(len(args[2])) or real(*args))
    first = rankings.losses(train, 1, kept=Unfinished(tmp_path), **PROBE)
    more = rankings.losses(train, 1, kept=Unfinished(tmp_path), **{**PROBE, "trials": 3})
    assert sum(sizes) == 3
    assert torch.equal(more["late"][:2], first["late"])
    rankings.losses(train, 2, kept=Unfinished(tmp_path), **PROBE)  # another early
    with rankings.speed_mode("mixed"):
        other = rankings.losses(train, 1, kept=Unfinished(tmp_path), **PROBE)
    assert sum(sizes) == 7
    assert not torch.equal(other["late"], first["late"])


def test_the_mode_is_what_it_was():
    before = os.environ.get("BILP_SPEED")
    modes = []

    def fails():
        with rankings.speed_mode("plain"):
            modes.append(speed.mode())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert modes == ["plain"]
    assert os.environ.get("BILP_SPEED") == before
    with pytest.raises(InputError, match="mode = 'fast': must be one of plain"), rankings.speed_mode("fast"):
        pass


def test_halves_share_no_trial():
    """Trial k of each kind is the same, and nothing but noise: halves that shared one would agree."""
    noise = rows(1000.0, 0)
    found = rankings.agreements({"a": noise, "b": noise}, LABELS, [0.4], splits=3)
    assert found["value"].abs().max() < 0.2
    same = rank_correlation(noise[:2].mean(0), noise[:2].mean(0), LABELS)
    assert same == pytest.approx(1)


def test_agreement_written_out():
    """Of two trials, either split compares the one with the other."""
    kinds = {"a": rows(0.3, 0, 2), "b": rows(0.3, 1, 2)}
    found = rankings.agreements(kinds, LABELS, [0.1, 0.4], splits=1, seed=0)
    assert found["kind"].tolist() == ["a", "a", "b", "b"]
    order = torch.randperm(2, generator=torch.Generator().manual_seed(0)).tolist()
    expected = [rank_correlation(kinds["a"][order[0]], kinds[k][order[1]], LABELS) for k in ("a", "b")]
    assert found["value"].tolist() == pytest.approx([expected[0]] * 2 + [expected[1]] * 2)
    assert found["std"].tolist() == [0] * 4
    assert found["chance"].tolist() == pytest.approx([0.1, 0.4] * 2)


def test_the_same_kind_is_the_ceiling():
    kinds = {"good": rows(0.2, 0), "noisy": rows(1.0, 1)}
    found = rankings.agreements(kinds, LABELS, [0.1]).set_index("kind")
    assert found["value"]["good"] > found["value"]["noisy"] + 0.1
    assert found["both"]["good"] > found["both"]["noisy"]
    with pytest.raises(InputError, match="must be as many of each, at least two"):
        rankings.agreements({"a": rows(0.2, 0), "b": rows(0.2, 0, trials=2)}, LABELS)
    with pytest.raises(InputError, match="at least two"):
        rankings.agreements({"a": rows(0.2, 0, trials=1)}, LABELS)


def test_a_line_for_each_kind():
    table = rankings.agreements({"a": rows(0.2, 0), "b": rows(0.2, 1)}, LABELS, [0.1, 0.5])
    figure = rankings.kept_by_both(table)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["a", "b", "by chance"]
    assert list(lines[1].get_ydata()) == pytest.approx((100 * table["both"][2:]).tolist())
    assert list(lines[2].get_ydata()) == pytest.approx([10, 50])
    plt.close(figure)
