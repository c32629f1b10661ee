"""bilp compare."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..utils.files import atomic, check_output
from .files import load, write_json


def compare(args: argparse.Namespace) -> None:
    """Two files of scores of the same samples: Spearman's correlation a class, and what both keep."""
    from ..studies.comparing import compare as compared
    from ..studies.comparing import picture
    from ..studies.score_files import aligned, read_scores

    if args.json and args.json != "-":
        check_output(args.json)
    where = check_output(args.figure, ".png") if args.figure else None
    if where:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise InputError("--figure needs matplotlib: pip install 'bilp-book[book]'") from None
    one, other = (read_scores(path) for path in (args.first, args.second))
    data = load(args, need="train").train if args.data else None
    first, second, labels, classes = aligned(one, other, data)
    report = compared(first, second, labels, args.shares, args.drop)
    if where:
        import matplotlib.pyplot as plt

        figure = picture(first, second, labels, [Path(file.path).stem for file in (one, other)], args.drop)
        with atomic(where) as path:
            figure.savefig(path, dpi=160, metadata={"Software": None})
        plt.close(figure)
    report["classes"] = {classes[c]: found for c, found in report["classes"].items()}
    if args.json:
        write_json({"first": args.first, "second": args.second, "drop": args.drop, **report}, args.json)
    if args.json != "-":
        _print(report)


def _print(report: dict[str, Any]) -> None:
    width = max(len("class"), *map(len, report["classes"]))
    print(f"{'class':{width}}  samples  rank correlation")
    for name, found in report["classes"].items():
        print(f"{name:{width}}  {found['samples']:7}  {_number(found['correlation'])}")
    print(f"mean over classes, by samples: {_number(report['mean'])}")
    print(f"over all samples, whatever their class: {_number(report['overall'])}")
    for row in report["kept"]:
        share, both, chance = (f"{row[name]:.1%}" for name in ("share", "both", "chance"))
        print(f"kept {share:>6}: of what one keeps, the other keeps {both} (by chance {chance})")


def _number(value: float | None) -> str:
    return "no ranking" if value is None else f"{value:.3f}"
