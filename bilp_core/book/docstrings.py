"""Docstrings as pages show them: plain text with lines `name, name : meaning` and examples, made reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

_NAME = r"[A-Za-z_][\w.]*\*?(?:\([^()]*\))?"
_NAMES = rf"{_NAME}(?:, {_NAME})*(?: = \S+)?"
_FIELD = re.compile(rf"({_NAMES})\s+: (.*)")
_NEXT_FIELD = re.compile(rf"(?<=[.;]) (?={_NAMES} : )")  # several meanings on one line
_OWN_LINE = re.compile(r"(Returns|Raises|Source)\b|- ")  # starts a paragraph wherever a line starts with it
_LITERAL = re.compile(r"``.+?``|`[^`]+`|\$[A-Z]+(?:_[A-Z]+)*")  # variables of the environment, too

Link = Callable[[str], str | None]


@dataclass
class Block:
    """A part of a docstring: 'text', 'field' (the meaning of what is in `names`), 'code' or 'example'."""

    kind: str
    text: str
    names: str = ""


def blocks(docstring: str) -> list[Block]:
    """The parts of a docstring, in order. Lines of a paragraph and of a meaning are joined.

    A meaning goes on while lines are indented below its name, and where its last line ended inside a sentence.
    What is indented otherwise is code. An example goes on to the next empty line.
    """
    found: list[Block] = []
    open_at: int | None = None  # indentation of the text that the next line may go on with; None: there is none
    for line in docstring.splitlines():
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        last = found[-1] if found else None
        if not bare:
            open_at = None
            if last and last.kind == "code":
                last.text += "\n"
        elif last and last.kind == "example" and open_at is not None:
            last.text += f"\n{line[open_at:]}"
        elif bare.startswith(">>>"):
            found.append(Block("example", bare))
            open_at = indent
        elif field := _FIELD.fullmatch(bare):
            found.append(Block("field", field[2], field[1]))
            open_at = indent
        elif last and last.kind == "code" and indent:
            last.text += f"\n{line}"
        elif open_at is None and indent:
            found.append(Block("code", line))
        elif last and open_at is not None and _goes_on(last, bare, indent > open_at):
            last.text += f" {bare}"
        else:
            found.append(Block("text", bare))
            open_at = indent
    return [part for block in found for part in _split(block)]


def _goes_on(last: Block, line: str, deeper: bool) -> bool:
    if last.kind == "field":
        return deeper or last.text[-1] not in ".:;"
    return not _OWN_LINE.match(line)


def _split(block: Block) -> Iterator[Block]:
    """Meanings that stand behind others, or behind a sentence, on the same line."""
    if block.kind in ("code", "example"):
        yield block
        return
    first, *others = _NEXT_FIELD.split(block.text)
    yield Block(block.kind, first.removesuffix(";"), block.names)
    for other in others:
        names, meaning = _FIELD.fullmatch(other).groups()  # type: ignore[union-attr]
        yield Block("field", meaning, names)


def rst(parts: list[Block], link: Link = lambda _: None) -> list[str]:
    """Lines of reStructuredText; runs of fields are definition lists.

    link : the full name of what is in single backticks, or None where it is no name of ours.
    """
    lines: list[str] = []
    for kind, run in groupby(parts, key=lambda block: block.kind):
        for block in run:
            if kind == "field":
                lines += [", ".join(f"``{name}``" for name in split_names(block.names))]
                lines += [f"   {inline(block.text, link)}", ""]
            elif kind == "code":
                lines += ["::", "", *(f"   {line}" for line in block.text.rstrip().split("\n")), ""]
            elif kind == "example":
                lines += [*block.text.split("\n"), ""]
            else:
                bullet = "- " if block.text.startswith("- ") else ""
                lines += [bullet + inline(block.text.removeprefix("- "), link), ""]
    return lines


def split_names(names: str) -> list[str]:
    """`a, f(x, y)` -> [`a`, `f(x, y)`]."""
    return re.split(r", (?![^()]*\))", names)


def inline(text: str, link: Link = lambda _: None) -> str:
    """One line of text as reStructuredText: what is in backticks, or a $VARIABLE, is literal or a link, and all else
    stands for itself."""
    made, end = "", 0
    for literal in _LITERAL.finditer(text):
        name = literal[0].strip("`")
        full = link(name)
        made += _plain(text[end : literal.start()])
        made += rf"\ :py:obj:`{name} <{full}>`\ " if full else rf"\ ``{name}``\ "
        end = literal.end()
    return (made + _plain(text[end:])).removeprefix("\\ ")


def _plain(text: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", text)
