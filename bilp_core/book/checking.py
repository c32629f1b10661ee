"""What a chapter's first cell does about its parameters, whoever set them: `bilp run`, papermill, or a hand in Jupyter.

`bilp run` has checked names and types before a kernel starts; papermill by hand would inject any name, and texts as
YAML reads them. So the check is here once more, with what a chapter alone can know: which lists may not be empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..errors import InputError
from . import parameters
from .chapter import chapters, named

INJECTED = "# Parameters\n"  # how papermill begins the cell that it adds


def check_parameters(
    names: dict[str, Any],
    chapter: str,
    *,
    some: Collection[str] = (),
    distinct: Collection[str] = (),
    least: Mapping[str, float] | None = None,
    shares: Collection[str] = (),
) -> None:
    """Check the parameters among a notebook's `names`, its globals(), and put them back as the kind of the defaults.

    some, distinct : parameters, and lists in them, of which there must be at least one; none twice.
    least  : the least value of the numbers in a parameter.
    shares : parameters whose numbers are shares, above 0 and below 1.
    Floats are rounded to 12 digits, as trials keep them, so that they are found again in the records.
    Raises InputError naming the parameter, its value and what is allowed.

    >>> from bilp_core.book import check_parameters, chapters
    >>> chapter = {chapter.name: chapter for chapter in chapters()}["overfitting"]
    >>> names = chapter.defaults | {"seeds": "2"}  # a text, as papermill makes of some numbers
    >>> check_parameters(names, "overfitting", distinct=["ratios"])
    >>> names["seeds"]
    2
    >>> check_parameters({**names, "ratios": []}, "overfitting", distinct=["ratios"])
    Traceback (most recent call last):
    bilp_core.errors.InputError: parameter ratios = [] of overfitting: there must be at least one
    >>> injected = {"In": ["", "# Parameters\\nsedes = 5"], "sedes": 5}  # IPython's record of what was executed
    >>> check_parameters(names | injected, "overfitting")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bilp_core.errors.InputError: overfitting has no parameter 'sedes'. Did you mean 'seeds'? Allowed: data, ...
    """
    defaults = named(chapter, chapters()).defaults
    injected = [name for cell in names.get("In", []) if cell.startswith(INJECTED) for name in parameters.read(cell, "")]
    if lost := [name for name in defaults if name not in names]:
        raise InputError(f"{chapter}: no value for {', '.join(lost)}; the cell tagged `parameters` gives them all")
    given = {name: names[name] for name in {**defaults, **dict.fromkeys(injected)}}
    values = {name: _rounded(value) for name, value in parameters.settings(defaults, {}, given, chapter).items()}
    for name in (*some, *distinct):
        value = values[name]
        lists = [list(value)]
        if isinstance(value, dict):
            lists += [part for part in value.values() if isinstance(part, list)]
        if not all(lists):
            raise InputError(f"parameter {name} = {value!r} of {chapter}: there must be at least one")
        if name in distinct and any(part in one[:place] for one in lists for place, part in enumerate(one)):
            raise InputError(f"parameter {name} = {value!r} of {chapter}: the same stands there twice")
    for name in shares:
        if not all(0 < number < 1 for number in _numbers(values[name])):
            raise InputError(f"parameter {name} = {values[name]!r} of {chapter}: shares are above 0 and below 1")
    for name, lowest in (least or {}).items():
        if any(number < lowest for number in _numbers(values[name])):
            raise InputError(f"parameter {name} = {values[name]!r} of {chapter}: must be at least {lowest:g}")
    names.update(values)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value
