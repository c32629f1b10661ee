import pytest

from bilp_core.book import chapters, planned
from bilp_core.errors import InputError


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
