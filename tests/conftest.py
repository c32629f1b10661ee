"""Every test starts without the variables that steer the library, and leaves none behind."""

import pytest


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in ("BILP_DEVICE", "BILP_SLOTS", "BILP_ENGINE", "BILP_STORE", "BILP_COMPILE", "BILP_DEBUG"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone too
        monkeypatch.delenv(name)
