"""How good a synthetic set is."""

from .accuracies import Accuracies, check_same, evaluate, judge_of, seen
from .baselines import Beside, all_real, beside, chance, factor_of, hardly, judged_by, random_real, stored, taught
from .card import card, known_accuracies, remember, set_print
from .fairness import Fair, fair
from .protocols import Protocol, known, protocol

__all__ = [
    "Accuracies",
    "Beside",
    "Fair",
    "Protocol",
    "all_real",
    "beside",
    "card",
    "chance",
    "check_same",
    "evaluate",
    "factor_of",
    "fair",
    "hardly",
    "judge_of",
    "judged_by",
    "known",
    "known_accuracies",
    "protocol",
    "random_real",
    "remember",
    "seen",
    "set_print",
    "stored",
    "taught",
]
