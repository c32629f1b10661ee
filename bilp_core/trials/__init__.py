"""Trials: what to run, the records of what ran, and the store that keeps them.

A trial is one seed of one setting: score, prune, distil, evaluate. Its record is stored by the process that made
it the moment it is finished, and the state of a distillation once a minute, so a stopped or killed run goes on where
it was. Several processes may share a store without locks: what another one has finished meanwhile is not done again,
two that work on the same trial at the same time both do it, and since every file is written whole, the store stays
sound.
Nothing here imports torch until a trial runs.
"""

from .exporting import export, uncommitted
from .pictures import pictures
from .plan import Plan, plan
from .provenance import commit, device, provenance
from .running import TrialsFailed, run
from .store import Store
from .table import curves, frame
from .trial import Trial, describe, grid

__all__ = [
    "Plan",
    "Store",
    "Trial",
    "TrialsFailed",
    "commit",
    "curves",
    "describe",
    "device",
    "export",
    "frame",
    "grid",
    "pictures",
    "plan",
    "provenance",
    "run",
    "uncommitted",
]
