"""Every public name shows how it is used: its docstring has an example, which `pytest` runs like a test."""

import doctest
import importlib
import inspect

import pytest

# Rooms whose faces list what users call, and files of them whose functions are called by the file's name.
ROOMS = [
    "bilp_core", "bilp_core.coresets", "bilp_core.data", "bilp_core.evaluation", "bilp_core.nets",
    "bilp_core.pruning", "bilp_core.synthetic",
]  # fmt: skip
FILES = [
    "bilp_core.data.whitening", "bilp_core.evaluation.protocols", "bilp_core.nets.augment",
    "bilp_core.nets.borrowed", "bilp_core.nets.classic", "bilp_core.nets.convnet", "bilp_core.nets.mixing",
    "bilp_core.nets.recipe", "bilp_core.nets.residual", "bilp_core.pruning.inner", "bilp_core.pruning.ite",
    "bilp_core.utils.files", "bilp_core.utils.options", "bilp_core.utils.paths", "bilp_core.utils.progress",
    "bilp_core.utils.seeds",
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
