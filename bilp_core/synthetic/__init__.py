"""Synthetic sets: what is saved, how it starts, what a stored image stands for."""

from .decoders import Bases, Decoder, Hallucinators
from .exchange import LAYOUTS, Exported, Layout, Told, describe, exported, imported, in_terms_of, layouts, merged
from .formation import Formation
from .initial import INITS, initial
from .relabelled import Relabelled
from .set import SyntheticSet, middle_grey

__all__ = [
    "INITS",
    "LAYOUTS",
    "Bases",
    "Decoder",
    "Exported",
    "Formation",
    "Hallucinators",
    "Layout",
    "Relabelled",
    "SyntheticSet",
    "Told",
    "describe",
    "exported",
    "imported",
    "in_terms_of",
    "initial",
    "layouts",
    "merged",
    "middle_grey",
]
