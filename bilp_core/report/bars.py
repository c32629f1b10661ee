"""What was aimed at, beside what was measured."""

import math

import pandas as pd

# Of a row of the measurements `large`: the column that has a bar, the most it may be, and both in words.
BARS = {
    "decode": ("peak_mb", 1500, "memory under 1.5 GB"),
    "open": ("seconds", 1, "under 1 s"),
    **dict.fromkeys(("score", "prune", "dm", "dc"), ("peak_mb", 6000, "memory under 6 GB")),
}
# Of a row of the measurements `bench`: our time, over that of the methods' authors, or over the same without pruning.
GOALS = {"dm-step": 0.3, "dc-step": 0.45, "idc-step": 0.6, "mtt-step": 0.6, "evaluate-5-networks": 0.35}
ADAPTIVE_GOAL = 1.07  # main paper: 7% more time


def with_bars(large: pd.DataFrame) -> pd.DataFrame:
    """The measurements `large` with what they must not reach (`bar`, in words) and whether that `holds`: yes or no,
    and empty where there is no bar.

    >>> import pandas as pd
    >>> from bilp_core.report import with_bars
    >>> rows = pd.DataFrame({"what": ["open", "dc", "check"], "seconds": [0.1, 60, 9], "peak_mb": [700, 6000, 700]})
    >>> with_bars(rows)[["bar", "holds"]].values.tolist()
    [['under 1 s', 'yes'], ['memory under 6 GB', 'no'], ['', '']]
    """
    found = [BARS.get(what, ("", 0, "")) for what in large["what"]]
    holds = [
        "" if not words else "yes" if float(row[column]) < most else "no"
        for (column, most, words), row in zip(found, large.to_dict("records"), strict=True)
    ]
    return large.assign(bar=[words for *_, words in found], holds=holds)


def with_goals(board: pd.DataFrame) -> pd.DataFrame:
    """Rows of `bench` with the ratio that was aimed at (`goal`), and whether that `holds`: yes, no, or open where the
    quartiles of the pairs lie on both sides of it; empty where there is no goal.

    >>> import pandas as pd
    >>> from bilp_core.report import with_goals
    >>> rows = pd.DataFrame({"name": ["dm-step", "idc-step", "adaptive-dc", "ite-dc"], "ratio": [0.33, 0.5, 1.06, 0.1]})
    >>> with_goals(rows.assign(spread=["0.32 to 0.35", "", "1.04 to 1.09", ""]))[["goal", "holds"]].values.tolist()
    [['0.3', 'no'], ['0.6', 'yes'], ['1.07', 'open'], ['', '']]
    """
    goals = [ADAPTIVE_GOAL if name.startswith("adaptive-") else GOALS.get(name) for name in board["name"]]
    rows = zip(goals, board["ratio"], board["spread"], strict=True)
    return board.assign(
        goal=["" if goal is None else f"{goal:g}" for goal in goals],
        holds=["" if goal is None else _holds(goal, ratio, spread) for goal, ratio, spread in rows],
    )


def _holds(goal: float, ratio: float, spread: str | float) -> str:
    if math.isnan(ratio):
        return ""
    low, high = map(float, spread.split(" to ")) if isinstance(spread, str) and spread else (ratio, ratio)
    return "yes" if high <= goal else "no" if low > goal else "open"
