"""What the README tells users to type works: every command of its blocks, and its Python, read from README.md itself.

They run as they stand but for what SHORTER says, on images and presets that are drawn here, in a folder of their own.
`git` lines are not run; `make` lines are asked what they would do.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.utils import paths

ROOT = paths.root()
README = (ROOT / "README.md").read_text("utf-8")
NET = "convnet:depth=1,width=4"
# So that a command takes seconds: what is written in its place, or after it.
SHORTER = {
    r"\bDATA\b": "pets",
    r"\b(trials|epochs|iterations)=\d+": r"\1=2",
    r"\bwidth=\d+": "width=4",
    r"^(bilp score .* --set)": rf"\1 network={NET} epochs=2",
    r"^(bilp distill .*)": r"\1 --set iterations=2 inner=2",
    r"^(bilp evaluate .*)": r"\1 --set epochs=2",
}
PRESET = {
    "data": "digits", "ipcs": [1], "inits": {"dm": ["noise"]}, "networks": {"dm": [NET]}, "networks_ipc1": {"dm": []},
    "criteria": ["loss"], "light": {}, "ratios": [0.9], "seeds": 2, "methods": {"dm": {"iterations": 1}}, "repeats": 2,
    "evaluation": {"epochs": 1}, "evaluations": {}, "score": {"trials": 1, "epochs": 1, "network": NET},
}  # fmt: skip


def blocks(language: str) -> dict[str, str]:
    """The code of each section in that language."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", README, flags=re.M)[1:]:
        for code in re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.M | re.S):
            title = section.partition("\n")[0]
            found[title] = found.get(title, "") + code
    return found


def shorter(code: str) -> str:
    for pattern, replacement in SHORTER.items():
        code = re.sub(pattern, replacement, code, flags=re.M)
    return code


def commands(section: str) -> list[list[str]]:
    lines = [re.sub(r"\s+#.*", "", line) for line in blocks("bash")[section].splitlines()]
    return [shlex.split(shorter(line)) for line in lines]


def started(words: list[str], cwd: Path) -> str:
    """What a command of this environment prints."""
    place = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | place
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a folder of images beside it to work on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for shade, name in enumerate(("cat", "dog", "fish", "owl")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(60 * shade, 60 * shade + 60, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def test_every_block_is_looked_at():
    assert set(blocks("bash")) == {"Two commands", "Rerun with other parameters", "Your own data", "Tests"}
    assert set(blocks("python")) == {"Your own data"}
    for pattern in SHORTER:
        assert re.search(pattern, "\n".join([*blocks("bash").values(), *blocks("python").values()]), re.M), pattern


def test_your_own_data(here, capsys):
    lines = commands("Your own data")
    assert [words[1] for words in lines] == ["data", "score", "prune", "distill", "evaluate"]
    for words in lines:
        assert words[0] == "bilp"
        assert main(words[1:]) == 0, capsys.readouterr().err
    assert "cat: kept 10 of 12" in (said := capsys.readouterr().out)
    assert "accuracy" in said
    assert {"scores.npz", "kept.npy", "s.safetensors", "s.png", "accuracy.json"} <= {p.name for p in here.iterdir()}


def test_the_same_in_python(here, capsys):
    exec(compile(shorter(blocks("python")["Your own data"]), "README.md", "exec"), {"__name__": "readme"})
    assert 0 < float(capsys.readouterr().out) < 1


def test_rerun_with_other_parameters(here, monkeypatch, capfd):
    """The chapter itself, in a book of its own with a preset of seconds."""
    (here / "book/chapters").mkdir(parents=True)
    for name in ("requirements.lock", "book/chapters/redundancy.md", "book/published", "book/results"):
        (here / name).symlink_to(ROOT / name)
    (here / "_config.yml").write_text("title: Tiny\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n")
    (here / "book/intro.md").write_text("# Tiny\n")
    (here / "book/_toc.yml").write_text("format: jb-book\nroot: intro\nchapters: [{file: chapters/redundancy}]\n")
    (here / "params/quick").mkdir(parents=True)
    (here / "params/photos").symlink_to(ROOT / "params/photos")  # what the page says is missing of it
    (here / "params/quick/redundancy.yaml").write_text(yaml.safe_dump(PRESET))
    monkeypatch.setenv("BILP_ENGINE", "inline")
    for words in commands("Rerun with other parameters"):
        if words[0] == "make":
            assert "bilp run redundancy --preset quick -p seeds 5" in started([*words, "--dry-run"], ROOT)
        elif words[0] == "bilp":
            assert main(words[1:]) == 0, capfd.readouterr().err
            done = sorted(here.glob("records/records/*"))
        else:
            assert words[0] in ("jupytext", "papermill")
            started(words, here)
    assert list(here.glob("_build/runs/redundancy-*/_build/html/chapters/redundancy.html"))
    executed = yaml.safe_load((here / "redundancy-5.ipynb").read_text("utf-8"))
    assert executed["metadata"]["papermill"]["exception"] is None
    assert executed["metadata"]["papermill"]["parameters"]["seeds"] == 5
    assert len(done) >= 2 * 5  # of full data and of a tenth
    assert sorted(here.glob("records/records/*")) == done  # papermill found the trials that were stored


@pytest.mark.parametrize("section", ["Two commands", "Tests"])
def test_what_make_would_do(section):
    for words in commands(section):
        if words[0] == "git":
            continue
        assert words[0] == "make"
        assert re.search(r"\.venv(-oldest)?/bin/", started([*words, "UV=uv", "--dry-run"], ROOT))
