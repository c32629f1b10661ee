"""What the store holds, and how it gets into the committed tables."""

import argparse
from pathlib import Path

from ..utils import paths
from .book import check, from_here


def show(_: argparse.Namespace) -> None:
    """A line for each kind of trial."""
    import pandas as pd

    from ..trials import Store
    from ..utils.revisions import differing

    store = Store()
    kinds = ["data", "method", "ipc", "criterion"]
    rows = [
        [Path(record["data"]).name, *(record[name] for name in kinds[1:]), record["seed"], record["date"][:10],
         bool(differing(record.get("revisions", {})))]
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
    from .. import book, trials

    check()
    parameters = dict(args.parameters or [])
    if "data" in parameters:
        parameters["data"] = from_here(parameters["data"])
    names = [args.chapter] if args.chapter else [chapter.name for chapter in book.chapters() if chapter.defaults]
    folder = paths.root() / "book" / "results" / args.preset
    for name in names:
        asked = book.planned(name, args.preset, parameters)
        counts = trials.export(asked, folder, name, data_name=args.data_name, replace=args.replace)
        if drawn := trials.pictures(asked, folder / "sets"):
            counts["pictures of sets"] = drawn
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        print(f"{args.preset}/{name}.csv: {told or 'it asks for no trials'}")
