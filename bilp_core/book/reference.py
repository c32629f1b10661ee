"""A Sphinx extension: the pages about the library, made from its docstrings and registries when the book is rendered.

    .. bilp-room:: data      what a room says of itself, then its public names
    .. bilp-methods::        the distillers: what each needs, then the settings of each
    .. bilp-indicators::     the indicators, likewise

The directives write reStructuredText, as autodoc does: in MyST they stand in `eval-rst`. A page with code cells gets
links to the public names that these use, above its box of origins.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

from .docstrings import blocks, rst, split_names
from .public import PACKAGE, meant, named, names, public
from .registries import Indicators, Methods, Written

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# a tensor and what is said of it, as autodoc writes them (with the module of the type twice)
_ANNOTATED = re.compile(r"~?(?:typing\.)?Annotated\[(?:~?[\w.]+\.)?(~?[\w.]+), ('[^']*')\]")

# a default that shows as <something at an address>, of which Sphinx can't make a signature
_REPR = re.compile(r"<(?:[^<>]|<[^<>]*>)*>")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("bilp-room", Room)
    app.add_directive("bilp-methods", Methods)
    app.add_directive("bilp-indicators", Indicators)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    app.connect("doctree-read", _link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Room(Written):
    required_arguments = 1

    def write(self) -> Iterator[str]:
        module = importlib.import_module(f"{PACKAGE}.{self.arguments[0]}")
        yield from rst(blocks(inspect.getdoc(module) or ""), lambda name: meant(name, module.__name__))
        for full in public(module):
            yield from _described(full, named(full))


def _described(full: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        yield from [f".. auto{kind}:: {full}", *(["   :members:"] if kind == "class" else []), ""]
    elif callable(value):
        yield from [f".. autofunction:: {full}", ""]
    else:
        module, _, name = full.rpartition(".")
        yield from [f".. py:data:: {name}", f"   :module: {module}", "", f"   {_listed(value)}", ""]


def _listed(value: Any) -> str:
    """A constant in a line."""
    if isinstance(value, dict | tuple | list):
        return ", ".join(f"``{each}``" for each in value)
    return f"``{value!r}``"


# ---- what autodoc shows -----------------------------------------------------------------------------------------


def _docstring(_app: Sphinx, what: str, full: str, value: Any, _options: Any, lines: list[str]) -> None:
    parts = blocks("\n".join(lines))
    if what == "class" and parts and parts[0].text.startswith(f"{value.__name__}("):
        parts = []  # a dataclass without one has its signature there
    if _is_method(what, value):
        parts = [part for part in parts if part.kind != "field"]  # they are in the table of its settings
    own = {name for part in parts for name in split_names(part.names)} | set(_parameters(value))
    lines[:] = rst(parts, lambda name: meant(name, full, own))


def _signature(
    _app: Sphinx, what: str, _full: str, value: Any, _options: Any, arguments: str | None, returned: str | None
) -> tuple[str, str]:
    """A method has none: its settings are in a table. What annotates a tensor stands behind it in brackets."""
    if _is_method(what, value):
        return "", ""
    return _REPR.sub("...", _ANNOTATED.sub(r"\1[\2]", arguments or "")), _ANNOTATED.sub(r"\1[\2]", returned or "")


def _skip(_app: Sphinx, _what: str, _name: str, value: Any, skip: bool, _options: Any) -> bool:
    """The fields of named tuples say nothing of their own."""
    return skip or (inspect.getdoc(value) or "").startswith("Alias for field number")


def _is_method(what: str, value: Any) -> bool:
    from ..distillers import METHODS

    return what == "class" and value in METHODS.values()


def _parameters(value: Any) -> list[str]:
    try:
        return list(inspect.signature(value).parameters)
    except (TypeError, ValueError):  # no function, or one that does not tell
        return []


# ---- links from chapters ----------------------------------------------------------------------------------------


def _link_code(app: Sphinx, page: nodes.document) -> None:
    """Links to the public names that the code cells of a page use."""
    cells = [node for node in page.findall(nodes.container) if "cell_input" in node["classes"]]
    used = sorted(called(code.astext() for cell in cells for code in cell.findall(nodes.literal_block)))
    if not used:
        return
    line = nodes.paragraph("", "In the reference: ", classes=["bilp-used"])
    for full in used:
        short = full.removeprefix(f"{PACKAGE}.")
        aim = {"refdomain": "py", "reftype": "obj", "reftarget": full, "refdoc": app.env.docname}
        line += [addnodes.pending_xref("", nodes.literal("", short), refexplicit=True, **aim), nodes.Text(", ")]
    line[-1] = nodes.Text(".")
    boxes = (node for node in page.findall(nodes.container) if "tag_provenance" in node["classes"])
    box: Any = next(boxes, None)
    if box is None:
        next(page.findall(nodes.section)).append(line)
        return
    while box.parent.parent and box.parent.index(box) <= 1:  # a section of its own
        box = box.parent
    box.parent.insert(box.parent.index(box), line)


def called(cells: Iterable[str]) -> set[str]:
    """The public names in full that code uses which imports them, or the rooms they are in."""
    known = {id(value): full for full, value in names().items() if callable(value)}
    imported: dict[str, str] = {}
    used: set[str] = set()
    for cell in cells:
        try:
            tree = ast.parse(cell)
        except SyntaxError:  # a command of the notebook
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                imported |= {alias.asname or alias.name: origin + alias.name for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                start, dot, rest = ast.unparse(node).partition(".")
                full = imported.get(start, start) + dot + rest
                if full.startswith(f"{PACKAGE}.") and (name := known.get(_identity(full))):
                    used.add(name)
    return used


def _identity(full: str) -> int:
    try:
        return id(named(full))
    except (ImportError, AttributeError):  # an attribute of a value
        return id(None)
