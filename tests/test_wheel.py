"""The wheel alone: what it brings and asks for is enough for the library and the command, far from the clone."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bilp_core.utils import paths

ROOT = paths.root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NET = "convnet:depth=1,width=4"
LIBRARY = ["book", "cli", "coresets", "data", "distillers", "engines", "evaluation", "indicators", "nets", "pruning",
           "synthetic", "trials", "trials.work"]  # fmt: skip


def needed() -> set[str]:
    """The distributions that pip would install with the wheel: the base dependencies, and all that they ask for."""
    due = [(Requirement(line), "") for line in PROJECT["dependencies"]]
    done: set[tuple[str, str]] = set()
    while due:
        requirement, extra = due.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for name in ((requirement.name, wanted) for wanted in ("", *requirement.extras)):
            if name not in done:
                done.add(name)
                due += [(Requirement(line), name[1]) for line in distribution(name[0]).requires or ()]
    return {name for name, _ in done}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder far from the clone; in `env/` the wheel and what pip would install with it, and nothing else.

    The dependencies are links to those of this environment, so that nothing is fetched or copied.
    """
    if find_spec("ensurepip") is None:
        pytest.skip("this Python cannot make environments with pip: on Debian and Ubuntu, apt install python3-venv")
    home = tmp_path_factory.mktemp("elsewhere")
    run = {"check": True, "cwd": home, "capture_output": True}
    wheel = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(home)]
    subprocess.run(wheel, **{**run, "cwd": ROOT})
    subprocess.run([sys.executable, "-m", "venv", "env"], **run)
    packages = next((home / "env/lib").glob("python*/site-packages"))
    for name in needed():
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(distribution(name).locate_file(top)))
    (built,) = home.glob("*.whl")
    subprocess.run(["env/bin/python", "-m", "pip", "install", "--no-index", "--no-deps", built], **run)
    return home


def started(home: Path, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BILP_", "PYTHON"))}
    env = {**clean, "BILP_CACHE": str(home / "cache"), "BILP_DEVICE": "cpu"}
    command = [home / "env/bin" / words[0], *words[1:]]
    return subprocess.run(command, cwd=cwd or home, env=env, capture_output=True, text=True, check=False)


def test_what_it_asks_for_is_there_and_nothing_of_the_book(elsewhere):
    asked = started(elsewhere, "pip", "check")
    assert asked.returncode == 0, asked.stdout
    names = {entry["name"].lower() for entry in json.loads(started(elsewhere, "pip", "list", "--format=json").stdout)}
    assert {"bilp-book", "torch", "numpy"} <= names
    assert not {"matplotlib", "seaborn", "papermill", "jupytext", "nbformat", "ipython", "ray", "pytest"} & names


def test_the_library(elsewhere):
    program = (
        "import importlib, pathlib, bilp_core\n"
        "print(pathlib.Path(bilp_core.__file__).parent)\n"
        "for name in bilp_core.__all__: getattr(bilp_core, name)\n"
        f"for room in {LIBRARY}: importlib.import_module(f'bilp_core.{{room}}')\n"
    )
    done = started(elsewhere, "python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(elsewhere)


def test_the_command(elsewhere):
    def does(*words: str) -> str:
        done = started(elsewhere, "bilp", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert does("--version") == f"bilp {PROJECT['version']}\n"
    assert "\ndigits " in "\n" + does("data", "list")
    assert "chance: 10.1 % (the largest class)" in does("data", "check", "digits")
    does("score", "digits", "--set", "trials=1", "epochs=1", f"network={NET}", "--out", "scores.npz")
    assert "0: kept 14 of 134" in does("prune", "digits", "--scores", "scores.npz", "--ratio", "0.9", "--out", "k.npy")
    small = ["--method", "dm", "--network", NET, "--set", "iterations=1"]
    does("distill", "digits", "--keep", "k.npy", *small, "--out", "s.safetensors")
    does("evaluate", "s.safetensors", "digits", "--repeats", "1", "--set", "epochs=1", "--json", "accuracy.json")
    report = json.loads((elsewhere / "accuracy.json").read_text())
    assert 0 < report["mean"] < 1
    assert report["commit"] == report["versions"]["bilp_core"] == PROJECT["version"]  # no checkout, so no commit


@pytest.mark.parametrize("words", [["book"], ["run", "redundancy"]], ids=" ".join)
def test_what_needs_the_clone_says_so(elsewhere, words):
    done = started(elsewhere, "bilp", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("bilp: error: the book is not here")
    assert "need a clone" in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_the_clone_it_says_what_the_book_needs(elsewhere, tmp_path):
    (tmp_path / paths.MARKER).touch()
    done = started(elsewhere, "bilp", "book", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'bilp-book[book]'" in done.stderr
    assert done.stderr.count("\n") == 1
