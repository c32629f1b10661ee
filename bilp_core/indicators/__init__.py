"""Indicators: a data set in, one score a sample out. Larger = harder, always.

A new indicator is a file here with an `INDICATOR`, and an entry in `registry.INDICATORS`: `bilp methods`, `bilp score`,
the trials and the generic tests follow from the registry.
"""

from .base import Indicator
from .files import load_scores, save_scores
from .loss import empirical_loss
from .over_trials import halves, over_trials, stepped_up
from .ranking import rank_correlation, rank_correlations
from .recording import loss_curves
from .registry import INDICATORS, options_of, resolve
from .scoring import Scored, check_until, score, score_together, scored, timed_score

__all__ = [
    "INDICATORS",
    "Indicator",
    "Scored",
    "check_until",
    "empirical_loss",
    "halves",
    "load_scores",
    "loss_curves",
    "options_of",
    "over_trials",
    "rank_correlation",
    "rank_correlations",
    "resolve",
    "save_scores",
    "score",
    "score_together",
    "scored",
    "stepped_up",
    "timed_score",
]
