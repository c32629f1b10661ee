"""Where and with what a number was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError


def device() -> str:
    """$BILP_DEVICE (cpu or cuda), or the GPU if there is one; prepared for $BILP_SPEED.

    Raises InputError for another word, and for cuda where there is no GPU.

    >>> import os
    >>> from bilp_core.trials import device
    >>> os.environ["BILP_DEVICE"] = "cpu"
    >>> device()
    'cpu'
    """
    import torch

    from ..nets import speed

    wanted = os.environ.get("BILP_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"BILP_DEVICE = {wanted!r}: must be auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("BILP_DEVICE = 'cuda', but PyTorch sees no GPU here")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    speed.prepare(place)
    return place


def provenance(place: str) -> dict[str, Any]:
    """Device, date (UTC), versions, commit and $BILP_SPEED: what a number has to carry.

    place : as `device` gives it.

    >>> from bilp_core.trials import provenance
    >>> made = provenance("cpu")
    >>> list(made), list(made["versions"])
    (['device', 'date', 'versions', 'commit', 'speed'], ['bilp_core', 'python', 'torch'])
    """
    import torch

    from ..nets import speed

    name = torch.cuda.get_device_name() if place.startswith("cuda") else _cpu()
    return {
        "device": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"bilp_core": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        "commit": commit(),
        "speed": speed.mode(),
    }


def _cpu() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"CPU, {os.cpu_count()} cores, {model}"


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the checkout this library runs from, with '-dirty' if changed; its version elsewhere.

    A copy without its history may say it in a file COMMIT beside the library. Found once a process.

    >>> from bilp_core.trials import commit
    >>> 0 < len(commit()) and commit() == commit()
    True
    """
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        said = here / "COMMIT"
        return said.read_text("utf-8").strip() if said.is_file() else __version__
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return answer.stdout.strip() or __version__
