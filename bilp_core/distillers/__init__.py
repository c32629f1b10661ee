"""Distillers: real images in, a synthetic set out. A new method is one file here."""

from ..errors import Diverged
from .batches import ClassBatches
from .loop import distill, seen
from .matching import Matching, Separable, check_adaptive, check_represent, settled
from .method import Distiller, check_augment
from .parts import Part, joined, only
from .registry import METHODS, make, options_of, suited
from .run import Run
from .starting import start_of
from .stopping import EarlyStop

__all__ = [
    "METHODS",
    "ClassBatches",
    "Distiller",
    "Diverged",
    "EarlyStop",
    "Matching",
    "Part",
    "Run",
    "Separable",
    "check_adaptive",
    "check_augment",
    "check_represent",
    "distill",
    "joined",
    "make",
    "only",
    "options_of",
    "seen",
    "settled",
    "start_of",
    "suited",
]
