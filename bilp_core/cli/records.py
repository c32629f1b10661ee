"""What the store holds, and how it gets into the committed tables."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils import paths
from .book import check, parameters_of

if TYPE_CHECKING:
    from ..trials import Trial


def show(_: argparse.Namespace) -> None:
    """A line for each kind of trial."""
    import pandas as pd

    from ..trials import Store, Trial

    store = Store()
    kinds = ["data", "method", "ipc", "criterion"]
    rows = [
        [Path(record["data"]).name, *(record[name] for name in kinds[1:]), record["seed"], record["date"][:10],
         Trial(**{f.name: record[f.name] for f in fields(Trial) if f.name in record})
         .outdated(record.get("revisions", {}))]
        for record in store.records()
    ]  # fmt: skip
    print(f"{store.path}: {len(rows)} records")
    for kind, group in pd.DataFrame(rows, columns=[*kinds, "seed", "date", "outdated"]).groupby(kinds):
        data, method, ipc, criterion = kind
        old = f", {group['outdated'].sum()} of an earlier revision" if group["outdated"].any() else ""
        print(
            f"  {data}, {method}, IPC {ipc}, {criterion}: {len(group)} of {group['seed'].nunique()} seeds, "
            f"the last of {group['date'].max()}{old}"
        )


def export(args: argparse.Namespace) -> None:
    folder, chapters = _asked(args)
    for name, asked in chapters.items():
        _export(name, asked, folder, args)


def fill(args: argparse.Namespace) -> None:
    """What a run that is stopped has finished gets into the tables, too."""
    from .. import engines, trials

    folder, chapters = _asked(args)
    os.environ.update(engines.for_small_jobs())
    for name, asked in chapters.items():
        left = trials.uncommitted(asked, folder, data_name=args.data_name)
        print(f"{args.preset}/{name}: {len(left)} of {len(asked)} trials are in no table")
        try:
            if left:
                trials.run(left)
        finally:  # what another chapter's table has gets into this one's, too
            _export(name, asked, folder, args)


def _asked(args: argparse.Namespace) -> tuple[Path, dict[str, list[Trial]]]:
    """The folder of the tables, and the trials of each chapter."""
    from .. import book

    check()
    names = [args.chapter] if args.chapter else [chapter.name for chapter in book.chapters() if chapter.defaults]
    asked = {name: book.planned(name, args.preset, parameters_of(args)) for name in names}
    return paths.root() / "book" / "results" / args.preset, asked


def _export(name: str, asked: list[Trial], folder: Path, args: argparse.Namespace) -> None:
    from .. import trials

    counts = trials.export(asked, folder, name, data_name=args.data_name, replace=args.replace)
    if drawn := trials.pictures(asked, folder / "sets"):
        counts["pictures of sets"] = drawn
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{args.preset}/{name}.csv: {told or 'it asks for no trials'}")
