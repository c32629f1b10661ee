"""One rule for named options and parameters: the names are those of the defaults, the values of the defaults' kind.

A value may be given as text, as typed on a command line or written in a preset. What it means depends on what is
wanted, never on how it looks:

    a whole number : 10, -3, 1e3. Decimal: 010 is ten; 0x10, 1_000, 1:30 and 5.0 are refused.
    a number       : 0.1, 1e-3, 10; decimal and finite.
    a switch       : true, on, yes, or false, off, no.
    text           : stands as it is: off is three letters.
    lists, mappings: as in YAML, [dc, dm] or {dc: 50}; what is in them follows the same rule.

Where the default does not say what is wanted (None, or nothing like it in it), numbers are numbers, null is None, and
the rest is text.
"""

import difflib
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ..errors import InputError

WHOLE = re.compile(r"[+-]?[0-9]{1,18}(e[+]?1?[0-9])?", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list", tuple: "a list"}


def parse(text: str, wanted: type) -> Any:
    """The value of the type `wanted` (int, float, bool or str) that `text` writes. Raises ValueError for none.

    >>> from bilp_core.utils.options import parse
    >>> parse("010", int), parse("1e3", float), parse("off", bool), parse("off", str)
    (10, 1000.0, False, 'off')
    >>> parse("1:30", float)
    Traceback (most recent call last):
    ValueError: '1:30' must be a number
    """
    if wanted is str:
        return text
    if wanted is bool and text.lower() in SWITCH:
        return SWITCH[text.lower()]
    if wanted is int and WHOLE.fullmatch(text):
        digits, _, zeros = text.lower().partition("e")
        return int(digits) * 10 ** int(zeros or 0)
    if wanted is float and NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise ValueError(f"{text!r} must be {KINDS[wanted]}")


def merged(owner: str, defaults: Mapping[str, Any], given: Mapping[str, Any], noun: str = "option") -> dict[str, Any]:
    """`given` over `defaults`, each value, or its text, as the kind of its default.

    owner : what the options belong to, for messages. Raises InputError naming the option, its value, what is allowed.

    >>> from bilp_core.utils.options import merged
    >>> merged("dm", {"iterations": 20000, "image_lr": 1.0}, {"image_lr": "1e1"})
    {'iterations': 20000, 'image_lr': 10.0}
    >>> merged("dm", {"iterations": 20000, "image_lr": 1.0}, {"image_rl": 10})
    Traceback (most recent call last):
    bilp_core.errors.InputError: dm has no option 'image_rl'. Did you mean 'image_lr'? Allowed: iterations, image_lr
    """
    result = dict(defaults)
    for name, value in given.items():
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{owner} has no {noun} {name!r}.{hint} Allowed: {', '.join(defaults) or 'none'}")
        try:
            result[name] = _read(value, defaults[name])
        except _Mismatch as wrong:
            item, wanted = wrong.args
            inside = "" if item is value else f", {item!r} in it"
            raise InputError(f"{noun} {name} = {value!r} of {owner}{inside}: must be {wanted}") from None
    return result


class _Mismatch(ValueError):
    """A value, perhaps deep inside a list or mapping, and what is wanted in its place."""


def _read(value: Any, like: Any) -> Any:
    """`value`, or what it is the text of, as the kind of thing that `like` is; _Mismatch where it is none."""
    given, wanted = value, type(like)
    try:
        if isinstance(value, str) and wanted in (list, tuple, dict):
            given = yaml.load(value, yaml.BaseLoader)  # in it, each scalar stays text
        elif isinstance(value, str) and like is not None:
            return parse(value, wanted)
    except (ValueError, yaml.YAMLError):
        given = value
    if isinstance(given, list | tuple) and wanted in (list, tuple, type(None)):
        return [_like_one(item, like or ()) for item in given]
    if isinstance(given, dict) and wanted in (dict, type(None)):
        return {(key := _like_one(k, like or ())): _read(item, (like or {}).get(key)) for k, item in given.items()}
    if like is None:
        return None if given == "null" else _like_one(given, (0, 0.0, "")) if isinstance(given, str) else given
    if isinstance(given, int | float if wanted is float else wanted) and isinstance(given, bool) == (wanted is bool):
        return wanted(given)
    raise _Mismatch(value, f"{KINDS.get(wanted, 'a mapping')}, such as {reprlib.repr(like)}")


def _like_one(item: Any, examples: Iterable[Any]) -> Any:
    """The item as the kind of one of the examples, of text last; where there are none, nothing is known of it."""
    wrong = None
    for example in sorted(examples, key=lambda example: isinstance(example, str)):
        try:
            return _read(item, example)
        except _Mismatch as mismatch:
            wrong = wrong or mismatch
    if wrong is not None:
        raise wrong
    return _read(item, None)
