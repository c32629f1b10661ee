"""The paper's numbers and our committed ones."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..errors import InputError
from ..trials.exporting import outdated, read
from ..trials.table import CURVES
from ..trials.trial import Trial
from ..utils.paths import root

# Of other kinds than records: files of book/measurements.
MEASUREMENTS = (
    "batches", "bench", "beside", "derivative", "draws", "examples", "fair", "frontier", "hours", "ite", "large",
    "rankings", "real", "selection", "starts", "steps", "survivors", "tried", "unrolling",
)  # fmt: skip
CIFAR10 = ("cifar10", "CIFAR-10 (JPEG)")  # as released, and as the JPEGs that `tests/gpu/plan.py` packs


def published(name: str | list[str] | None = None, /, **where: Any) -> pd.DataFrame:
    """The paper's numbers: values with a row for each number of Tables 1-12 and of the main paper's table.

    name  : the table or tables, such as "table4"; None reads all.
    where : column=value, or column=list of values, to filter by; None stands for an empty cell.
    Returns columns table, data, method, ipc, network, evaluate_on, init, criterion, ratio, quantity, value,
    std and note. Raises InputError where nothing is left: a misspelt filter is no empty table.

    >>> from bilp_core import report
    >>> found = report.published("table4", data="cifar10", ipc=1, method=["dc", "dm"])
    >>> found[["method", "init", "value"]].values.tolist()[:4]
    [['dc', 'noise', 90.0], ['dm', 'noise', 90.0], ['dc', 'real', 90.0], ['dm', 'real', 85.0]]
    >>> found["quantity"].unique().tolist()
    ['max_ratio']
    """
    frame = _read_all(root() / "book" / "published", "*.csv")
    if frame.empty:
        raise InputError("book/published holds no CSV file")
    if name is not None:
        where = {"table": name, **where}
    chosen = _filter(frame, where)
    if chosen.empty:
        raise InputError(f"no published number with {where}; tables: {sorted(frame['table'].unique())}")
    return chosen


def committed(**where: Any) -> pd.DataFrame:
    """Our records in `book/results/<preset>/<chapter>.csv`, filtered as in `published`; empty where nothing ran yet.

    Columns are those of `trials.export`; preset ("single" for trials of none) and chapter, to filter by; and outdated:
    whether the library was revised since in a part that the record rests on (tables mark it). A trial of several
    chapters is one row. A setting that did not exist yet when a record was made has the default it then got; so has a
    start that was not named.
    Raises InputError for a column that there is not.

    >>> from bilp_core import report
    >>> found = report.committed(method="dc", ipc=1, criterion=["random", "loss"])
    >>> set(found["criterion"]) <= {"random", "loss"}, bool((found["accuracy"] <= 1).all())
    (True, True)
    """
    records = _read_all(root() / "book" / "results", "*/*.csv", _about)
    for field in fields(Trial):
        if not records.empty and field.default not in (MISSING, None):
            column = records[field.name] if field.name in records else pd.Series(field.default, records.index)
            records[field.name] = column.where(column.notna(), field.default)
    if {"method", "init"} <= set(records):
        own = {
            method: Trial("any", method=method).start for method in records[records["init"].isna()]["method"].unique()
        }
        records["init"] = records["init"].astype(object).fillna(records["method"].map(own))
    chosen = _filter(records, where)
    return chosen if chosen.empty or "key" not in chosen else chosen.drop_duplicates("key", ignore_index=True)


def asked(preset: str, chapter: str) -> dict[str, Any]:
    """What `params/<preset>/<chapter>.yaml` asks for.

    >>> from bilp_core import report
    >>> report.asked("photos", "redundancy")["criteria"]
    ['random', 'loss']
    """
    return yaml.safe_load((root() / "params" / preset / f"{chapter}.yaml").read_text("utf-8"))


def names_of(records: pd.DataFrame, otherwise: str = "cifar10") -> str:
    """The data sets of records, for a caption; `otherwise` where there are none.

    >>> import pandas as pd
    >>> from bilp_core import report
    >>> report.names_of(pd.DataFrame({"data": ["cifar10", "CIFAR-10 (JPEG)", "cifar10"]}))
    'cifar10 and CIFAR-10 (JPEG)'
    """
    return " and ".join(records["data"].unique()) if len(records) else otherwise


def measurements(name: str) -> pd.DataFrame:
    """What we committed as `book/measurements/{name}.csv`, empty where that was not run yet; names: `MEASUREMENTS`.

    batches    : kinds of real batches in equal time.
    bench      : timings; starts : what compiling costs and gives; steps : where the time of a step goes.
    beside     : coresets, and DC, by the code of others from the same photographs.
    derivative : the loss beside the norm of its derivative.
    draws      : random draws, and coresets from networks of several ages.
    examples   : what the pictures of `examples` show.
    fair       : images, labels and protocol told apart.
    frontier   : what a few synthetic images lose where they stand for all; ite : ranking errors of the ITE's variants.
    hours      : pieces of the work that a preset would be at full size.
    large      : what decoding, and using data as large as ImageNet at 64x64, take in seconds and memory.
    rankings   : how far trials of several kinds rank alike.
    real       : random real images under the protocol of each method.
    selection  : what coresets take at full size.
    tried      : what did not help, with the numbers that were found.
    unrolling  : what gradients through a student's training take.
    Raises InputError for another name.

    >>> from bilp_core import report
    >>> {"variant", "error"} <= set(report.measurements("ite"))
    True
    """
    if name not in MEASUREMENTS:
        raise InputError(f"measurements {name!r}: must be one of {', '.join(MEASUREMENTS)}")
    path = root() / "book" / "measurements" / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def committed_curves() -> pd.DataFrame:
    """Loss curves of our committed records, `book/results/<preset>/curves/<chapter>.csv`, as `trials.curves` gives
    them. Their `key` is that of a record.

    >>> from bilp_core import report
    >>> report.committed_curves().columns.tolist()
    ['key', 'network', 'epoch', 'split', 'loss', 'accuracy']
    """
    frame = _read_all(root() / "book" / "results", "*/curves/*.csv").reindex(columns=CURVES)
    return frame.drop_duplicates(["key", "network", "epoch", "split"], ignore_index=True)


def _about(path: Path) -> dict[str, Any]:
    """What the rows of a table of records do not say themselves."""
    return {"preset": path.parent.name, "chapter": path.stem, "outdated": [outdated(row) for row in read(path)]}


def _read_all(folder: Path, pattern: str, where: Callable[[Path], dict[str, Any]] | None = None) -> pd.DataFrame:
    """All tables of a pattern below a folder; `where` gives columns of each."""
    frames = [pd.read_csv(path).assign(**(where(path) if where else {})) for path in sorted(folder.glob(pattern))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _filter(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    if frame.empty:
        return frame
    keep = pd.Series(True, index=frame.index)
    for column, wanted in where.items():
        if column not in frame.columns:
            raise InputError(f"no column {column!r} to filter by; columns: {', '.join(frame.columns)}")
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        keep &= frame[column].isin([value for value in values if value is not None]) | (
            frame[column].isna() & (None in values)
        )
    return frame[keep].reset_index(drop=True)
