"""Usage of the command."""

import argparse
from collections.abc import Callable
from typing import Any

from .. import __version__
from ..utils.options import parse
from . import book, library


class _Once(argparse.Action):
    """Stores a value, and refuses a second one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        given = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.register("action", None, _Once)


def _number(kind: type) -> Callable[[str], Any]:
    """For argparse: a number by the rule of `utils.options`."""

    def read(text: str) -> Any:
        try:
            return parse(text, kind)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where to compute")
    common.add_argument("--debug", action="store_true", help="show where an error came from")

    source = _Parser(add_help=False)
    source.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    source.add_argument("--root", metavar="DIR", help="where named data sets lie ($BILP_DATA, else data/)")
    source.add_argument("--size", type=_number(int), metavar="PIXELS", help="bring a folder's images to this size")

    seed = _Parser(add_help=False)
    seed.add_argument("--seed", type=_seed, default=0, help="all randomness follows from it (0)")

    options = _Parser(add_help=False)
    options.add_argument(
        "--set", nargs="+", action="append", metavar="NAME=VALUE", help="change options, such as epochs=10"
    )

    made = _Parser(prog="bilp", description="Prune real data before and during dataset distillation, and distil it.")
    made.add_argument("--version", action="version", version=f"bilp {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, *parents: argparse.ArgumentParser, into: Any = None) -> Any:
        sub = (into or commands).add_parser(name, help=about, description=about, parents=[*parents, common])
        sub.set_defaults(run=run)
        return sub

    data = commands.add_parser("data", help="list the data sets, or check one", description="data sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    command("list", library.data_list, "the data sets known by name", into=actions)
    sub = command("check", library.data_check, "read a data set and report what is in it", source, into=actions)
    sub.add_argument("--json", metavar="FILE", help="write the report as JSON (- for standard output)")

    command("methods", library.methods, "the distillers and indicators, and what --set can change in each")

    sub = command("score", library.score, "score every training sample: larger = harder", source, seed, options)
    sub.add_argument("--indicator", default="loss", metavar="NAME", help="see `bilp methods` (loss)")
    sub.add_argument("--out", required=True, metavar="FILE.npz", help="arrays scores and labels")

    sub = command("prune", library.prune, "choose the samples to keep, class by class", source, seed)
    sub.add_argument("--scores", metavar="FILE.npz", help="what `bilp score` wrote")
    sub.add_argument("--ratio", type=_number(float), required=True, help="share of each class to remove, in [0, 1)")
    sub.add_argument("--drop", default="largest", choices=["largest", "smallest", "random"], help="what goes (largest)")
    sub.add_argument("--out", required=True, metavar="FILE.npy", help="indices that stay, int64")

    sub = command("distill", library.distill, "distil the training images into a few", source, seed, options)
    sub.add_argument("--method", default="dc", metavar="NAME", help="see `bilp methods` (dc)")
    sub.add_argument("--ipc", type=_number(int), default=1, help="synthetic images per class (1)")
    sub.add_argument("--keep", metavar="FILE.npy", help="use these samples only (`bilp prune`)")
    sub.add_argument(
        "--adaptive",
        type=_number(float),
        metavar="RATE",
        help="prune every real batch too, by ITE: the share to drop, in (0, 1)",
    )
    sub.add_argument(
        "--lazy", type=_number(int), default=10, metavar="STEPS", help="steps of a class one decision serves (10)"
    )
    sub.add_argument("--tails", default="both", help="which ITE go: both, largest or smallest (both)")
    sub.add_argument(
        "--effect", default="sketch", metavar="NAME", help="how the ITE is found (sketch); see the chapter"
    )
    sub.add_argument("--init", metavar="NAME", help="noise, real or herd; idc: mix, random or noise (the method's own)")
    sub.add_argument("--network", default="convnet", metavar="SPEC", help="e.g. convnet:depth=2,width=32 (convnet)")
    sub.add_argument(
        "--out", required=True, metavar="FILE.safetensors", help="the synthetic set; a PNG is written beside it"
    )

    sub = command("evaluate", library.evaluate, "train fresh networks on a synthetic set and test them", seed, options)
    sub.add_argument("file", metavar="FILE.safetensors")
    sub.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    sub.add_argument("--root", metavar="DIR", help="where named data sets lie ($BILP_DATA, else data/)")
    sub.add_argument("--size", type=_number(int), metavar="PIXELS", help="bring a folder's images to this size")
    sub.add_argument("--network", metavar="SPEC", help="network to train (the one it was distilled with)")
    sub.add_argument("--method", metavar="NAME", help="whose protocol (the one it was distilled with)")
    sub.add_argument("--repeats", type=_number(int), default=5, help="networks to train (5)")
    sub.add_argument("--json", metavar="FILE", help="write mean, std, accuracies, … (- for standard output)")

    preset = _Parser(add_help=False)
    preset.add_argument("--preset", default="quick", metavar="NAME", help="quick or paper (quick)")
    preset.add_argument("--engine", metavar="NAME", help="where trials run: local, ray or inline ($BILP_ENGINE; local)")
    sub = command("run", book.run, "execute one chapter of the book and render it", preset)
    sub.add_argument("chapter", metavar="CHAPTER", help="such as redundancy")
    sub.add_argument(
        "-p", nargs=2, action="append", dest="parameters", metavar=("NAME", "VALUE"), help="change a parameter"
    )
    sub.add_argument(
        "--sweep", nargs="+", action="append", metavar=("NAME", "VALUE"),
        help="one run for each value, side by side; given twice: for each combination",
    )  # fmt: skip
    sub = command("book", book.book, "execute what changed and render the book", preset)
    sub.add_argument("--draft", action="store_true", help="render only, execute nothing")
    sub.add_argument("--dist", action="store_true", help="then write the wheel, an archive and a PDF to dist/")
    sub.add_argument("--notebooks", action="store_true", help="write the chapters as .ipynb instead")
    return made


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in 0..{2**31 - 1}")
    return int(text)
