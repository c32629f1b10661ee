"""Revisions of the library's parts: when one is raised, what was stored and rests on it is made again.

Raise a part when a change of the library alters the numbers that it gives, and each other part whose numbers change
with it: DSA's with DC's, Monte-Carlo's with those of what it distils and trains.

    core              training, the loop of distillation, networks, augmentation
    method:NAME       a distiller                   experts           first stages (and the methods that use them)
    indicator:NAME    a score                       adaptive          adaptive pruning and its effects
    init:NAME         how synthetic images start    protocol          evaluation
    data:NAME         a named data set              data:folder       how folders of images are read
    effects           what adaptive pruning takes for the ITE where that is left to the method

A part that is not listed has revision 1, so what is new needs no line here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

REVISIONS = {"core": 6, "effects": 2, "method:idm": 2, "method:mtt": 2}


def revision(part: str) -> int:
    """The revision of a part.

    >>> from bilp_core.utils.revisions import revision
    >>> revision("core") >= 6, revision("method:of tomorrow")
    (True, 1)
    """
    return REVISIONS.get(part, 1)


def any_of(kind: str) -> bool:
    """Whether a part of this kind was ever raised.

    >>> from bilp_core.utils.revisions import any_of
    >>> any_of("core"), any_of("method:of tomorrow")
    (True, False)
    """
    return any(part.startswith(kind) for part in REVISIONS)


def numbers(parts: Iterable[str]) -> dict[str, int]:
    """The revision of each part, for a record.

    >>> from bilp_core.utils.revisions import numbers
    >>> numbers(["method:of tomorrow"])
    {'method:of tomorrow': 1}
    """
    return {part: revision(part) for part in parts}


def changed(parts: Iterable[str]) -> dict[str, Any]:
    """What a key has to hold of the parts beside the core: those that were raised, under one name; else nothing.

    So keys stay as they are until a part is raised that they rest on.

    >>> from bilp_core.utils.revisions import changed
    >>> changed(["core", "method:of tomorrow"])
    {}
    """
    raised = {part: number for part, number in numbers(parts).items() if part != "core" and number != 1}
    return {"revisions": raised} if raised else {}


def differing(made: Mapping[str, int]) -> list[str]:
    """The parts that had another revision when a record was made than they have now.

    made : the record's `revisions`.

    >>> from bilp_core.utils.revisions import differing
    >>> differing({"core": 1, "method:of tomorrow": 1})
    ['core']
    """
    return [part for part, number in made.items() if number != revision(part)]
