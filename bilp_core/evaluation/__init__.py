"""How good a synthetic set is."""

from .accuracies import Accuracies, evaluate, judge_of, seen
from .baselines import Beside, all_real, beside, chance, hardly, random_real, stored, taught
from .fairness import Fair, fair
from .protocols import Protocol, known, protocol

__all__ = [
    "Accuracies",
    "Beside",
    "Fair",
    "Protocol",
    "all_real",
    "beside",
    "chance",
    "evaluate",
    "fair",
    "hardly",
    "judge_of",
    "known",
    "protocol",
    "random_real",
    "seen",
    "stored",
    "taught",
]
