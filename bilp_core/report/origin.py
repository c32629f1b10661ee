"""Where the numbers of a page come from."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from .tables import NOT_RUN, styled


def provenance(parameters: Mapping[str, Any], records: pd.DataFrame) -> Styler:
    """The box at the end of a page: what its numbers were made with, all of it read from the records.

    parameters : the chapter's parameters, by name. records : as `trials.run` returns them.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> about = {"device": "a CPU", "versions": '{"torch": "2.15"}', "commit": "abc1234"}
    >>> records = pd.DataFrame([{"seed": seed, "seconds": 2.5, "date": "2026-11-23T21:56:40+00:00", **about}
    ...                         for seed in range(2)])
    >>> report.provenance({"seeds": 2}, records).data["value"].tolist()
    ['2', '2', '5 s in all', '2026-11-23 21:56 UTC', '0, 1', 'a CPU', 'torch 2.15', 'abc1234']
    """
    lines: dict[str, str] = {name: _plain(value) for name, value in parameters.items()}
    lines["trials"] = str(len(records))
    if not records.empty:
        lines["time in trials"] = f"{records['seconds'].sum():.0f} s in all"
        lines["run"] = _period(records["date"])
        lines["seeds of the trials"] = _plain(sorted(records["seed"].unique().tolist()))
        for name in ("device", "versions", "commit"):
            lines[name] = "; ".join(dict.fromkeys(_plain(value) for value in records[name]))
    box = pd.DataFrame({"value": lines.values()}, index=list(lines))
    return styled(box, "Provenance of the numbers on this page").hide(axis="columns")


def ran_on(records: pd.DataFrame) -> str:
    """Where and when records were made, for a caption; "not run yet" where there are none.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> report.ran_on(pd.DataFrame({"device": ["a CPU"], "date": ["2026-11-23T21:56:40+00:00"]}))
    'a CPU, 2026-11-23 21:56 UTC'
    >>> report.ran_on(pd.DataFrame())
    'not run yet'
    """
    if records.empty:
        return NOT_RUN
    return f"{'; '.join(records['device'].unique())}, {_period(records['date'])}"


def _period(dates: pd.Series) -> str:
    """First and last of ISO dates, in UTC to the minute."""
    times = sorted(date[:16].replace("T", " ") for date in dates)
    return (times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}") + " UTC"


def _plain(value: Any) -> str:
    if isinstance(value, str) and value.startswith("{"):  # a mapping, as records hold it
        value = json.loads(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
