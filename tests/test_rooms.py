"""The house: who may import whom. Rooms stand in one order, and imports go downwards only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bilp_core

PACKAGE = Path(bilp_core.__file__).parent
# From the ground up; what stands on one line knows nothing of its neighbours.
FLOORS = [
    ["__init__", "errors"],
    ["utils"],
    ["engines"],
    ["data", "coresets"],
    ["nets"],
    ["synthetic", "pruning"],
    ["evaluation"],
    ["distillers"],
    ["indicators"],
    ["trials"],
    ["report", "book"],
    ["studies"],
    ["cli"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# These may be imported where torch is not needed, or not there yet.
WITHOUT_TORCH = [
    "bilp_core", "bilp_core.book", "bilp_core.book.execution", "bilp_core.cli", "bilp_core.data.large",
    "bilp_core.data.pictures", "bilp_core.engines", "bilp_core.report", "bilp_core.trials",
]  # fmt: skip
FILES = {
    ".".join(("bilp_core", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imports(module: str, path: Path, *, typing: bool) -> set[str]:
    """Modules of the package that one imports anywhere in it; those for type checkers only where `typing`."""
    tree = ast.parse(path.read_text("utf-8"))
    if not typing:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "bilp_core"}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            if origin.split(".")[0] == "bilp_core":
                for alias in node.names:
                    whole = f"{origin}.{alias.name}"
                    known = whole in FILES or f"{whole}.__init__" in FILES
                    found.add(whole if known else origin)
    return {name if name in FILES else f"{name}.__init__" for name in found}


def test_every_file_has_a_room():
    assert {room(module) for module in FILES} == set(FLOOR)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    if module == "bilp_core.__init__":
        return  # the face of the whole: its names are loaded when they are used
    for other in imports(module, FILES[module], typing=True):
        here, there = room(module), room(other)
        assert there == here or FLOOR[there] < FLOOR[here], f"{module} ({here}) imports {other} ({there})"


def test_no_circles():
    graph = {module: imports(module, path, typing=False) for module, path in FILES.items() if "__init__" not in module}
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, [*way, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_without_torch():
    program = (
        f"import importlib, sys\nfor m in {WITHOUT_TORCH}: importlib.import_module(m)\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_package_itself_imports_nothing():
    program = "import sys; before = set(sys.modules); import bilp_core; print(*set(sys.modules) - before)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in said if name.startswith("bilp_core")} == {"bilp_core"}
    assert not {"numpy", "pandas", "torch"} & set(said)


def test_tests_mirror_the_tree():
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders <= set(FLOOR) | {"bench", "gpu"}
