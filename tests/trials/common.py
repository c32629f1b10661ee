"""Small trials, and stand-ins for the work that workers can import; no torch."""

import os
import time
from dataclasses import asdict

from bilp_core.trials import Store

TINY = {
    "data": "digits",
    "network": "convnet:depth=1,width=4",
    "options": {"iterations": 2},
    "evaluation": {"epochs": 2},
    "repeats": 2,
}


# stand-ins for the work, importable by the workers


def quick(trial, where):
    record = {**asdict(trial), "key": trial.key, "accuracy": 0.5, "accuracies": [0.5], "pid": os.getpid()}
    Store(where).put(record)
    return record


def bad_luck(trial, where):
    if trial.seed == 1:
        raise FloatingPointError("the loss is nan")
    if trial.seed == 2:
        os._exit(9)
    return quick(trial, where)


def slow(trial, where):
    time.sleep(0.3)
    return quick(trial, where)
