"""What trades the last digits of a number for time, under one switch, the variable BILP_SPEED.

    plain   float32 throughout, TF32 off, nothing compiled
    auto    long runs on a CPU are compiled; a GPU's convolutions may use TF32, as PyTorch's default has it
    mixed   as auto; and networks that score or judge samples train under autocast to bfloat16, their weights float32

Matrix products never use TF32: kernel regression, with a ridge of 1e-6, could not bear it. Nor is matching, which
differentiates twice, ever done in bfloat16; nor are the networks whose weights are the result, such as experts.
No mode changes a random draw, and in all of them memory is kept, which changes no digit. Trials of different modes
have different keys, so that none is taken for another.
"""

import ctypes
import os

import torch

from ..errors import InputError

MODES = ("plain", "auto", "mixed")


def mode() -> str:
    """$BILP_SPEED, 'auto' by default. Raises InputError for anything but `MODES`.

    >>> import os
    >>> from bilp_core.nets import speed
    >>> os.environ["BILP_SPEED"] = "plain"
    >>> speed.mode()
    'plain'
    """
    found = os.environ.get("BILP_SPEED") or "auto"
    if found not in MODES:
        raise InputError(f"BILP_SPEED = {found!r}: must be one of {', '.join(MODES)}")
    return found


def prepare(device: str) -> None:
    """Set what holds for the whole process, which will work on `device` (cpu or cuda).

    What a GPU computes with is left alone on a CPU: torch compiles anew what it compiled under other settings.
    """
    if device == "cpu":
        keep_memory()
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = mode() != "plain"


def keep_memory() -> None:
    """Have glibc keep what is freed for the next request, until the process ends; elsewhere nothing happens.

    By default it returns each large block to the kernel, which clears it page by page when the next batch asks for
    it: almost half of the time of a training on a CPU. The most memory that is held at one time grows by a quarter.
    """
    mmap_max, trim_threshold = -4, -1  # as malloc.h numbers them
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)


def autocast(device: torch.device, allowed: bool) -> torch.autocast:
    """A context in which networks run in bfloat16 if the mode is 'mixed' and this use of them is `allowed` to."""
    return torch.autocast(device.type, torch.bfloat16, enabled=allowed and mode() == "mixed")
