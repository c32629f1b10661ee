import matplotlib.pyplot as plt
import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.studies.comparing import compare, picture

LABELS = torch.tensor([0] * 4 + [1] * 6 + [2])


def test_by_hand():
    """Class 0 reversed, class 1 with one swap of neighbours, class 2 without a ranking."""
    first = torch.tensor([1.0, 2, 3, 4, 10, 20, 30, 40, 50, 60, 5])
    second = torch.tensor([4.0, 3, 2, 1, 1, 2, 4, 3, 5, 6, 5])
    found = compare(first, second, LABELS, shares=[0.5])
    swapped = 1 - 12 / 210
    assert [entry["correlation"] for entry in found["classes"].values()] == [
        pytest.approx(-1), pytest.approx(swapped), None,
    ]  # fmt: skip
    assert found["mean"] == pytest.approx((4 * -1 + 6 * swapped) / 10)
    (row,) = found["kept"]
    assert row["both"] == pytest.approx((0 / 2 + 2 / 3 + 1) / 3)
    assert row["chance"] == pytest.approx((2 / 4 + 3 / 6 + 1) / 3)


def test_no_ranking_at_all():
    found = compare(torch.zeros(11), torch.arange(11.0), LABELS)
    assert found["mean"] is found["overall"] is None


def test_ends_of_their_own():
    first = torch.arange(11.0)
    assert compare(first, -first, LABELS, [0.5], ["smallest", "largest"])["kept"][0]["both"] == 1
    assert compare(first, -first, LABELS, [0.5], ["smallest"])["kept"][0]["both"] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="must be one end, or one for each file"):
        compare(first, first, LABELS, [0.5], ["largest"] * 3)


def test_the_picture_shows_what_both_keep():
    scores = torch.rand(200, generator=torch.Generator().manual_seed(0))
    figure = picture(scores, scores, torch.arange(200) % 2)
    both, chance = figure.axes[1].lines
    assert set(both.get_ydata()) == {100}
    assert list(chance.get_ydata()) == pytest.approx(list(chance.get_xdata()), abs=1)
    plt.close(figure)
