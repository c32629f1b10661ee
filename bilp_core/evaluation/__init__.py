"""How good a synthetic set is."""

from .accuracies import Accuracies, evaluate
from .protocols import Protocol, protocol

__all__ = [
    "Accuracies",
    "Protocol",
    "evaluate",
    "protocol",
]
