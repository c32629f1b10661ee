"""Synthetic sets: what is saved, how it starts, what a stored image stands for."""

from .decoders import Bases, Decoder, Hallucinators
from .formation import Formation
from .initial import INITS, initial
from .relabelled import Relabelled
from .set import SyntheticSet, middle_grey

__all__ = [
    "INITS",
    "Bases",
    "Decoder",
    "Formation",
    "Hallucinators",
    "Relabelled",
    "SyntheticSet",
    "initial",
    "middle_grey",
]
