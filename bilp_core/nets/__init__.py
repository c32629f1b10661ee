"""Networks, their training, augmentation, and what is traded for speed."""

from .ensemble import Ensemble, Samples, TensorSamples
from .layers import Network
from .networks import NETWORKS, evaluation_spec, initialise, network, parse
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
    "evaluation_spec",
    "features_of_trained_network",
    "fit",
    "initialise",
    "measure",
    "network",
    "parse",
    "probe_for",
]
