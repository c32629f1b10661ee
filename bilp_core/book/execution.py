"""Runs one notebook in a process of its own: `python -m bilp_core.book NOTEBOOK OUT`.

A process each, because papermill changes the working directory. The exit status is what is trusted, not the
saved notebook: when a kernel dies, papermill marks every cell as completed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .. import engines

KERNEL_DID_NOT_START = 75  # EX_TEMPFAIL: worth another try


class ExecutionFailed(RuntimeError):
    """A notebook did not run to its end."""


def execute(notebook: Path, out: Path, *, cwd: Path) -> None:
    """Execute `notebook` with the working directory `cwd` and write it to `out`, showing progress on the way.

    Tries once more when the kernel did not start (a busy machine), never when a cell failed.
    Raises ExecutionFailed; `out` then holds the cells that ran, for a look at them.
    """
    command = [sys.executable, "-m", "bilp_core.book", str(notebook), str(out)]
    environment = os.environ | {
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not a namesake in the home folder
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger warns about frozen modules
    }
    environment |= engines.for_small_jobs()
    for _ in range(2):
        status = subprocess.run(command, cwd=cwd, env=environment, check=False).returncode
        if status != KERNEL_DID_NOT_START:
            break
    if status != 0:
        raise ExecutionFailed(f"{notebook.stem} stopped (exit status {status}); what ran of it: {out}")


class _Terminal:
    """One line on a terminal that says where the notebook is; what the kernel writes goes above it."""

    def __init__(self, title: str, cells: int) -> None:
        self.title, self.cells = title, cells
        self.live = sys.stderr.isatty()
        self.started = time.monotonic()

    def cell(self, number: int) -> None:
        if self.live:
            seconds = time.monotonic() - self.started
            sys.stderr.write(f"\r\033[K{self.title}: cell {number} of {self.cells}, {seconds:.0f} s")
            sys.stderr.flush()

    def write(self, text: str) -> None:
        sys.stderr.write(f"\r\033[K{text}" if self.live else text)

    def flush(self) -> None:
        sys.stderr.flush()


def _end_with_parent() -> None:
    """Leave nothing running when the command that started this process was killed (the kernel follows us)."""

    def watch(parent: int = os.getppid()) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(notebook: str, out: str) -> int:
    """Execute `notebook` into `out`; the exit status: 0 done, 1 a cell failed, KERNEL_DID_NOT_START."""
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook
    from papermill.engines import NBClientEngine, papermill_engines

    _end_with_parent()
    node = nbformat.read(notebook, as_version=4)
    terminal = _Terminal(Path(notebook).stem, len(node.cells))
    at = 0  # number of the cell being run, 1 for the first; 0 while the kernel starts

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *args: Any, **kwargs: Any) -> Any:
            start = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int, **rest: Any) -> None:
                nonlocal at
                at = cell_index + 1
                terminal.cell(at)
                start(cell, cell_index, **rest)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, *args, **kwargs)

    papermill_engines.register("book", Engine)
    try:
        execute_notebook(
            notebook,
            out,
            engine_name="book",
            kernel_name="python3",
            progress_bar=False,
            stderr_file=terminal,
            extra_arguments=["--log-level=ERROR"],  # else each kernel warns at length about TCP
        )
    except PapermillExecutionError as error:
        terminal.write(f"{terminal.title}: cell {at} of {terminal.cells} failed.\n{error}\n")
        return 1
    except DeadKernelError:
        terminal.write(f"{terminal.title}: the kernel died in cell {at} of {terminal.cells} (out of memory?).\n")
        return 1
    except RuntimeError as error:
        if at > 0:
            raise
        terminal.write(f"{terminal.title}: the kernel did not start: {error}\n")
        return KERNEL_DID_NOT_START
    terminal.write("")
    return 0
