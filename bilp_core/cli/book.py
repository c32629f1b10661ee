"""Commands that execute chapters."""

import argparse
import os
from importlib.util import find_spec

from ..errors import InputError
from ..utils import paths

NEEDED = ("jupyter_book", "jupytext", "matplotlib", "nbformat", "papermill", "seaborn")  # of the extra `book`


def check() -> None:
    """Chapters are in the clone and not in the package, and what executes them is an extra of it."""
    from .. import engines

    paths.root()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"the book needs {', '.join(missing)}: pip install 'bilp-book[book]', or use `make`")
    engines.check()


def from_here(data: str) -> str:
    """A folder of images as the user means it, from where they stand or their home: a chapter runs at the root."""
    from ..data.datasets import DATASETS, own_folder

    return data if data in DATASETS else str(own_folder(data).absolute())


def parameters_of(args: argparse.Namespace) -> dict[str, str]:
    """What -p says, a folder of data from where the user stands."""
    parameters = dict(args.parameters or [])
    if "data" in parameters:
        parameters["data"] = from_here(parameters["data"])
    return parameters


def _plan(names: list[str], preset: str, parameters: dict[str, str]) -> None:
    """Print what the trials of chapters will take, together: they share what they can."""
    from .. import book, trials

    found = [trial for name in names for trial in book.planned(name, preset, parameters)]
    print(trials.plan(found, show=print))
    print(
        "(of trials alone: scores and networks that a chapter makes for its figures are not in it, and can take hours)"
    )


def run(args: argparse.Namespace) -> None:
    from .. import book, engines

    check()
    parameters = parameters_of(args)
    axes = {name: values for name, *values in args.sweep or []}
    if "data" in axes:
        axes["data"] = [from_here(data) for data in axes["data"]]
    if len(axes) < len(args.sweep or []) or not all(axes.values()):
        raise InputError("--sweep: write NAME VALUE VALUE ..., each NAME once")
    if args.plan:
        if axes:
            raise InputError("--plan is for one run: leave --sweep out")
        os.environ.update(engines.for_small_jobs())
        _plan([args.chapter], args.preset, parameters)
    elif axes:
        os.environ.update(engines.for_small_jobs())
        for path in book.sweep(args.chapter, axes, args.preset, parameters):
            print(path)
    else:
        book.run_chapter(args.chapter, args.preset, parameters)


def book(args: argparse.Namespace) -> None:
    from .. import book, engines

    check()
    if args.plan:
        os.environ.update(engines.for_small_jobs())
        _plan([chapter.name for chapter in book.chapters() if chapter.defaults], args.preset, {})
    elif args.notebooks:
        for path in book.notebooks(args.preset):
            print(path)
    elif args.dist:
        for path in book.distribute(args.preset, draft=args.draft):
            print(path)
    else:
        book.build(args.preset, draft=args.draft)
