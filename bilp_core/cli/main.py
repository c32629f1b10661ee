"""The `bilp` command. Heavy imports wait inside the commands, so that --help answers at once."""

import os
import sys
from collections.abc import Sequence

from ..errors import InputError
from .parser import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted."""
    args = parser().parse_args(argv)
    try:
        if args.device != "auto":
            os.environ["BILP_DEVICE"] = args.device
        if getattr(args, "engine", None):
            os.environ["BILP_ENGINE"] = args.engine
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("bilp: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if args.debug or os.environ.get("BILP_DEBUG") == "1":
            raise
        wrong_input = isinstance(error, InputError)
        kind = "" if wrong_input or isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        print(f"bilp: error: {kind}{error}", file=sys.stderr)
        return 2 if wrong_input else 1
    return 0
