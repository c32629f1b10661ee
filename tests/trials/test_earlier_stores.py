"""What an earlier version stored is found: fixtures/ was written at commit c6261ab, before the rooms."""

import json
from pathlib import Path

import pytest

from bilp_core.data import load
from bilp_core.trials import Store, grid, run

STORE = Path(__file__).parent / "fixtures"
NET = "convnet:depth=2,width=8"
COMMON = {"data": "digits", "network": NET, "repeats": 2, "evaluation": {"epochs": 3}, "options": {"iterations": 2}}
PROBE = {"trials": 1, "epochs": 1, "network": NET}
TRIALS = grid(method="dm", criterion="loss", ratio=0.5, score=PROBE, **COMMON) + grid(
    method="dc", criterion="el2n", ratio=0.9, drop="smallest", score=PROBE, adaptive=0.2, seed=3, **COMMON
)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.method)
def test_its_records_and_scores_are_found(trial):
    record = Store(STORE).get(trial)
    assert record is not None
    assert record["commit"] == "c6261ab124"
    scores, labels = Store(STORE).scores(trial.score_key)
    assert len(scores) == len(labels) == len(load("digits").train)
    assert Store(STORE).score_seconds(trial.score_key) > 0
    assert Store(STORE).score_spread(trial.score_key) is None  # nobody kept it then


def test_nothing_is_run_again(tmp_path):
    def never(*_):
        pytest.fail("run again")

    for file in STORE.rglob("*.*"):
        target = tmp_path / file.relative_to(STORE)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    found = run(TRIALS, tmp_path, "inline", execute=never)
    stored = [json.loads(Store(STORE).record_path(trial.key).read_text()) for trial in TRIALS]
    assert found["accuracy"].tolist() == [record["accuracy"] for record in stored]
