"""Usage of the command."""

import argparse
from collections.abc import Callable
from typing import Any

from .. import __version__
from . import book, cache, comparing, exchange, library, records
from .arguments import Parser, add_reading, number, seed_of
from .set_usage import set_usage

PRINT = (
    library.data_list,
    library.data_check,
    library.methods,
    comparing.compare,
    cache.show,
    records.show,
    exchange.show,
    exchange.layouts,
)  # commands that do nothing else


def parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where to compute")
    common.add_argument("--debug", action="store_true", help="show where an error came from")

    source = Parser(add_help=False)
    source.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    add_reading(source)

    seed = Parser(add_help=False)
    seed.add_argument("--seed", type=seed_of, default=0, help="all randomness follows from it (0)")

    options = Parser(add_help=False)
    options.add_argument(
        "--set", nargs="+", action="append", metavar="NAME=VALUE", help="change options, such as epochs=10"
    )

    made = Parser(prog="bilp", description="Prune real data before and during dataset distillation, and distil it.")
    made.add_argument("--version", action="version", version=f"bilp {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, *parents: Parser, into: Any = None) -> Any:
        sub = (into or commands).add_parser(name, help=about, description=about, parents=[*parents, common])
        sub.set_defaults(run=run, prints=run in PRINT)
        return sub

    data = commands.add_parser("data", help="list the data sets, or check one", description="data sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    command("list", library.data_list, "the data sets known by name", into=actions)
    sub = command("check", library.data_check, "read a data set and report what is in it", source, into=actions)
    sub.add_argument("--json", metavar="FILE", help="write the report as JSON (- for standard output)")

    command("methods", library.methods, "the distillers and indicators, and what --set can change in each")

    sub = command("score", library.score, "score every training sample: larger = harder", source, seed, options)
    sub.add_argument("--indicator", default="loss", metavar="NAME", help="see `bilp methods` (loss)")
    sub.add_argument(
        "--until", type=number(float), metavar="R",
        help="stop as soon as two halves of the trials rank the samples of a class alike: Spearman's correlation at "
        "least R, such as 0.95; --set trials=N is then the most there are to be",
    )  # fmt: skip
    sub.add_argument("--out", required=True, metavar="FILE.npz", help="scores, labels and names of the samples")

    sub = command("prune", library.prune, "choose the samples to keep, class by class", source, seed)
    sub.add_argument("--scores", metavar="FILE.npz", help="what `bilp score` wrote")
    sub.add_argument("--ratio", type=number(float), required=True, help="share of each class to remove, in [0, 1)")
    sub.add_argument("--drop", default="largest", choices=["largest", "smallest", "random"], help="what goes (largest)")
    sub.add_argument("--out", required=True, metavar="FILE.npy", help="indices that stay, int64, and of which data")
    sub.add_argument("--list", metavar="FILE", help="write the file names that stay, one a line")
    sub.add_argument("--list-removed", metavar="FILE", help="write the file names that go, one a line")
    sub.add_argument("--trust-indices", action="store_true", help="take plain scores that do not say what they are of")

    sub = command("compare", comparing.compare, "do two files of scores rank the same samples alike?")
    sub.add_argument("first", metavar="A", help="scores: .npz of `bilp score`, .npy, or .json, a list (a list a class)")
    sub.add_argument("second", metavar="B", help="scores of the same samples in the same order")
    sub.add_argument("--data", metavar="DATA", help="whose samples these are, where no file says their classes")
    add_reading(sub)
    sub.add_argument(
        "--shares", nargs="+", type=number(float), default=[0.01, 0.1, 0.4], metavar="SHARE",
        help="kept of each class, to see how much both keep (0.01 0.1 0.4)",
    )  # fmt: skip
    sub.add_argument(
        "--drop", nargs="+", default=["largest"], metavar="END",
        help="which scores go, largest or smallest; two words: of A and of B (largest)",
    )  # fmt: skip
    sub.add_argument("--json", metavar="FILE", help="write the report as JSON (- for standard output)")
    sub.add_argument("--figure", metavar="FILE.png", help="rank against rank, and what both keep, as a picture")

    sub = command("distill", library.distill, "distil the training images into a few", source, seed, options)
    sub.add_argument("--method", default="dc", metavar="NAME", help="see `bilp methods` (dc)")
    sub.add_argument("--ipc", type=number(int), default=1, help="synthetic images per class (1)")
    sub.add_argument("--keep", metavar="FILE.npy", help="use these samples only (`bilp prune`)")
    sub.add_argument(
        "--trust-indices", action="store_true",
        help="take plain indices, or true and false for each sample, that do not say what they are of",
    )  # fmt: skip
    sub.add_argument(
        "--adaptive",
        type=number(float),
        metavar="RATE",
        help="prune every real batch too, by ITE: the share to drop, in (0, 1)",
    )
    sub.add_argument(
        "--lazy", type=number(int), default=10, metavar="STEPS", help="steps of a class one decision serves (10)"
    )
    sub.add_argument("--tails", default="both", help="which ITE go: both, largest or smallest (both)")
    sub.add_argument(
        "--law",
        default="running",
        help="whose law says where the tails begin: running, of all batches so far, or batch, of this one (running)",
    )
    sub.add_argument(
        "--effect",
        default="auto",
        metavar="NAME",
        help="how the ITE is found (auto), such as sketch:top=2; see the chapter",
    )
    sub.add_argument(
        "--batch", default="random", choices=("random", "represent"),
        help="real batches: random, or represent, those next to the centres of clusters (random)",
    )  # fmt: skip
    sub.add_argument(
        "--interval", type=number(int), default=10, metavar="STEPS", help="steps of a class one clustering serves (10)"
    )
    sub.add_argument(
        "--init",
        metavar="NAME",
        help="noise, real or herd; idc: mix, random or noise (the method's own); or a set's file",
    )
    sub.add_argument(
        "--stop", type=number(int), default=0, metavar="ROUNDS", help="end after so many of the iterations (0: all)"
    )
    sub.add_argument(
        "--plateau", type=number(int), default=0, metavar="ROUNDS",
        help="end when the mean loss of so many rounds is no lower than of as many before (0: never)",
    )  # fmt: skip
    sub.add_argument(
        "--part", metavar="K/N", help="part K of N of the classes, for `bilp merge` (dm, dc, dsa, idc, idm, cafe)"
    )
    sub.add_argument(
        "--network", metavar="SPEC", help="e.g. convnet:depth=2,width=32 (a convnet that suits the size of the images)"
    )
    sub.add_argument(
        "--out", required=True, metavar="FILE.safetensors", help="the synthetic set; picture and card go beside it"
    )

    sub = command("evaluate", library.evaluate, "train fresh networks on a synthetic set and test them", seed, options)
    sub.add_argument("file", metavar="FILE.safetensors")
    sub.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    add_reading(sub)
    sub.add_argument("--network", metavar="SPEC", help="network to train (the one it was distilled with)")
    sub.add_argument("--method", metavar="NAME", help="whose protocol (the one it was distilled with)")
    sub.add_argument("--repeats", type=number(int), default=5, help="networks to train (5)")
    sub.add_argument("--full", action="store_true", help="train a network on all real images, too, to compare with")
    sub.add_argument(
        "--fair", action="store_true", help="also without its labels and without augmentation: HLR, IOR, LRS, ARS"
    )
    sub.add_argument("--no-real", action="store_true", help="do not train on random real images to compare with")
    sub.add_argument("--json", metavar="FILE", help="write mean, std, accuracies, … (- for standard output)")

    set_usage(command, seed, options)

    preset = Parser(add_help=False)
    preset.add_argument("--preset", default="quick", metavar="NAME", help="quick, photos or paper (quick)")
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
    sub.add_argument("--plan", action="store_true", help="run nothing: how many trials, and what they will take here")
    sub = command("records", records.show, "what the store holds; or add it to the committed tables (export, fill)")
    actions = sub.add_subparsers(metavar="ACTION")
    for action, function, about in (
        ("export", records.export, "add what is done of a chapter to book/results/<preset>/<chapter>.csv"),
        ("fill", records.fill, "run what these tables lack, the most telling first, and add it"),
    ):
        sub = command(action, function, about, into=actions)
        sub.add_argument("chapter", nargs="?", metavar="CHAPTER", help="such as redundancy (all of them)")
        sub.add_argument(
            "--preset", default="quick", metavar="NAME", help="whose trials: quick, photos or paper (quick)"
        )
        sub.add_argument(
            "-p", nargs=2, action="append", dest="parameters", metavar=("NAME", "VALUE"),
            help="a parameter of the chapter, such as data",
        )  # fmt: skip
        sub.add_argument(
            "--data-name", metavar="NAME", help='how a folder of images is called ("CIFAR-10 (JPEG)"; its own)'
        )
        sub.add_argument(
            "--replace", action="store_true", help="let rows of the same settings go that another run gave"
        )
    sub = command("cache", cache.show, "what is kept between runs: how much, how old")
    actions = sub.add_subparsers(metavar="ACTION")
    sub = command("clean", cache.clean, "remove what is old or large, and can be made again", into=actions)
    sub.add_argument("--older", type=_measure("age"), metavar="AGE", help="what was not used for so long: 30d, 12h, 2w")
    sub.add_argument("--larger", type=_measure("size"), metavar="SIZE", help="what takes at least so much: 500MB, 1GB")
    sub.add_argument(
        "--kind", nargs="+", metavar="KIND",
        help="of these kinds only (`bilp cache` lists them); records, scores and synthetic sets go only if named here",
    )  # fmt: skip
    sub.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    sub = command("book", book.book, "execute what changed and render the book", preset)
    sub.add_argument("--plan", action="store_true", help="run nothing: how many trials, and what they will take here")
    sub.add_argument("--draft", action="store_true", help="render only, execute nothing")
    sub.add_argument("--dist", action="store_true", help="then write the wheel, an archive and a PDF to dist/")
    sub.add_argument("--notebooks", action="store_true", help="write the chapters as .ipynb instead")
    return made


def _measure(kind: str) -> Callable[[str], float]:
    """For argparse: an age or a size, see `trials.keeping`."""

    def read(text: str) -> float:
        from ..trials import keeping

        try:
            return {"age": keeping.age, "size": keeping.size}[kind](text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
