"""Decoding the made-up data set of `parts` in a process of its own, which is killed in the middle, or gone on with."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bilp_core.data import large
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def _command(folder: Path, **source: Any) -> list[str]:
    given = ", ".join(f"{name}={value!r}" for name, value in source.items())
    program = (
        "from pathlib import Path; from tests.data import parts; from bilp_core.data import large; "
        f"large.decode(Path({str(folder)!r}), lambda: parts.source({given}), slots=2)"
    )
    return [sys.executable, "-c", program]


def decode_and_kill(folder: Path, **source: Any) -> None:
    """The whole of it, with its processes, by kill -9 once three blocks are done. source : arguments."""
    process = subprocess.Popen(_command(folder, seconds=0.3, **source), cwd=ROOT, start_new_session=True)
    wait_until(lambda: (folder / "plan").exists() and (folder / "train_done").read_bytes().count(1) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.7)  # its workers see that it is gone
    assert large.opened(folder) is None


def decode_on(folder: Path, **source: Any) -> None:
    """To the end, as fast as it goes."""
    subprocess.run(_command(folder, seconds=0.0, **source), cwd=ROOT, check=True)
