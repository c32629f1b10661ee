"""The `bilp` command. Heavy imports wait inside the commands, so that --help answers at once."""

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import InputError
from ..utils.printing import steady
from .parser import parser
from .words import plain_warnings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted.

    A print that fails changes it only where printing is all that the command was for, and somebody was there to read.
    """
    with steady() as output:
        args = parser().parse_args(argv)
        status = _run(args)
        output.flush()
        if status == 0 and output.failure is not None and not isinstance(output.failure, BrokenPipeError):
            print(f"bilp: nothing could be printed: {output.failure}", file=sys.stderr)
            alone = args.json == "-" if getattr(args, "json", None) else args.prints
            return 1 if alone else 0
        return status


def _run(args: argparse.Namespace) -> int:
    try:
        if args.device != "auto":
            os.environ["BILP_DEVICE"] = args.device
        if getattr(args, "engine", None):
            os.environ["BILP_ENGINE"] = args.engine
        with plain_warnings():
            args.run(args)
    except KeyboardInterrupt:
        print("bilp: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug or os.environ.get("BILP_DEBUG") == "1":
            raise
        wrong_input = isinstance(error, InputError)
        kind = "" if wrong_input or isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        print(f"bilp: error: {kind}{error}", file=sys.stderr)
        return 2 if wrong_input else 1
    return 0
