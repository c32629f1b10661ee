"""The process that executes one notebook, see `execution`."""

import sys

from ..utils.printing import steady
from .execution import main

with steady():
    sys.exit(main(*sys.argv[1:]))
