"""Tests and the examples of docstrings start without the variables that steer the library, and leave none behind."""

import importlib.util

import pytest

from tests import shapes

shapes.install()  # before the library is imported

SETTINGS = ("BILP_DEVICE", "BILP_SLOTS", "BILP_ENGINE", "BILP_STORE", "BILP_COMPILE", "BILP_SPEED", "BILP_DEBUG")
SHOWN = ("UserWarning", "RuntimeWarning", "FutureWarning")  # of an example; those for developers are not
# `--doctest-modules` imports every file that it does not leave out: scripts are not to be run, and Ray is an extra
collect_ignore = ["tests/bench"]
if importlib.util.find_spec("ray") is None:
    collect_ignore.append("bilp_core/engines/ray.py")


@pytest.fixture(autouse=True)
def no_settings_from_outside(request, monkeypatch):
    """Examples besides work in an empty folder: files under plain names, records and caches stay there."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what a test sets is undone too
        monkeypatch.delenv(name)
    if isinstance(request.node, pytest.DoctestItem):
        folder = request.getfixturevalue("tmp_path")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("BILP_STORE", str(folder / "records"))
        monkeypatch.setenv("BILP_CACHE", str(folder / "cache"))


def pytest_collection_modifyitems(items):
    """An example that warns is no example."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker(pytest.mark.filterwarnings(*(f"error::{kind}" for kind in SHOWN), "ignore:.*pynvml.*"))
