"""Usage of the commands for sets that come from elsewhere or go there."""

from collections.abc import Callable
from typing import Any

from . import exchange
from .arguments import Parser, add_reading, number


def set_usage(command: Callable[..., Any], seed: Parser, options: Parser) -> None:
    """Sets that come from elsewhere or go there."""
    sub = command(
        "show", exchange.show, "the card of a synthetic set: what it is, how to evaluate it, known accuracies"
    )
    sub.add_argument("file", metavar="FILE.safetensors")

    sub = command("import", exchange.import_set, "read a synthetic set that another repository saved")
    sub.add_argument("files", nargs="+", metavar="FILE", help="its files, or their folder")
    sub.add_argument("--like", required=True, metavar="NAME", help="whose files they are, see `bilp layouts`")
    sub.add_argument("--data", required=True, metavar="DATA", help="what it stands for: a name or a folder of images")
    add_reading(sub)
    sub.add_argument("--out", required=True, metavar="FILE.safetensors", help="the set; picture and card go beside it")
    sub.add_argument("--values", choices=("pixels", "normalised"), help="what the numbers of the images are")
    sub.add_argument("--mean", nargs="+", metavar="M", help="they are normalised by: a number a channel; data; cifar10")
    sub.add_argument("--std", nargs="+", metavar="S", help="deviations, likewise")
    sub.add_argument("--zca", metavar="KIND", help="none, or how they are whitened: absolute, relative or channels")
    sub.add_argument("--labels", choices=("hard", "shares", "logits", "targets"), help="what the labels are")
    sub.add_argument("--lr", type=number(float), metavar="RATE", help="the learning rate learned with the images")
    sub.add_argument("--factor", type=number(int), metavar="F", help="idc: parts a side that an image is cut into")
    sub.add_argument("--decode", choices=("single", "multi", "bound"), help="idc: how (single)")
    sub.add_argument("--experiment", type=number(int), metavar="N", help="dc: which of the file's, from 1")
    sub.add_argument("--method", metavar="NAME", help="by whose protocol it is evaluated (as the layout says)")
    sub.add_argument("--network", metavar="SPEC", help="the network it was made with, which evaluates it")
    sub.add_argument("--classes", nargs="+", metavar="NAME", help="classes in the order of the file's labels")

    sub = command("export", exchange.export, "write a synthetic set for other code, with a README", seed, options)
    sub.add_argument("file", metavar="FILE.safetensors")
    sub.add_argument("--to", required=True, metavar="NAME", help="folder (PNG), pt, npz, or another of `bilp layouts`")
    sub.add_argument("--out", required=True, metavar="FOLDER", help="a new folder")
    sub.add_argument("--stored", action="store_true", help="images as they are kept, not as networks see them")
    sub.add_argument("--data", metavar="DATA", help="compare accuracies before and after on this")
    add_reading(sub)
    sub.add_argument("--repeats", type=number(int), default=5, help="networks to train for that (5)")

    sub = command("merge", exchange.merge, "sets of different classes as one, or all parts of one (`distill --part`)")
    sub.add_argument("files", nargs="+", metavar="FILE.safetensors")
    sub.add_argument("--classes", nargs="+", metavar="NAME", help="their order (as folders have it: 2 before 10)")
    sub.add_argument("--out", required=True, metavar="FILE.safetensors", help="the set; picture and card go beside it")

    command("layouts", exchange.layouts, "whose files `bilp import` reads and `bilp export` writes")
