"""Which real samples stay: by score, before a distillation, or by their effect, during it."""

from .adaptive import LAWS, Adaptive, RunningNormal
from .classwise import keep, removed, stratum
from .diversity import relative_diversity
from .files import load_kept, save_kept
from .ite import VARIANTS, Treatments, rank_error
from .representative import Representative, representatives

__all__ = [
    "LAWS",
    "VARIANTS",
    "Adaptive",
    "Representative",
    "RunningNormal",
    "Treatments",
    "keep",
    "load_kept",
    "rank_error",
    "relative_diversity",
    "removed",
    "representatives",
    "save_kept",
    "stratum",
]
