"""Pruning real data before and during dataset distillation (BiLP, ECCV 2024)."""

import os

__version__ = "0.1.0"

# Idle OpenMP threads sleep instead of spinning: on shared or busy cores spinning slows small networks tenfold.
# Read when torch loads, so it has to be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
