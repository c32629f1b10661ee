"""One chapter with many settings."""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from .. import engines
from ..errors import InputError
from ..utils import paths
from .building import run_chapter
from .chapter import chapters, named, settings
from .render import BuildFailed


def sweep(
    name: str,
    axes: Mapping[str, Sequence[Any]],
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    *,
    root: Path | None = None,
) -> list[Path]:
    """`run_chapter` with every combination of values, side by side on the engine; the executed notebooks, in order.

    axes : values, or the text of values, by parameter.
    Each run is one job and does its own trials one at a time, in the job's place on a device. Values that come to
    the same settings are one run.
    Raises InputError before anything runs, BuildFailed at the end if any run failed.

    >>> from bilp_core.book import sweep
    >>> sweep("overfitting", {"seeds": [1, "two"]})
    Traceback (most recent call last):
    bilp_core.errors.InputError: parameter seeds = 'two' of overfitting: must be a whole number, such as 3
    """
    root = root or paths.root()
    chapter = named(name, chapters(root))
    unique = {}
    for values in itertools.product(*axes.values()):
        run = dict(zip(axes, values, strict=True))
        unique[json.dumps(settings(chapter, preset, {**(overrides or {}), **run}, root), sort_keys=True)] = run
    runner = engines.engine()
    runner.everywhere(_same_project, (str(root), chapter.page, chapter.text))
    failed = []
    try:
        futures = {
            runner.submit(chapter_job, (name, preset, {**(overrides or {}), **run}, str(root))): " ".join(
                [name, *(f"{parameter}={value}" for parameter, value in run.items())]
            )
            for run in unique.values()
        }
        for done, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is not None:
                failed.append(f"{futures[future]}: {error}")
            print(f"{done}/{len(futures)} {'FAILED' if error else 'done'}: {futures[future]}", flush=True)
    except KeyboardInterrupt:
        runner.close()
        raise
    if failed:
        raise BuildFailed("\n".join([f"{len(failed)} of {len(futures)} runs failed", *failed]))
    return [Path(future.result()) for future in futures]


def chapter_job(name: str, preset: str, overrides: Mapping[str, Any], root: str) -> str:
    """`run_chapter` in a worker: its trials stay in this worker's place. The path of the executed notebook.

    root : of the project. Raises InputError, BuildFailed.

    >>> from bilp_core.book import chapter_job
    >>> from bilp_core.utils import paths
    >>> chapter_job("overfitting", "hasty", {}, str(paths.root()))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: there is no preset 'hasty'; there are: ...
    """
    before = dict(os.environ)
    os.environ.update(BILP_ENGINE="local", BILP_SLOTS="1")
    try:
        return str(run_chapter(name, preset, overrides, root=Path(root)))
    finally:  # the worker may be the caller's own process
        os.environ.clear()
        os.environ.update(before)


def _same_project(root: str, page: str, text: str) -> None:
    file = Path(root) / "book" / f"{page}.md"
    if not file.is_file() or file.read_text("utf-8") != text:
        raise InputError(
            f"{file} is not the same on {platform.node()}: the project must be in a folder all machines share"
        )
