"""Devices and how many jobs each takes."""

import os
import subprocess

from ..errors import InputError

MOST_ON_CPUS = 8  # workers a machine for small jobs; each holds some hundred MB


def visible_gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs this process may use, found without importing torch.

    None where $BILP_DEVICE is cpu.

    >>> import os
    >>> from unittest.mock import patch
    >>> from bilp_core.engines import visible_gpus
    >>> with patch.dict(os.environ, CUDA_VISIBLE_DEVICES="0,2"):
    ...     visible_gpus()
    ['0', '2']
    >>> with patch.dict(os.environ, BILP_DEVICE="cpu"):
    ...     visible_gpus()
    []
    """
    if os.environ.get("BILP_DEVICE") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return [name for name in names if name and name != "-1"]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    return [line.split()[1].rstrip(":") for line in lines if line.startswith("GPU ")]


def slots_per_device(default: int = 1) -> int:
    """$BILP_SLOTS, or the default. Raises InputError unless it is a whole number from 1.

    >>> import os
    >>> from bilp_core.engines import slots_per_device
    >>> slots_per_device()
    1
    >>> os.environ["BILP_SLOTS"] = "two"
    >>> slots_per_device()
    Traceback (most recent call last):
    bilp_core.errors.InputError: $BILP_SLOTS is 'two'; it must be a whole number from 1 (workers a device)
    """
    text = os.environ.get("BILP_SLOTS") or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"$BILP_SLOTS is {text!r}; it must be a whole number from 1 (workers a device)")
    return int(text)
