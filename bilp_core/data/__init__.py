"""Labelled images: named data sets, folders, whitening."""

from .cache import cache_home
from .checking import check, check_folder
from .datasets import DATASETS, DataSet, load
from .images import ImageData, Splits, fingerprint, measured
from .stored import Stored
from .whitening import WHITENINGS, Whitening, whitened, with_whitening

__all__ = [
    "DATASETS",
    "WHITENINGS",
    "DataSet",
    "ImageData",
    "Splits",
    "Stored",
    "Whitening",
    "cache_home",
    "check",
    "check_folder",
    "fingerprint",
    "load",
    "measured",
    "whitened",
    "with_whitening",
]
