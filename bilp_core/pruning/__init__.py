"""Which real samples stay: by score, before a distillation, or by their effect, during it."""

from .adaptive import Adaptive, RunningNormal
from .classwise import keep, removed, stratum
from .diversity import relative_diversity
from .ite import VARIANTS, Treatments, rank_error

__all__ = [
    "VARIANTS",
    "Adaptive",
    "RunningNormal",
    "Treatments",
    "keep",
    "rank_error",
    "relative_diversity",
    "removed",
    "stratum",
]
