import pandas as pd

from bilp_core.studies import draws

NAMES = ["study", "criterion", "seed", "accuracy", "std", "percentile", "diversity"]


def table(*rows):
    return pd.DataFrame(rows, columns=NAMES)


def test_the_spread_of_the_draws_is_that_between_sets():
    found = draws.told(
        table(("draw", "random", 0, 0.20, 0.01, 40.0, 1.0), ("draw", "random", 1, 0.24, 0.03, 60.0, 0.9))
    )
    assert "2 random draws reach 20.0 to 24.0%, with a deviation of 2.0 points" in found
    assert "differ by 2.0." in found
    assert "+1.00 with the mean loss percentile" in found
    assert "-1.00 with its diversity" in found
    assert "learned" not in found


def test_what_was_not_run_is_not_told():
    assert draws.told(table(("draw", "random", 0, 0.20, 0.01, 40.0, 1.0))) == ""
    assert draws.told(table()) == ""


def test_ages_stand_in_order_whatever_the_order_of_the_runs():
    rows = [("30", "craig", 0, 0.1, 0.0, 90.0, 1.0), ("3", "craig", 0, 0.2, 0.0, 70.0, 1.0)]
    assert "after 3 epochs 20.0% (percentile 70), after 30 epochs 10.0%" in draws.told(table(*rows))
    line = draws.figure(table(*rows)).axes[0].lines[0]
    assert line.get_xdata().tolist() == [70.0, 90.0]
    import matplotlib.pyplot as plt

    plt.close("all")
