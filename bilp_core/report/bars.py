"""What large data may take at most, beside what they took."""

import pandas as pd

# Of a row of the measurements `large`: the column that has a bar, the most it may be, and both in words.
BARS = {
    "decode": ("peak_mb", 1500, "memory under 1.5 GB"),
    "open": ("seconds", 1, "under 1 s"),
    **dict.fromkeys(("score", "prune", "dm", "dc"), ("peak_mb", 6000, "memory under 6 GB")),
}


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
