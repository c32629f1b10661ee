"""Every public name shows how it is used: its docstring has an example, which `pytest` runs like a test."""

import ast
import builtins
import doctest
import importlib
import importlib.util
import inspect
import pkgutil

import pytest

import bilp_core
from bilp_core.distillers import METHODS
from bilp_core.indicators import INDICATORS

# Rooms whose faces list what users call, and files of them whose functions are called by the file's name.
ROOMS = [
    "bilp_core", "bilp_core.book", "bilp_core.coresets", "bilp_core.data", "bilp_core.distillers", "bilp_core.engines",
    "bilp_core.evaluation", "bilp_core.indicators", "bilp_core.nets", "bilp_core.pruning", "bilp_core.report",
    "bilp_core.synthetic", "bilp_core.trials",
]  # fmt: skip
FILES = [
    "bilp_core.data.whitening", "bilp_core.evaluation.protocols", "bilp_core.nets.augment",
    "bilp_core.nets.borrowed", "bilp_core.nets.classic", "bilp_core.nets.convnet", "bilp_core.nets.mixing",
    "bilp_core.nets.recipe", "bilp_core.nets.residual", "bilp_core.pruning.inner", "bilp_core.pruning.ite",
    "bilp_core.studies.agreement", "bilp_core.studies.comparing", "bilp_core.studies.ite_figures",
    "bilp_core.studies.ite_variants", "bilp_core.studies.mislabelled", "bilp_core.studies.overfitting",
    "bilp_core.studies.overlap", "bilp_core.studies.rankings", "bilp_core.studies.score_files",
    "bilp_core.studies.students", "bilp_core.studies.trajectories",
    "bilp_core.utils.arrays", "bilp_core.utils.files", "bilp_core.utils.options", "bilp_core.utils.paths",
    "bilp_core.utils.printing", "bilp_core.utils.progress", "bilp_core.utils.seeds",
]  # fmt: skip


def names(module: str) -> dict[str, object]:
    """The functions and classes of a face; of a file those that are defined in it and not private."""
    found = importlib.import_module(module)
    listed = getattr(found, "__all__", None)
    public = {name: getattr(found, name) for name in listed or vars(found) if listed or name[0] != "_"}
    called = {name: value for name, value in public.items() if inspect.isroutine(value) or inspect.isclass(value)}
    return called if listed else {name: value for name, value in called.items() if value.__module__ == module}


@pytest.mark.parametrize("module", ROOMS + FILES)
def test_every_public_name_has_an_example(module):
    parser = doctest.DocTestParser()
    without = [name for name, value in names(module).items() if not parser.get_examples(inspect.getdoc(value) or "")]
    assert not without, f"{module}: no example in the docstring of {', '.join(without)}"
    assert names(module), f"{module} has no public name"


@pytest.mark.parametrize("cls", METHODS.values(), ids=lambda cls: cls.name)
def test_every_method_has_an_example(cls):
    assert doctest.DocTestParser().get_examples(cls.__doc__ or "")


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(bilp_core.__path__, "bilp_core.")]
    absent = ["bilp_core.engines.ray"] if importlib.util.find_spec("ray") is None else []
    return [name for name in found if not name.endswith("__main__") and name not in absent]


def test_every_indicator_is_scored_in_the_example_of_a_file():
    files = [importlib.import_module(name) for name in modules() if name.startswith("bilp_core.indicators.")]
    parser = doctest.DocTestParser()
    shown = "".join(example.source for file in files for example in parser.get_examples(file.__doc__ or ""))
    assert not [name for name in INDICATORS if f'"{name}"' not in shown]


@pytest.mark.parametrize("module", modules())
def test_examples_import_what_they_use(module):
    """A reader may copy one: it does not live on the names of the file that it stands in."""
    for test in doctest.DocTestFinder().find(importlib.import_module(module), module):
        missing = unbound("".join(example.source for example in test.examples))
        assert not missing, f"{test.name} uses {', '.join(missing)} from nowhere"


def test_a_name_from_nowhere_is_seen():
    assert unbound("import os\nfor x in os.environ:\n    print(x, y)\n") == {"y"}


def unbound(source: str) -> set[str]:
    """Names that are read and nowhere made in it, whatever the order."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if not isinstance(node.ctx, ast.Load)} | set(dir(builtins))
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            made.add(node.name or "")
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - made
