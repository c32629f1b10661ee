"""Where the numbers of a page come from."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from .tables import NOT_RUN, styled


def provenance(parameters: Mapping[str, Any], records: pd.DataFrame) -> Styler:
    """The box at the end of a page: what its numbers were made with, all of it read from the records.

    parameters : the chapter's parameters, by name.
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
    """Where and when records were made, for a caption; "not run yet" where there are none."""
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
