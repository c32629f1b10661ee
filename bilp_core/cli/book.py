"""Commands that execute chapters."""

import argparse
import os

from ..errors import InputError


def run(args: argparse.Namespace) -> None:
    from .. import book, engines

    engines.check()
    axes = {name: values for name, *values in args.sweep or []}
    if len(axes) < len(args.sweep or []) or not all(axes.values()):
        raise InputError("--sweep: write NAME VALUE VALUE ..., each NAME once")
    if axes:
        os.environ.update(engines.for_small_jobs())
        for path in book.sweep(args.chapter, axes, args.preset, dict(args.parameters or [])):
            print(path)
    else:
        book.run_chapter(args.chapter, args.preset, dict(args.parameters or []))


def book(args: argparse.Namespace) -> None:
    from .. import book, engines

    engines.check()
    if args.notebooks:
        for path in book.notebooks(args.preset):
            print(path)
    else:
        book.build(args.preset, draft=args.draft)
