"""Standard output and error that do not fail: work that is done stays done when nobody can be told of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any


class Steady:
    r"""A stream that writes to another until that fails, and from then on to nobody.

    What the other cannot encode, such as a file's name that is no UTF-8, is written as escapes.
    failure : why it failed, None if it has not.

    >>> import io
    >>> from bilp_core.utils.printing import Steady
    >>> page = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> print("caf\u00e9", file=Steady(page), flush=True)
    >>> page.buffer.getvalue()
    b'caf\\xe9\n'
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        self._attempt(self._written, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._attempt(lambda: self.stream.flush())

    def _written(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError as error:
            self.stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))

    def _attempt(self, action: Callable[..., None], *given: str) -> None:
        if self.stream is None or self.failure is not None:  # there is none where it was closed from the start
            return
        try:
            action(*given)
        except (OSError, ValueError) as error:  # a full disk, a reader that has gone; a closed file
            self.failure = error
            with suppress(OSError, ValueError):  # what is still in its buffer goes nowhere, too
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def steady() -> Iterator[Steady]:
    """Within it, printing does not fail. Gives the standard output, so that one may ask whether it did.

    >>> from bilp_core.utils.printing import steady
    >>> with steady() as output:
    ...     print("done")
    done
    >>> output.failure is None
    True
    """
    output, errors = Steady(sys.stdout), Steady(sys.stderr)
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            yield output
        finally:
            output.flush()
            errors.flush()
