"""Pages' tables of methods and indicators, made from the registries: see `reference`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from .docstrings import blocks, inline, rst, split_names
from .public import PACKAGE, files, full_name, is_defined, meant


class Written(SphinxDirective):
    """A directive that stands for the reStructuredText which `write` gives."""

    def write(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        made = nodes.Element()
        self.state.nested_parse(StringList(list(self.write()), source=self.name), 0, made)
        return made.children


class Methods(Written):
    def write(self) -> Iterator[str]:
        from ..distillers import METHODS, Separable

        rows = (
            [
                f":py:obj:`{name} <{full_name(cls)}>`",
                inline(cls.summary),
                ", ".join([f"**{cls.default_init}**", *(init for init in cls.inits if init != cls.default_init)]),
                yes(issubclass(cls, Separable)),
                yes(cls.staged),
                inline(published(cls)),
            ]
            for name, cls in METHODS.items()
        )
        head = ["Method", "What it does", "Starts from", "Adaptive pruning", "First stage", "Published"]
        yield from table(head, rows)
        yield from ["In bold: where it starts from unless it is told otherwise.", ""]
        for cls in METHODS.values():
            yield from [f".. autoclass:: {full_name(cls)}", "", *(f"   {line}" for line in self.settings(cls))]

    def settings(self, cls: Any) -> Iterator[str]:
        from ..distillers import options_of

        said = meanings(*(base for base in cls.__mro__ if base.__module__.startswith(PACKAGE)))
        options = options_of(cls.name).items()
        rows = ([f"``{key}``", f"``{value}``", inline(meaning(key, said))] for key, value in options)
        return table(["Setting", "Default", "Meaning"], rows)


class Indicators(Written):
    def write(self) -> Iterator[str]:
        from ..indicators import INDICATORS
        from ..indicators.recording import Recorded

        rows = (
            [
                f":ref:`{name} <indicator-{name}>`",
                inline(indicator.summary),
                yes(isinstance(indicator, Recorded)),
                yes(bool(indicator.trials)),
            ]
            for name, indicator in INDICATORS.items()
        )
        yield from table(["Indicator", "What it is", "Shares a training", "Goes on after a stop"], rows)
        for name, indicator in INDICATORS.items():
            yield from [f".. _indicator-{name}:", "", f".. rubric:: {name}", ""]
            yield from self.one(name, indicator)
        yield from [".. _indicator-training:", "", ".. rubric:: The training that indicators watch", ""]
        yield from self.trainings()

    def one(self, name: str, indicator: Any) -> Iterator[str]:
        """What its file says of it, and the settings that are its own or differ from those of the training."""
        from .. import coresets, indicators
        from ..nets import Probe
        from ..nets.probe import PROBES, probe_options

        alone = [file for file in files(indicators) if getattr(file, "INDICATOR", None) is indicator]
        functions = [value for file in alone for value in vars(file).values() if is_defined(value)]
        functions += [indicator.compute, getattr(coresets, name, indicator.compute)]
        text = inspect.getdoc(alone[0] if alone else indicator.compute) or ""
        yield from rst(blocks(text), lambda name: meant(name, indicators.__name__))

        said = meanings(*functions, Probe)
        defaults = {data: indicator.options(data) for data in ("", *PROBES)}
        rows, shared = [], []
        for key, value in defaults[""].items():
            if all(own[key] == probe_options(data).get(key) for data, own in defaults.items()):
                shared.append(f"``{key}``")
                continue
            others = [f"{data}: ``{own[key]}``" for data, own in defaults.items() if own[key] != value]
            choices = indicator.choices.get(key, ())
            least = indicator.least.get(key, 1 if isinstance(value, int) else 0)
            allowed = ", ".join(f"``{choice}``" for choice in choices) or (
                "" if isinstance(value, str) else f"from {least}"
            )
            rows.append([f"``{key}``", ", ".join([f"``{value}``", *others]), allowed, inline(meaning(key, said))])
        if rows:
            yield from table(["Setting", "Default", "Allowed", "Meaning"], rows)
        if shared:
            yield from [f"Settings of the :ref:`training <indicator-training>`: {', '.join(shared)}.", ""]

    def trainings(self) -> Iterator[str]:
        """Settings of the probe, which differ by data set."""
        from ..nets.probe import PROBES, probe_options

        head = ["Data", *(f"``{key}``" for key in probe_options(""))]
        rows = (
            [data or "others", *(f"``{value}``" for value in probe_options(data).values())] for data in (*PROBES, "")
        )
        return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        yield from (f"   {'* -' if not place else '  -'} {cell}" for place, cell in enumerate(row))
    yield ""


def yes(true: bool) -> str:
    return "yes" if true else "no"


def meanings(*values: Any) -> dict[str, str]:
    """What the docstrings of objects say of names, `name : meaning`; the first objects have precedence."""
    said: dict[str, str] = {}
    for value in reversed(values):
        for part in blocks(inspect.getdoc(value) or ""):
            if part.kind == "field":
                said |= dict.fromkeys(split_names(part.names), part.text)
    return said


def meaning(name: str, said: Mapping[str, str]) -> str:
    """That of `name`, or of a group of names it belongs to, such as `network_*`."""
    group = (text for known, text in said.items() if known[-1] == "*" and name.startswith(known[:-1]))
    return said.get(name) or next(group, "")


def published(value: Any) -> str:
    """Conference and year, from the source that its docstring names, or else from that of its file."""
    said = inspect.getdoc(inspect.getmodule(value)) or ""
    for part in blocks(inspect.getdoc(value) or ""):
        if part.text.startswith("Source: "):
            said = part.text
    found = re.search(r"\b[A-Z]\w+ (19|20)\d\d\b", said)
    return found[0] if found else ""
