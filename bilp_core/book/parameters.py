"""A chapter's parameters: read from its notebook, set by presets and by the caller, checked before it runs.

The cell tagged `parameters` is the only declaration: the names it assigns are the names there are, and the
type of each value is the type required. Papermill would only warn about an unknown name and never look at
types.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..utils.options import merged

Values = dict[str, Any]


def read(source: str, chapter: str) -> Values:
    """Names and default values that a parameters cell assigns.

    source : Python text of the cell, one `name = literal` a line (annotations and comments allowed).
    Raises InputError where a line is anything else, for such a value could not be set from outside.

    >>> from bilp_core.book import parameters
    >>> parameters.read("seeds = 3  # runs\\nmethods = ['dc', 'dm']", "first")
    {'seeds': 3, 'methods': ['dc', 'dm']}
    """
    return {name: ast.literal_eval(value) for name, value in _assignments(source, chapter)}


def fill(source: str, values: Mapping[str, Any], chapter: str) -> str:
    """The parameters cell with `values` in place of its defaults; comments and layout stay.

    >>> from bilp_core.book import parameters
    >>> parameters.fill("seeds = 3  # runs", {"seeds": 5}, "first")
    'seeds = 5  # runs'
    """
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # ast counts columns in UTF-8 bytes
    for name, node in reversed(_assignments(source, chapter)):
        if ast.literal_eval(node) == values[name]:
            continue
        assert node.end_lineno is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [head + repr(values[name]).encode() + tail]
    return b"".join(lines).decode()


def settings(
    defaults: Mapping[str, Any], preset: Mapping[str, Any], overrides: Mapping[str, Any], chapter: str
) -> Values:
    """Defaults, over them the preset, over it the overrides: every name known, every value of the right type.

    Values may be text, as typed on a command line ("5", "1e-3", "[dc, dm]"): the rule is that of `utils.options`.
    Raises InputError naming the chapter, the parameter, its value and what is allowed.

    >>> from bilp_core.book import parameters
    >>> parameters.settings({"seeds": 3, "lr": 0.1, "methods": ["dc"]}, {"seeds": 5}, {"methods": "[dc, dm]"}, "first")
    {'seeds': 5, 'lr': 0.1, 'methods': ['dc', 'dm']}
    >>> parameters.settings({"lr": 0.1}, {"lr": "fast"}, {}, "first")
    Traceback (most recent call last):
    bilp_core.errors.InputError: parameter lr = 'fast' of first: must be a number, such as 0.1
    """
    return merged(chapter, defaults, {**preset, **overrides}, "parameter")


def _assignments(source: str, chapter: str) -> list[tuple[str, ast.expr]]:
    found = []
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                raise InputError(_not_literal(chapter, statement))
        try:
            ast.literal_eval(value)
        except ValueError:
            raise InputError(_not_literal(chapter, statement)) from None
        found.append((name, value))
    return found


def _not_literal(chapter: str, statement: ast.stmt) -> str:
    return (
        f"{chapter}: `{ast.unparse(statement)}` in the parameters cell is not `name = value` with a plain "
        "value (number, string, True, False, None, or a list or dict of these)"
    )
