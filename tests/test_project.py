"""The files around the code: environment, lock, Makefile, what may be committed, links in the docs."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from bilp_core.utils import paths

ROOT = paths.root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = PROJECT["dependencies"] + [
    requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra
]


def tracked(*patterns: str) -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def test_environment_is_in_step_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert sorted(set(pip) - {"--editable ."}) == sorted(REQUIREMENTS)
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_lock_is_in_step_with_pyproject_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    blocks = re.split(r"\n(?=[a-z0-9])", lock.strip())  # one package with its hashes and who asked for it
    locked = {name_of(block) for block in blocks}
    asked = {name_of(requirement) for requirement in REQUIREMENTS}
    assert asked <= locked, "pyproject.toml changed: run `make lock`"
    for block in blocks:
        assert "--hash=sha256:" in block, name_of(block)
        if f"{PROJECT['name']} (pyproject.toml)" in block:
            assert name_of(block) in asked, f"{name_of(block)} is locked but not asked for: run `make lock`"


def test_makefile_lists_every_target():
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not as a sub-make
    listed = subprocess.run(["make"], cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[1].split()
    assert [line.split()[0] for line in listed.splitlines()[1:]] == phony
    required = "book test notebooks chapter paper draft serve check bench lock clean distclean"
    assert set(required.split()) < set(phony)


def test_nothing_is_committed_that_should_not_be():
    stored = tracked("*.ipynb", "uv.lock", "pylock.toml", "*.pt", "*.npz", "*.safetensors", "records", "data")
    for file in stored:  # a store of an earlier version, to be read by tests
        assert file.is_relative_to(ROOT / "tests/trials/fixtures"), file
        assert file.stat().st_size < 50_000, file
    hosts = re.compile(r"https?://", re.I)
    for file in tracked("*.lock", "environment.yml", ".ci/*", "Makefile", "pyproject.toml"):
        assert not hosts.search(file.read_text("utf-8")), f"{file.name} names a host"
    for file in tracked("*.png", "*.jpg"):
        assert file.stat().st_size < 200_000, f"{file.relative_to(ROOT)} is large"


def test_documentation_links_lead_somewhere():
    broken = []
    for file in tracked("*.md"):
        if file.is_relative_to(ROOT / "book"):
            continue  # Sphinx resolves these
        text = re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.S)
        for address in re.findall(r"\]\(([^)\s#]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text):
            if "://" not in address and not (file.parent / address).exists():
                broken.append(f"{file.relative_to(ROOT)}: {address}")
    assert not broken


def test_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert "2305.18381" in citation["references"][0]["identifiers"][0]["value"]
