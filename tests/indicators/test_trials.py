"""Scores of several trials: what is kept of them, more trials from fewer, and when there are enough."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from bilp_core.errors import InputError
from bilp_core.indicators import INDICATORS, halves, over_trials, rank_correlations, recording, scored, stepped_up
from bilp_core.utils.files import Unfinished

from .common import PROBED, TINY, awkward

pytestmark = pytest.mark.filterwarnings("ignore:the networks have hardly learned")  # three epochs are few
OF_TRIALS = {name: indicator.trials for name, indicator in INDICATORS.items() if indicator.trials}
FEW = {key: value for key, value in PROBED.items() if key != "trials"}


def options(name, count):
    data = awkward()
    return {k: v for k, v in TINY.items() if k in INDICATORS[name].options(data)} | {OF_TRIALS[name]: count}


@pytest.fixture
def trained(monkeypatch):
    """The number of trials trained since."""
    count, train = [], recording._train
    monkeypatch.setattr(recording, "_train", lambda *args: count.append(len(args[2])) or train(*args))
    return count


def test_which_indicators_have_trials():
    assert {"loss", "early-loss", "el2n", "grand", "forgetting", "margin", "monte-carlo"} == set(OF_TRIALS)


@pytest.mark.parametrize("name", OF_TRIALS)
def test_more_trials_go_on_from_fewer(name):
    """Digit for digit, from a result and from a folder; and fewer are read off more."""
    data = awkward()
    few, whole = (scored(data, name, seed=3, **options(name, count)) for count in (2, 5))
    more = scored(data, name, seed=3, start=few, **options(name, 5))
    for part in ("values", "spread", "count", "rows"):
        assert torch.equal(getattr(more, part).nan_to_num(-1), getattr(whole, part).nan_to_num(-1)), part
    assert more.learned == whole.learned
    assert torch.equal(scored(data, name, seed=3, start=whole, **options(name, 2)).values, few.values)


def test_only_the_missing_trials_are_trained(tmp_path, trained):
    data, whole = awkward(), scored(awkward(), "loss", trials=5, **FEW)
    few = scored(data, "loss", trials=2, **FEW)
    trained.clear()
    scored(data, "loss", trials=5, start=few, **FEW)
    assert sum(trained) == 3
    kept = Unfinished(tmp_path)  # that nobody clears
    scored(data, "loss", trials=2, unfinished=kept, **FEW)
    trained.clear()
    assert torch.equal(scored(data, "loss", trials=5, unfinished=kept, **FEW).values, whole.values)
    assert sum(trained) == 3
    trained.clear()
    scored(data, "loss", trials=4, unfinished=kept, **FEW)
    assert not trained


def test_the_number_of_trials_decides_nothing_else(monkeypatch):
    """What is compiled follows from the usual number of trials, not from those asked for."""
    seen, ensemble = [], recording.Ensemble

    def spy(*args, positions, **more):
        seen.append(positions)
        return ensemble(*args, positions=positions, **more)

    monkeypatch.setattr(recording, "Ensemble", spy)
    for count in (1, 3):
        scored(awkward(), "loss", trials=count, **FEW)
    assert len(set(seen)) == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.5}, {"epochs": 2}, {"sigma": 1.0}])
def test_a_start_of_other_settings_is_refused(change):
    few = scored(awkward(), "loss", trials=1, **FEW)
    with pytest.raises(InputError, match="only the number of trials may differ"):
        scored(awkward(), "loss", start=few, **{"trials": 2, **FEW, **change})
    with pytest.raises(InputError, match="start = scores of other data"):
        scored(awkward(seed=1), "loss", start=few, trials=2, **FEW)
    with pytest.raises(InputError, match="start = scores to go on from: indicator 'random' has no trials"):
        scored(awkward(), "random", start=few)


def test_mean_spread_and_count_by_hand():
    rows = torch.tensor([[1.0, 4, math.nan, 7], [3, math.nan, math.nan, 7], [8, 6, math.nan, 7]])
    mean, spread, count = over_trials(rows, torch.tensor([0, 1, 1, 1]))
    assert mean.tolist() == [4, 5, (5.5 + 7 + 6.5) / 3, 7]  # the third has the mean of its class, trial by trial
    assert spread[[0, 1, 3]].tolist() == pytest.approx([math.sqrt(13), math.sqrt(2), 0])
    assert math.isnan(spread[2])
    assert count.tolist() == [3, 2, 0, 3]


def test_memory_is_a_number_a_trial_and_sample():
    found = scored(awkward(), "loss", trials=3, **FEW)
    assert found.rows.dtype == torch.float32
    held = sum(tensor.numel() for part in found.parts.values() for tensor in part.values())
    assert held == 3 * (41 + 2)  # and what it learned, and the seconds


def test_halves_by_hand():
    rng = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(5, 30, generator=rng), torch.arange(3).repeat(10)
    first, second = (rows[0] + rows[2]) / 2, (rows[1] + rows[3]) / 2  # the fifth is in neither
    expected = sum(spearmanr(first[labels == c], second[labels == c]).statistic for c in range(3)) / 3
    assert halves(rows, labels) == pytest.approx(expected)
    assert halves(rows[:1], labels) is None
    assert halves(torch.zeros(2, 30), labels) is None
    assert stepped_up(0.6) == pytest.approx(0.75)


def test_stepping_up_foretells_the_agreement_of_all():
    """Of trials that are alike, with as many new ones."""
    rng = torch.Generator().manual_seed(0)
    level, labels = torch.randn(4000, generator=rng), torch.zeros(4000, dtype=torch.int64)
    rows, new = (level + 2 * torch.randn(8, 4000, generator=rng) for _ in range(2))
    found = rank_correlations(rows.mean(0), new.mean(0), labels)[0]
    assert halves(rows, labels) < found - 0.1
    assert stepped_up(halves(rows, labels)) == pytest.approx(found, abs=0.03)


def known(monkeypatch, rows):
    """Trials whose rows are known; those that were asked for."""
    asked = []

    def train(data, probe, seeds, watches, on_step):
        asked.append(len(seeds))
        start = sum(asked[:-1])
        return {"": rows[start : start + len(seeds)], recording.LEARNED: torch.ones(len(seeds))}

    monkeypatch.setattr(recording, "_train", train)
    return asked


def rows_that_agree_from(count):
    """Rows of 8 trials of `awkward`: the first are noise, and so many in, halves agree for the first time."""
    rng = torch.Generator().manual_seed(2)
    noise, level = torch.randn(8, 41, generator=rng), torch.arange(41.0)
    weights = torch.tensor([0.0] * (count - 2) + [100.0] * (10 - count))[:, None]
    return noise + weights * level


@pytest.mark.parametrize("count", [2, 4, 6])
def test_until_stops_at_the_first_even_number_that_agrees(count, monkeypatch):
    rows, labels = rows_that_agree_from(count), awkward().labels
    asked, seen = known(monkeypatch, rows), []
    found = scored(
        awkward(), "loss", until=0.95, trials=8, progress=lambda done, total, _: seen.append(done / total), **FEW
    )
    assert found.trials == sum(asked) == count
    assert halves(found.rows, labels) >= 0.95
    for fewer in range(2, count, 2):
        assert halves(rows[:fewer], labels) < 0.95
    torch.testing.assert_close(found.values, rows[:count].double().mean(0).float())


def test_until_stops_at_the_most(monkeypatch):
    asked = known(monkeypatch, torch.randn(8, 41, generator=torch.Generator().manual_seed(0)))
    found = scored(awkward(), "loss", until=0.95, trials=5, **FEW)
    assert asked == [2, 2, 1]
    assert found.trials == 5
    asked.clear()
    scored(awkward(), "loss", until=0.95, trials=8, **{**FEW, "together": 3})
    assert [sum(asked[:2]), sum(asked)] == [4, 8]  # steps of four, in groups of three


def test_until_is_refused():
    with pytest.raises(InputError, match=r"until = 0.9: indicator 'random' has no trials; those that do: loss"):
        scored(awkward(), "random", until=0.9)
    with pytest.raises(InputError, match=r"until = 1: .* must be in \(0, 1\)"):
        scored(awkward(), "loss", until=1)
    with pytest.raises(InputError, match="until = 0.9 with trials = 1: two halves need at least two"):
        scored(awkward(), "loss", until=0.9, trials=1)


def test_progress_counts_towards_the_most():
    seen = []
    scored(awkward(), "loss", until=0.999, trials=4, progress=lambda *said: seen.append(said), **FEW)
    shares = [done / total for done, total, _ in seen]
    assert shares == sorted(shares)
    assert {total for _, total, _ in seen} == {4000}
    assert shares[-1] in (0.5, 1)  # where it stopped
