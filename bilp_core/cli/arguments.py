"""What the usage of commands is made of."""

import argparse
from collections.abc import Callable
from typing import Any

from ..utils.options import parse


class Once(argparse.Action):
    """Stores a value, and refuses a second one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        given = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.register("action", None, Once)


def number(kind: type) -> Callable[[str], Any]:
    """For argparse: a number by the rule of `utils.options`."""

    def read(text: str) -> Any:
        try:
            return parse(text, kind)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def seed_of(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in 0..{2**31 - 1}")
    return int(text)


def add_reading(made: argparse.ArgumentParser) -> None:
    """How DATA is read."""
    made.add_argument("--root", metavar="DIR", help="where named data sets lie ($BILP_DATA, else data/)")
    made.add_argument("--size", type=number(int), metavar="PIXELS", help="bring a folder's images to this size")
    made.add_argument(
        "--depth", type=number(int), metavar="BITS",
        help="8, 10, 12 or 16: of deep images (as they declare, else the fewest that hold all values)",
    )  # fmt: skip
    made.add_argument("--frames", type=number(int), metavar="N", help="of the clip from each of a folder's videos (8)")
    made.add_argument("--no-flip", action="store_true", help="a mirrored image means something else: never mirror")
    made.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")
    made.add_argument("--recursive", action="store_true", help="take images in sub-folders of a class, too")
    made.add_argument(
        "--test-share", type=number(float), default=0.0, metavar="SHARE",
        help="make a test half of so large a share of each class, where there is none",
    )  # fmt: skip
    made.add_argument("--split-seed", type=seed_of, default=0, metavar="SEED", help="which share that is (0)")
