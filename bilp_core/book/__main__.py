"""The process that executes one notebook, see `execution`."""

import sys

from .execution import main

sys.exit(main(*sys.argv[1:]))
