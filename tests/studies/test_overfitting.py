import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bilp_core.errors import InputError
from bilp_core.studies import overfitting


def curve(key: str, train: list[list[float]], test: list[list[float]], accuracy: list[list[float]]) -> pd.DataFrame:
    """Curves of one trial from rows of epochs, a column a network."""
    rows = []
    for split, losses in (("train", train), ("test", test)):
        for i, row in enumerate(losses):
            for k, loss in enumerate(row):
                right = accuracy[i][k] if split == "test" else math.nan
                rows.append((key, k, 10 * (i + 1), split, loss, right))
    return pd.DataFrame(rows, columns=["key", "network", "epoch", "split", "loss", "accuracy"])


@pytest.fixture
def curves() -> pd.DataFrame:
    """One trial whose two networks have their minima at different epochs, one whose test loss only falls."""
    up = curve(
        "up", [[2, 2], [1, 1], [0.5, 0.5]], [[1.0, 2.0], [1.4, 1.0], [1.4, 1.4]], [[0.5, 0.4], [0.6, 0.6], [0.5, 0.6]]
    )
    down = curve("down", [[2], [1], [0.1]], [[2], [1], [0.9]], [[0.4], [0.5], [0.6]])
    return pd.concat([up, down])


def test_overfitting_is_read_off_the_mean_curve(curves):
    found = overfitting.measure(curves).set_index("key")
    assert found.loc["up"].to_dict() == pytest.approx({"rise": 1.4 - 1.2, "gap": 0.9, "lost": 5})
    assert found.loc["down"].to_dict() == pytest.approx({"rise": 0, "gap": 0.8, "lost": 0})
    assert set(overfitting.QUANTITIES) == set(found.columns)


def test_no_curves_are_no_measures(curves):
    assert overfitting.measure(curves.iloc[:0]).empty


def test_a_trend_is_the_rank_correlation_with_its_chance():
    rank, chance = overfitting.trend([0, 0.5, 0.9, 0.97, 0.99], [1, 10, 100, 101, 1000])
    assert rank == pytest.approx(1)
    assert chance < 0.01
    rank, chance = overfitting.trend([1, 2, 3, 4], [1, 3, 2, 4])
    assert rank == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert chance > 0.05


def test_what_never_varies_has_no_trend():
    assert all(math.isnan(x) for x in overfitting.trend([0, 0.5, 0.9], [0, 0, 0]))
    with pytest.raises(InputError, match="2 trials"):
        overfitting.trend([0, 1], [0, 1])


def test_figure_has_a_line_and_a_band_for_each_ratio(curves):
    both = curves.assign(ratio=curves["key"].map({"up": 0.0, "down": 0.9}))
    drawn = overfitting.figure(both)
    assert [axis.get_title() for axis in drawn.axes] == ["train loss (nats)", "test loss (nats)", "test accuracy (%)"]
    train, test, accuracy = drawn.axes
    lines = {line.get_label(): line for line in test.lines}
    assert list(lines) == ["0%", "90%"]
    assert list(lines["0%"].get_xdata()) == [10, 20, 30]
    assert list(lines["0%"].get_ydata()) == pytest.approx([1.5, 1.2, 1.4])
    assert list(accuracy.lines[0].get_ydata()) == pytest.approx([45, 60, 55])
    assert lines["0%"].get_linestyle() != lines["90%"].get_linestyle()  # told apart without colour
    edges = test.collections[0].get_paths()[0].vertices
    assert (edges[edges[:, 0] == 10][:, 1].min(), edges[edges[:, 0] == 10][:, 1].max()) == pytest.approx((1.0, 2.0))
    assert list(train.lines[1].get_ydata()) == pytest.approx([2, 1, 0.1])
    plt.close(drawn)
