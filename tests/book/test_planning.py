import shlex
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bilp_core.book import chapters, planned
from bilp_core.distillers import make
from bilp_core.errors import InputError
from bilp_core.nets.networks import evaluation_spec, parse
from bilp_core.trials import Trial

PRESETS = Path("params")
FULLEST = {("coresets", "paper"): {"fullest": {"trials": 50, "epochs": 100}}}  # such as CIFAR-10 has by default


@pytest.mark.parametrize("chapter", [c.name for c in chapters() if "trials.run(" in c.text])
def test_every_run_of_a_chapter_is_planned(chapter):
    """A cell that runs trials has the tag, and needs nothing of cells without it."""
    own = next(c for c in chapters() if c.name == chapter)
    cells = [cell for cell in own.notebook().cells if cell.cell_type == "code"]
    runs = [cell for cell in cells if "trials.run(" in cell.source]
    assert all("trials" in cell.metadata.get("tags", []) for cell in runs)
    found = planned(chapter)
    assert len(found) >= len(runs)


def test_cells_without_a_plateau_are_planned_too():
    """The preset that the chapter says to ask the plan of, where an exercise has nothing to run."""
    cells = {(trial.data, trial.method, trial.ipc) for trial in planned("large-data", "paper")}
    assert {("imagenet-64", "dc", 1), ("kinetics-400", "mtt", 1)} < cells


def test_parameters_change_the_plan():
    assert len({t.key for t in planned("strata", overrides={"seeds": 5})}) == 5 * 12


def test_a_wrong_parameter_is_refused():
    with pytest.raises(InputError, match="no parameter 'sedes'"):
        planned("strata", overrides={"sedes": 5})


@pytest.mark.parametrize("preset", ["photos", "paper"])
@pytest.mark.parametrize("chapter", [c.name for c in chapters() if "trials.run(" in c.text])
def test_what_a_preset_plans_can_run(chapter, preset, folder):
    """All that rests on no image; the quick preset is run whole."""
    for trial in planned(chapter, preset, {"data": folder, **FULLEST.get((chapter, preset), {})}):
        runnable(trial)


def commented() -> list[tuple[str, str, str]]:
    """Preset, chapter and the `-p` that a comment of its parameters names, on lines of their own."""
    found = []
    for file in sorted(PRESETS.glob("*/*.yaml")):
        for own, lines in groupby(file.read_text().splitlines(), lambda line: line.startswith("#   ")):
            if own:
                found.append((file.parent.name, file.stem, " ".join(line[1:].strip() for line in lines)))
    return found


@pytest.mark.parametrize(("preset", "chapter", "options"), commented())
def test_what_a_comment_of_a_preset_names_can_run(preset, chapter, options, folder):
    words = shlex.split(options)
    assert words[::3] == ["-p"] * (len(words) // 3)
    given = {name: yaml.safe_load(value) for name, value in zip(words[1::3], words[2::3], strict=True)}
    for trial in planned(chapter, preset, {**given, "data": folder}):
        runnable(trial)


def test_there_are_such_comments():
    assert len(commented()) >= 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """Stands for data of ten classes that are not here."""
    place, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, label, number in product(("train", "test"), range(10), range(20)):
        file = place / name / f"class{label}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return str(place)


def runnable(trial: Trial) -> None:
    make(trial.method, **trial.options).needs(trial.ipc, trial.init)
    parse(trial.network)
    parse(trial.evaluate_on or evaluation_spec(trial.network))
