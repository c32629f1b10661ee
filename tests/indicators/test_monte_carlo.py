import pytest
import torch

from bilp_core.data import ImageData, whitening
from bilp_core.errors import InputError
from bilp_core.indicators import monte_carlo, over_trials, score
from bilp_core.indicators.monte_carlo import draw, utilities
from bilp_core.synthetic import SyntheticSet
from bilp_core.utils.files import Unfinished

from .common import awkward

SMALL = {"network": "mlp", "iterations": 2, "epochs": 10, "runs": 3, "ratio": 0.5}


def test_utilities_by_hand():
    labels = torch.tensor([0, 0, 0, 1, 1])
    drawn = [torch.tensor([0, 3]), torch.tensor([1, 3]), torch.tensor([0, 3])]
    accuracies = [torch.tensor([0.9, 0.2]), torch.tensor([0.5, 0.4]), torch.tensor([0.7, 0.6])]
    rows = utilities(drawn, accuracies, labels)
    assert rows.isnan().tolist() == [[0, 1, 1, 0, 1], [1, 0, 1, 0, 1], [0, 1, 1, 0, 1]]
    mean, spread, count = over_trials(rows, labels)
    expected = [0.8, 0.5, 0.7, 0.4, 0.4]  # 2 and 4 were never drawn: the mean of their class
    torch.testing.assert_close(mean.float(), torch.tensor(expected))
    torch.testing.assert_close(spread[[0, 3]].float(), torch.tensor([0.02**0.5, 0.2]))
    assert count.tolist() == [2, 1, 0, 3, 0]


def test_a_class_is_drawn_part_by_part():
    """Parts of 2 of the 14 samples of class 0: all in 7 runs. Of the 13 of class 1: 12 in 6 runs, one is left over."""
    data = awkward()
    times = torch.zeros(len(data))
    for run in range(10):
        indices = draw(data, 0.9, run, seed=0)
        assert torch.bincount(data.labels[indices]).tolist() == [2, 2, 2, 1]  # 14 - 12, 13 - 11, the only one
        times[indices] += 1
        if run == 5:
            assert times[data.labels == 1].sort().values.tolist() == [0] + [1] * 12
        if run == 6:
            assert times[data.labels == 0].tolist() == [1] * 14
    assert times[40] == 10
    assert torch.equal(draw(data, 0.9, 8, 0), draw(data, 0.9, 8, 0))
    assert not torch.equal(draw(data, 0.9, 0, 0), draw(data, 0.9, 7, 0))
    assert not torch.equal(draw(data, 0.9, 0, 0), draw(data, 0.9, 0, 1))


def test_the_score_is_one_minus_the_utility(monkeypatch):
    """A class's accuracy is known to be the share of even samples drawn: odd ones get the larger scores."""
    data = awkward()

    def accuracy(data, subset, seed, **work):
        even = (subset % 2 == 0).float()
        labels = data.labels[subset]
        return torch.stack([even[labels == c].mean() for c in range(4)])

    monkeypatch.setattr(monte_carlo, "class_accuracies", accuracy)
    scores = score(data, "monte-carlo", runs=400, ratio=0.75)
    for c in range(3):
        members = data.of_class(c)
        odd = members % 2 == 1
        assert scores[members[odd]].min() > scores[members[~odd]].max()


def test_harmful_samples_are_found():
    """Dark and bright images, but four of the twelve dark ones are glaring: who learns from them takes dark for bright.

    Each run draws a single sample a class.
    """
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(12)
    wrong = torch.arange(24) < 4
    level = (20 + 100 * labels + 200 * wrong).view(-1, 1, 1, 1)
    images = (level + torch.randint(0, 30, (24, 1, 8, 8), generator=rng)).to(torch.uint8)
    data = ImageData(images, labels, ("dark", "bright"), (0.5,), (0.3,), "spoilt", False)
    scores = score(data, "monte-carlo", **{**SMALL, "runs": 12, "ratio": 0.92, "epochs": 30})
    assert scores[wrong].median() > scores[(labels == 0) & ~wrong].max() + 0.2


def test_a_whitened_set_with_its_step_size_is_judged_as_it_was_made(monkeypatch):
    data = awkward()
    white = whitening.whitened(data, "absolute")
    made = SyntheticSet(
        white.batch(), white.labels, data.classes, data.mean, data.std, {"lr": 0.02}, whitening=white.whitening
    )
    monkeypatch.setattr(monte_carlo, "distill", lambda *_, **__: made)
    fits, real = [], monte_carlo.fit
    monkeypatch.setattr(monte_carlo, "fit", lambda *args: fits.append(args) or real(*args))
    work = {"method": "dc", "iterations": 1, "ipc": 1, "network": "mlp", "repeats": 1, "epochs": 30}
    found = monte_carlo.class_accuracies(data, torch.arange(len(data)), 0, **work)
    ((ensemble, _, recipe),) = fits
    assert recipe.lr == 0.02
    right = ensemble.logits(white.batch())[0].argmax(1) == data.labels
    expected = torch.stack([right[data.labels == c].float().mean() for c in range(4)])
    torch.testing.assert_close(found, expected)
    wrong = ensemble.logits(data.batch())[0].argmax(1) == data.labels
    assert not torch.equal(wrong, right)  # so that the two can be told apart


def test_it_goes_on_where_it_was(tmp_path, monkeypatch):
    seen, real = [], monte_carlo.class_accuracies

    def stops(*args, **work):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(1)
        return real(*args, **work)

    monkeypatch.setattr(monte_carlo, "class_accuracies", stops)
    with pytest.raises(KeyboardInterrupt):
        score(awkward(), "monte-carlo", unfinished=Unfinished(tmp_path), **SMALL)
    seen.clear()
    scores = score(awkward(), "monte-carlo", unfinished=Unfinished(tmp_path), **SMALL)
    assert len(seen) == 1
    monkeypatch.setattr(monte_carlo, "class_accuracies", real)
    assert torch.equal(scores, score(awkward(), "monte-carlo", **SMALL))


def test_refuses():
    with pytest.raises(InputError, match="method 'dmm' is unknown"):
        score(awkward(), "monte-carlo", **{**SMALL, "method": "dmm"})
    with pytest.raises(InputError, match="ratio = 1"):
        score(awkward(), "monte-carlo", **{**SMALL, "ratio": 1.0})
