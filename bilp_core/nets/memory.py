"""How much of a batch, and how many networks, pass at once."""

import sys
from pathlib import Path

import torch
from torch import Tensor

CHUNK = 2**16  # positions (images x height x width) a forward pass on a CPU: activations then stay near the cache
FEW_ENOUGH = 2**19  # positions a step of a whole ensemble on a CPU
TESTED = 5 * 2**20  # positions that networks are tested on side by side: 1024 images of 32x32 for each of five
BYTES = 4096  # that training holds a position: 2.7 kB in a ConvNet of width 128, and the optimiser's share


def split(images: Tensor) -> tuple[Tensor, ...]:
    """Images [N, C, H, W] in parts for one pass each: all of them on a GPU, cache-sized parts on a CPU."""
    if images.device.type != "cpu":
        return (images,)
    return images.split(max(1, CHUNK // _positions(images.shape[1:])))


def fitting_tests(shape: tuple[int, ...], networks: int) -> int:
    """Images [C, H, W] that so many networks are tested on at a time: at most 1024, fewer large ones or clips.

    >>> from bilp_core.nets.memory import fitting_tests
    >>> fitting_tests((3, 32, 32), 5), fitting_tests((3, 64, 64), 5), fitting_tests((24, 64, 64), 5)
    (1024, 256, 32)
    """
    most = max(1, TESTED // (networks * _positions(shape)))
    return min(1024, 2 ** (most.bit_length() - 1))


def _positions(shape: tuple[int, ...]) -> int:
    """Of an image [C, H, W], or of all frames of a clip."""
    return max(1, shape[0] // 3) * shape[-2] * shape[-1]


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated: of a GPU what is free, and what PyTorch holds without using it; of the machine
    what Linux calls available, elsewhere no limit."""
    if device.type != "cuda":
        try:
            return int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
        except (OSError, IndexError):
            return sys.maxsize
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def fitting(positions: int, device: torch.device) -> int:
    """How many networks may train in one ensemble: as many as fit the memory, by a guess that is safe for ConvNets.

    positions : images x height x width of one network's step. On a CPU few gain as much as many.
    """
    if device.type == "cpu":
        return max(1, FEW_ENOUGH // positions)
    return max(1, int(free_memory(device) * 0.8) // (BYTES * positions))
