"""Progress on stderr: a bar with the time left in a terminal, plain lines in a log."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

FIRST = 5.0  # seconds after which a log has its first line, with an estimate
Report = Callable[[int, int, str], None]  # (done, total, note)


def patience(progress: Report | None) -> float:
    """Seconds after which slow work reports although no round number is reached; infinite if nobody listens.

    >>> from bilp_core.utils.progress import Stopwatch, patience
    >>> patience(None), patience(print), patience(Stopwatch())
    (inf, 5.0, 0.0)
    """
    return math.inf if progress is None else getattr(progress, "patience", FIRST)


def duration(seconds: float) -> str:
    """Say a number of seconds as people do: '8 s', '2 min 5 s', '3 h 10 min'.

    >>> from bilp_core.utils.progress import duration
    >>> duration(125.2)
    '2 min 5 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Call it with (done, total, note); use it as a context manager, so that the bar is closed.

    label : what is being done, before the bar or the line.
    every : least seconds between two lines of a log; the last report is always shown.
    stream : where it goes, stderr if None.

    >>> import sys
    >>> from bilp_core.utils.progress import Progress
    >>> with Progress("distilling", stream=sys.stdout) as progress:
    ...     for step in (1, 2, 3):
    ...         progress(step, 3, f"loss {1 / step:.2f}")
    distilling: 3/3 loss 0.33, 0 s elapsed
    """

    def __init__(self, label: str, *, every: float = 15.0, stream: TextIO | None = None) -> None:
        self.label, self.every = label, every
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.start = time.monotonic()
        self.last = self.start - self.every + min(self.every, FIRST)
        self._first: tuple[float, float] | None = None  # what was done at the first report, which may be much, and when
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: float, total: float, note: str = "") -> None:
        self._first = self._first or (done, time.monotonic())
        if self.terminal:
            self._draw(done, total, note)
        else:
            now = time.monotonic()
            if now - self.last >= self.every or done >= total:
                self.last = now
                self._print(f"{self.label}: {done:g}/{total:g} {note}".rstrip() + self.times(done, total))

    def line(self, text: str) -> None:
        """Say an event: a line in a log, nothing in a terminal (the bar shows it)."""
        if not self.terminal:
            self._print(text)

    def times(self, done: float, total: float) -> str:
        """', 8 s elapsed, 2 min 5 s left': the average pace since the first report, carried on."""
        now = time.monotonic()
        text = f", {duration(now - self.start)} elapsed"
        before, begin = self._first or (0.0, self.start)
        if not before < done < total:
            return text
        return f"{text}, {duration((now - begin) / (done - before) * (total - done))} left"

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _draw(self, done: float, total: float, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            # smoothing=0: the time left follows the average pace, trials differ too much for a recent one.
            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left{postfix}"
            self._bar = tqdm(
                desc=self.label, total=total, initial=done, file=self.stream, smoothing=0, bar_format=layout
            )
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.refresh()


class Enough(Exception):
    """Raised by a `Stopwatch` to end work whose pace is known.

    >>> from bilp_core.utils.progress import Enough, Stopwatch
    >>> watch = Stopwatch(steps=0, seconds=0.0)
    >>> try:
    ...     watch(1, 10)
    ... except Enough:
    ...     print("one step was enough")
    one step was enough
    """


class Stopwatch:
    """A report that ends the work, by `Enough`, once its pace is known: to plan what has not been run.

    steps, seconds : how much it watches at least after the first report, which comes late where there is a warm-up.
    whole : seconds that all the work would take; None if it never reported.

    >>> from bilp_core.utils.progress import Enough, Stopwatch
    >>> watch = Stopwatch(steps=2, seconds=0.0)
    >>> try:
    ...     for step in range(1000):
    ...         watch(step + 1, 1000, "")
    ... except Enough:
    ...     print(step)
    2
    """

    patience = 0.0

    def __init__(self, steps: int = 3, seconds: float = 2.0, most: float = 30.0) -> None:
        self.steps, self.seconds, self.most = steps, seconds, most
        self.start = time.monotonic()
        self.marks: list[tuple[float, float]] = []  # when, and how much was done
        self.total = 0.0

    def __call__(self, done: float, total: float, note: str = "") -> None:  # noqa: ARG002
        now = time.monotonic()
        if total != self.total or (self.marks and done <= self.marks[-1][1]):  # another part of the work
            self.marks, self.total = [], total
        if done > 0:
            self.marks.append((now, done))
        watched = now - self.marks[0][0] if self.marks else 0.0
        if (len(self.marks) > self.steps and watched >= self.seconds) or now - self.start > self.most:
            raise Enough

    @property
    def whole(self) -> float | None:
        if not self.marks:
            return None
        (begin, before), (end, after) = self.marks[0], self.marks[-1]
        if len(self.marks) == 1:
            begin, before = self.start, 0.0
        return (end - begin) / (after - before) * self.total
