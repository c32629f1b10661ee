"""What is said of the time: in a log, and in a terminal."""

import io
import time

import pytest

from bilp_core.utils.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_durations():
    assert [duration(s) for s in (7.6, 125, 11400)] == ["8 s", "2 min 5 s", "3 h 10 min"]


def test_time_left_follows_the_pace_since_the_first_report(clock):
    """What a stopped job had done before, or what compiling took, is no pace."""
    log = io.StringIO()
    with Progress("dc", every=15, stream=log) as bar:
        for seconds, done in ((20, 600), (10, 620), (10, 650)):
            clock[0] += seconds
            bar(done, 1000, "loss 1")
    assert log.getvalue().splitlines() == [
        "dc: 600/1000 loss 1, 20 s elapsed",
        "dc: 650/1000 loss 1, 40 s elapsed, 2 min 20 s left",
    ]


def test_the_last_report_is_always_shown(clock):
    log = io.StringIO()
    with Progress("dc", every=15, stream=log) as bar:
        bar(1, 1)
    assert log.getvalue() == "dc: 1/1, 0 s elapsed\n"


def test_a_bar_starts_where_a_stopped_job_was():
    screen = Terminal()
    with Progress("dc", stream=screen) as bar:
        bar(600, 1000, "goes on")
        bar(1000, 1000)
        assert bar._bar.initial == 600
    assert "60%" in screen.getvalue()
    assert "100%" in screen.getvalue()
