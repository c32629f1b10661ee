"""Chromium without a window, as tests look at the pages and the PDF is printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from ..errors import InputError

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program() -> str:
    """The browser's command. Raises InputError, with the remedy, where it or what steers it is not there."""
    if find_spec("playwright") is None:
        raise InputError("playwright, which steers the browser, is not installed: pip install 'bilp-book[dev]'")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise InputError("there is no Chromium on this machine; on Debian: apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A browser of playwright, closed when the block ends."""
    command = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=command, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()
