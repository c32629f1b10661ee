"""Records as committed tables: `book/results/<preset>/<chapter>.csv`, their loss curves in `curves/` beside them.

A row is one trial. Columns are `COLUMNS`: settings, results, provenance. A folder of images appears by its name, or by
a name that is given, and by a stamp of its content, so no path of a machine gets into a table.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..utils import files, revisions
from .store import Store
from .table import CURVES, points
from .trial import Trial, folder_stamp, forget_folders

SETTINGS = tuple(f.name for f in fields(Trial))
RESULTS = ("kept", "accuracy", "std", "accuracies", "seconds", "timing", "resolved")
PROVENANCE = ("key", "stamp", "device", "date", "versions", "commit", "speed", "revisions")
COLUMNS = (*SETTINGS, *RESULTS, *PROVENANCE)

Row = dict[str, str]


def export(
    trials: Sequence[Trial],
    folder: str | Path,
    chapter: str,
    store: Store | str | Path | None = None,
    *,
    data_name: str | None = None,
    replace: bool = False,
) -> Counter[str]:
    """Add what the store has of `trials` to `folder/<chapter>.csv`; a row is there once, however often this is done.

    folder    : of a preset, book/results/<preset>; trials that its other chapters share are one row in each of them.
    data_name : how a folder of images is called; its own name if None.
    A row of the same settings stays if the library would still give it, and goes if not (see `utils.revisions`).
    replace   : it goes in any case, such as one of another machine.
    What the store lacks and another chapter's table has, of the same images and not outdated, is taken from there.
    Returns how many are "added", "replaced", "there", "of another run" (there, and it stays), "of another chapter" and
    "not run yet".
    Raises InputError for a name that does not suit the data, and for a name under which other images are there.

    >>> from pathlib import Path
    >>> from bilp_core.trials import Store, Trial, export
    >>> todo, store = [Trial("digits", seed=seed) for seed in range(2)], Store("records")
    >>> store.put({"key": todo[0].key, "accuracies": [0.5, 0.75], "accuracy": 0.625, "device": "a CPU"})
    >>> dict(export(todo, "results/quick", "first", store)), dict(export(todo, "results/quick", "first", store))
    ({'added': 1, 'not run yet': 1}, {'there': 1, 'not run yet': 1})
    >>> Path("results/quick/first.csv").read_text().splitlines()[1][:13]
    'digits,dc,1,,'
    """
    store = store if isinstance(store, Store) else Store(store)
    folder = Path(folder)
    forget_folders()
    tables = {path.stem: read(path) for path in sorted(folder.glob("*.csv"))}
    curves: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("curves/*.csv")):
        for key, rows in _by_key(read(path)).items():
            curves.setdefault(key, rows)
    standing = {identity(row): row for rows in tables.values() for row in rows}
    order = {name: [identity(row) for row in rows] for name, rows in {chapter: [], **tables}.items()}
    counts: Counter[str] = Counter()
    for trial in {trial.key: trial for trial in trials}.values():
        record = store.get(trial)
        row = row_of(trial, record or {"accuracies": []}, data_name)
        same = identity(row)
        if record is None:
            shared = same not in order[chapter] and _holds(standing.get(same), row)
            if shared:
                order[chapter].append(same)
            counts["of another chapter" if shared else "not run yet"] += 1
            continue
        old = standing.get(same)
        gone = old is not None and old != row and (replace or outdated(old))
        if old is None or gone:
            _check_stamp(row, standing.values(), folder)
            standing[same] = row
            curves[row["key"]] = [
                dict(zip(CURVES, map(_text, point), strict=True))
                for point in points(row["key"], record.get("curves", {}))
            ]
        if same not in order[chapter]:
            order[chapter].append(same)
            counts["added"] += 1
        else:
            counts["replaced" if gone else "there" if standing[same]["key"] == row["key"] else "of another run"] += 1
    for name, identities in order.items():
        rows = [standing[same] for same in identities]
        _write(folder / f"{name}.csv", COLUMNS, rows)
        _write(folder / "curves" / f"{name}.csv", CURVES, [p for row in rows for p in curves.get(row["key"], [])])
    return counts


def uncommitted(trials: Sequence[Trial], folder: str | Path, *, data_name: str | None = None) -> list[Trial]:
    """Those of `trials` that no table in `folder` has, of the same images and not outdated; folder and data_name as in
    `export`, and InputError as there.

    >>> from bilp_core.trials import Store, Trial, export
    >>> from bilp_core.trials.exporting import uncommitted
    >>> asked, store = [Trial("digits", seed=seed) for seed in range(2)], Store("records")
    >>> store.put({"key": asked[0].key, "accuracies": [0.5, 0.75], "accuracy": 0.625, "device": "a CPU"})
    >>> _ = export(asked, "results/quick", "first", store)
    >>> [trial.seed for trial in uncommitted(asked, "results/quick")]
    [1]
    """
    forget_folders()
    standing = {identity(row): row for path in sorted(Path(folder).glob("*.csv")) for row in read(path)}
    rows = {trial: row_of(trial, {"accuracies": []}, data_name) for trial in trials}
    for row in {row["data"]: row for row in rows.values()}.values():
        _check_stamp(row, standing.values(), Path(folder))
    return [trial for trial, row in rows.items() if not _holds(standing.get(identity(row)), row)]


def row_of(trial: Trial, record: Mapping[str, Any], data_name: str | None = None) -> Row:
    """A record, found under the trial's key, as a row of a table: all texts.

    >>> from bilp_core.trials import Trial
    >>> from bilp_core.trials.exporting import row_of
    >>> row = row_of(Trial("digits", options={"iterations": 2}), {"accuracies": [0.5, 0.75]})
    >>> row["data"], row["options"], row["accuracies"], row["size"]
    ('digits', '{"iterations": 2}', '0.5000;0.7500', '')
    """
    settings = {name: getattr(trial, name) for name in SETTINGS}
    # what was stored before records had these: under a key of today it rests on what a key of today stands for
    about = {"key": trial.key, "stamp": folder_stamp(trial.data), "revisions": revisions.numbers(trial.rests_on)}
    found = {**about, **{k: v for k, v in record.items() if v is not None}, **settings}
    found |= {
        "data": shown_name(trial.data, data_name),
        "accuracies": ";".join(f"{a:.4f}" for a in record["accuracies"]),
    }
    return {name: _text(found.get(name)) for name in COLUMNS}


def shown_name(data: str, name: str | None = None) -> str:
    """How data are called in tables: a named data set by its name, a folder by `name` or its own.

    Raises InputError for another name of a named data set, and for a folder that would be taken for one.

    >>> from bilp_core.trials.exporting import shown_name
    >>> shown_name("digits")
    'digits'
    """
    from ..data.datasets import DATASETS

    if data in DATASETS:
        if name not in (None, data):
            raise InputError(f"data name {name!r}: {data} is a named data set and keeps its name")
        return data
    shown = name or Path(data).expanduser().resolve().name
    if shown in DATASETS:
        raise InputError(f"data name {shown!r} is that of a named data set: give the folder another (--data-name)")
    return shown


def trial_of(row: Mapping[str, str]) -> Trial:
    """The trial of a row, with the data by their shown name; a setting that is missing has its default.

    >>> from bilp_core.trials.exporting import trial_of
    >>> trial_of({"data": "mine", "ratio": "0.9", "options": '{"iterations": 2}'}).options
    {'iterations': 2}
    """
    given: dict[str, Any] = {}
    for f in fields(Trial):
        if text := row.get(f.name):
            kind = str(f.type).removesuffix(" | None")
            read = json.loads if kind.startswith("Mapping") else {"int": int, "float": float, "str": str}[kind]
            given[f.name] = read(text)
    return Trial(**given)


def identity(row: Mapping[str, str]) -> str:
    """Stands for the settings of a row, whatever machine, folder and revision it is of, and whether or not it names the
    start that its method has by default.

    >>> from bilp_core.trials.exporting import identity
    >>> identity({"data": "mine", "criterion": "loss"}) == identity({"data": "mine", "device": "a GPU"})
    True
    """
    trial = trial_of(row)
    return files.key({**trial.settings, "init": trial.start, "speed": row.get("speed") or "auto"})


def outdated(row: Mapping[str, str]) -> bool:
    """Whether a part that a row rests on was revised since, or it does not say on what it rests.

    row : of a table; see `Trial.outdated`.

    >>> from bilp_core.trials.exporting import outdated
    >>> outdated({"data": "mine", "revisions": '{"core": 1}'})
    True
    >>> outdated({"data": "mine", "revisions": '{"method:of tomorrow": 1}'})
    False
    """
    made = row.get("revisions")
    return not made or trial_of(row).outdated(json.loads(made))


def read(path: Path) -> list[Row]:
    """The rows of a table, all texts."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _by_key(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["key"], []).append(row)
    return found


def _holds(row: Row | None, asked: Row) -> bool:
    """Whether a row of a table is what a trial of the images of `asked` would give."""
    return row is not None and row.get("stamp", "") == asked["stamp"] and not outdated(row)


def _check_stamp(row: Row, others: Iterable[Row], folder: Path) -> None:
    for other in others:
        if row["stamp"] and other.get("stamp") == row["stamp"] and other["data"] != row["data"]:
            raise InputError(
                f"data {row['data']!r} are in {folder} as {other['data']!r} already (stamp {row['stamp']}): give "
                f"--data-name {other['data']!r}"
            )
        if other["data"] == row["data"] and other.get("stamp") not in ("", None, row["stamp"]):
            raise InputError(
                f"data {row['data']!r} are other images in {folder} (stamp {other['stamp']}, these {row['stamp']}): "
                "give another --data-name"
            )


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    if value is None or value != value:  # NaN
        return ""
    return str(value)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """The table, whole or not at all; none without rows, and untouched where nothing changed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    there = path.is_file()
    if (rows or there) and not (there and path.read_text("utf-8") == text.getvalue()):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic(path) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")
