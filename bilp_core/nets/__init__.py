"""Networks, their training, augmentation, and what is traded for speed."""

from .ensemble import Ensemble, Samples, TensorSamples
from .layers import Network
from .networks import (
    NETWORKS,
    check_frames,
    default_network,
    doubts,
    evaluation_spec,
    initialise,
    network,
    norm_positions,
    parse,
)
from .probe import PROBES, Probe, features_of_trained_network, probe_for
from .recipe import LOSSES, Recipe
from .training import fit, measure

__all__ = [
    "LOSSES",
    "NETWORKS",
    "PROBES",
    "Ensemble",
    "Network",
    "Probe",
    "Recipe",
    "Samples",
    "TensorSamples",
    "check_frames",
    "default_network",
    "doubts",
    "evaluation_spec",
    "features_of_trained_network",
    "fit",
    "initialise",
    "measure",
    "network",
    "norm_positions",
    "parse",
    "probe_for",
]
