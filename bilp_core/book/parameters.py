"""A chapter's parameters: read from its notebook, set by presets and by the caller, checked before it runs.

The cell tagged `parameters` is the only declaration: the names it assigns are the names there are, and the
type of each value is the type required. Papermill would only warn about an unknown name and never look at
types.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from typing import Any

import yaml

from ..errors import InputError

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

    overrides : values, or the text of values as typed on a command line ("5", "1e-3", "[dc, dm]").
    Raises InputError naming the chapter, the parameter, its value and what is allowed.

    >>> from bilp_core.book import parameters
    >>> parameters.settings({"seeds": 3, "lr": 0.1, "methods": ["dc"]}, {"seeds": 5}, {"methods": "[dc, dm]"}, "first")
    {'seeds': 5, 'lr': 0.1, 'methods': ['dc', 'dm']}
    >>> parameters.settings({"lr": 0.1}, {"lr": "1e-2"}, {}, "first")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: first: parameter lr = '1e-2' is str, not float. YAML reads 1e-2 as a string: write ...
    """
    values = dict(defaults)
    for name, value in preset.items():
        values[name] = _checked(value, name, defaults, chapter)
    for name, value in overrides.items():
        if isinstance(value, str) and not isinstance(defaults.get(name), str):
            value = _from_text(value)
        values[name] = _checked(value, name, defaults, chapter)
    return values


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


def _checked(value: Any, name: str, defaults: Mapping[str, Any], chapter: str) -> Any:
    if name not in defaults:
        close = difflib.get_close_matches(name, defaults, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(defaults) if defaults else "none"
        raise InputError(f"{chapter} has no parameter {name!r}.{hint} Its parameters: {known}")
    try:
        return _cast(value, defaults[name])
    except _Mismatch as wrong:
        inside = "" if wrong.value is value else f": {wrong.value!r}"
        raise InputError(
            f"{chapter}: parameter {name} = {value!r}{inside} is {_kind(wrong.value)}, not {wrong.wanted}"
            f"{_yaml_trap(wrong.value, wrong.wanted)}"
        ) from None


class _Mismatch(TypeError):
    """A value, perhaps deep inside a list or dict, and the kind of value wanted in its place."""

    def __init__(self, value: Any, wanted: str) -> None:
        super().__init__(value, wanted)
        self.value, self.wanted = value, wanted


def _cast(value: Any, default: Any) -> Any:
    """`value` as the type of `default`; _Mismatch where it is of another type."""
    match default:
        case None:
            return value
        case bool() | str():
            if isinstance(value, type(default)):
                return value
        case float():
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        case int():
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        case list() | tuple():
            if isinstance(value, list | tuple):
                return [_cast_item(item, default) for item in value]
        case dict():
            if isinstance(value, dict):
                return {key: _cast(item, default.get(key)) for key, item in value.items()}
    raise _Mismatch(value, _kind(default))


def _cast_item(item: Any, examples: list | tuple) -> Any:
    mismatches = []
    for example in examples:
        try:
            return _cast(item, example)
        except _Mismatch as wrong:
            mismatches.append(wrong)
    if not examples:
        return item
    if len({_kind(example) for example in examples}) == 1:
        raise mismatches[0]
    raise _Mismatch(item, " or ".join(dict.fromkeys(_kind(example) for example in examples)))


def _kind(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return "list of " + " or ".join(dict.fromkeys(_kind(item) for item in value))
    return {"NoneType": "null", "tuple": "list"}.get(type(value).__name__, type(value).__name__)


def _from_text(text: str) -> Any:
    """A value from its text: numbers as Python reads them (so 1e-3 is one), everything else as YAML."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{text!r} cannot be read as a value: {error}") from None


def _yaml_trap(value: Any, wanted: str) -> str:
    """A hint where a number was written as YAML does not read it."""
    if not isinstance(value, str) or wanted not in ("int", "float"):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if wanted == "int" and not number.is_integer():
        return ""
    remedy = yaml.safe_dump(int(number) if wanted == "int" else number).split("\n")[0]
    return f". YAML reads {value} as a string: write {remedy} (an exponent needs a dot and a sign: 1.0e+3)"
