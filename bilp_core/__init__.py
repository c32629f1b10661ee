"""Pruning real data before and during dataset distillation (BiLP, ECCV 2024)."""

__version__ = "0.1.0"
