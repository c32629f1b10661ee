"""A process that is asked, line by line, and answers with lines that begin with a word."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Self


class Process:
    """command, env : of a process that does something at each line it reads, and ends with its input."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env)
        )

    def heard(self, word: str) -> list[str]:
        """What follows the word in the next line that begins with it. SystemExit where the process ends before."""
        for line in self._process.stdout:
            if line.startswith(word):
                return line.split()[1:]
        raise SystemExit(f"a process ended with status {self._process.wait()}: {' '.join(self._process.args)}")

    def asked(self, word: str) -> list[str]:
        print(file=self._process.stdin, flush=True)
        return self.heard(word)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
