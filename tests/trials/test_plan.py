import math
from functools import partial

import pytest

from bilp_core.errors import InputError
from bilp_core.trials import Store, Trial, grid, plan, run, timing
from bilp_core.trials.plan import Planned, collecting
from bilp_core.utils.progress import Stopwatch

TINY = {"data": "digits", "network": "convnet:depth=1,width=4", "evaluation": {"epochs": 3}, "repeats": 2}
SCORE = {"trials": 1, "epochs": 1, "network": "convnet:depth=1,width=4"}


def asked(**more):
    return grid(**{**TINY, "method": "dm", "options": {"iterations": 2}, "criterion": "loss", "score": SCORE, **more})


def counted(found):
    return {(row.work, row.what): row.count for row in found.kinds.itertuples()}


def test_collecting_runs_nothing(tmp_path):
    trials = asked(ratio=[0, 0.5])
    with collecting() as found, pytest.raises(Planned):
        run(trials, tmp_path)
    assert found == trials
    assert not list(tmp_path.iterdir())


def test_what_is_stored_is_not_to_do(tmp_path):
    trials = asked(ratio=[0, 0.5], seed=[0, 1])
    before = plan(trials + trials, tmp_path, "inline", timed=False)
    assert (before.total, before.stored, before.seconds) == (4, 0, 0)
    assert sum(before.kinds["count"]) == 5  # with the scores, once
    run([trial for trial in trials if trial.seed == 0], tmp_path, "inline", progress=False)
    after = plan(trials, tmp_path, "inline", timed=False)
    assert (after.total, after.stored) == (4, 2)
    assert counted(after) == {("trial", "ratio=0.0"): 1, ("trial", "ratio=0.5"): 1}
    run(trials, tmp_path, "inline", progress=False)
    assert str(plan(trials, tmp_path, "inline")) == "4 trials, 4 of them stored\nno trial is left to run"


def test_a_set_that_several_judge_is_made_once(tmp_path):
    judged = asked(ratio=0.0, seed=[0, 1], evaluate_on=[None, "mlp", "convnet:depth=1,width=8"])

    def left(**more):
        kinds = plan(judged, tmp_path, "inline", **more).kinds
        return kinds.groupby("work")["count"].sum().to_dict(), kinds.groupby("work")["seconds"].mean()

    counts, seconds = left()
    assert counts == {"trial": 2, "evaluation": 4}
    assert seconds["evaluation"] > 0
    run(judged[:1], tmp_path, "inline", progress=False)
    assert left(timed=False)[0] == {"trial": 1, "evaluation": 4}
    made = list(tmp_path.rglob("*.safetensors"))
    run(judged, tmp_path, "inline", progress=False)
    assert {path.stat().st_ino for path in made} < {path.stat().st_ino for path in tmp_path.rglob("*.safetensors")}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@pytest.mark.filterwarnings("ignore:the networks have hardly learned", "ignore:.*values ended far out")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dc", {"iterations": 2, "outer": 4, "inner": 1}),
        ("dm", {"iterations": 200}),
        ("idc", {"iterations": 2, "inner": 3, "factor": 1, "network_images": 64, "network_epochs": 1}),
        ("mtt", {"iterations": 2, "experts": 2, "epochs": 2, "span": 1, "starts": 1, "steps": 2}),
    ],
)
def test_every_kind_of_work_is_timed_and_nothing_is_kept(method, options, tmp_path):
    from bilp_core.distillers import METHODS

    options = {name: value for name, value in options.items() if name in METHODS[method].__dataclass_fields__}
    told = []
    found = plan(asked(method=method, options=options, ratio=[0, 0.9]), tmp_path, "inline", show=told.append)
    assert len(told) == 1
    assert found.kinds["seconds"].gt(0).all()
    assert 0 < found.seconds < math.inf
    assert found.memory > 1e7
    sets, stages = 2 * 10 * 64 * 4, found.kinds[found.kinds["work"] == "stage"]["count"].sum()
    assert stages == 2 * METHODS[method].staged  # of full data, and of what the loss leaves
    assert (found.disk - sets) / 4 == stages * 2 * 3 * 698  # experts, as they start and after each epoch
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.filterwarnings("ignore:the networks have hardly learned", "ignore:.*values ended far out")
def test_a_stage_is_counted_once_and_of_the_largest(tmp_path):
    options = {"iterations": 2, "epochs": 2, "span": 1, "starts": 1, "steps": 2}
    few, many = ({**options, "experts": n} for n in (1, 3))
    trials = [t for own in (few, many) for t in asked(method="mtt", options=own, ratio=0, seed=[0, 1])]
    trials += asked(method="tesla", options=few, ratio=0) + asked(method="dm", ratio=0)
    found = plan(trials, tmp_path, "inline")
    assert found.kinds.groupby("work")["count"].sum().to_dict() == {"stage": 1, "trial": 6}
    assert found.disk == 6 * 10 * 64 * 4 + 3 * 3 * 698 * 4
    stage, first = (found.kinds[found.kinds["work"] == work].iloc[0] for work in ("stage", "trial"))
    assert stage["seconds"] > 0
    assert "mtt" in stage["what"]


def test_many_rounds_are_carried_on_from_a_few(tmp_path):
    short, long = (plan(asked(options={"iterations": n}), tmp_path, "inline") for n in (200, 800))
    assert 2 < long.seconds / short.seconds < 8


def test_settings_that_cannot_work_are_refused_before_the_timing(tmp_path):
    with pytest.raises(InputError, match="needs 20 samples in each class"):
        plan(asked(ratio=0.9, ipc=20, init="real"), Store(tmp_path), "inline")


def test_an_evaluation_is_timed_to_its_end_on_a_slow_machine(monkeypatch):
    """DC's schedule trains one epoch more than it has; the watch ends nothing before the test, after the last."""
    monkeypatch.setattr(timing, "Stopwatch", partial(Stopwatch, seconds=0.0))
    found = timing.making(Trial(**{**TINY, "evaluation": {"epochs": 300}}, options={"iterations": 2}))
    assert found["evaluate"] > 0
