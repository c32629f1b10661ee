"""What holds of every method whose students should end where experts do: a new one is tested by its class."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from bilp_core import trials
from bilp_core.data import load
from bilp_core.distillers import METHODS, distill, experts, loop, trajectory
from bilp_core.distillers.trajectory import Trajectory
from bilp_core.errors import Diverged, InputError
from bilp_core.indicators import score
from bilp_core.nets.memory import free_memory
from bilp_core.pruning import Adaptive, keep

from .common import NET, TRAJECTORY, short

NAMES = [name for name, cls in METHODS.items() if issubclass(cls, Trajectory)]
STILL = {"iterations": 1, "image_lr": 1e-30}  # the images stay where they start
pytestmark = pytest.mark.filterwarnings("ignore:the expert recognises only")


def images_of(made):
    """What is taken from real data: bases where there are some."""
    return made.decoder.bases if made.decoder else made.images


def is_among(images, data):
    known = data.batch()
    return all(bool((known - image).abs().flatten(1).amax(1).min() < 1e-6) for image in images)


def test_all_of_them_are_here():
    assert set(NAMES) >= {"mtt", "tesla", "datm", "haba"}


@pytest.mark.parametrize("name", NAMES)
def test_experts_and_rounds_see_the_same_samples(name, data, tmp_path, monkeypatch):
    kept, seen = data.subset(torch.tensor([0, 1, 2, 3, 7, 8, 12, 16, 20, 29])), []
    build, prepare = trajectory.build, METHODS[name].prepare
    monkeypatch.setattr(trajectory, "build", lambda d, *rest: seen.append(d) or build(d, *rest))
    monkeypatch.setattr(METHODS[name], "prepare", lambda self, run: seen.append(run.data) or prepare(self, run))
    made = distill(short(name, **STILL), kept, 2, network=NET, home=tmp_path)
    of_experts, of_rounds = seen
    for one in (of_experts, of_rounds):
        assert torch.equal(one.images, kept.images)
        assert torch.equal(one.labels, kept.labels)
    assert made.meta["experts"] == experts.key(kept, NET, short(name).training(kept))
    assert made.meta["real_samples"] == 10
    assert is_among(images_of(made), kept)
    assert not is_among(images_of(distill(short(name, **STILL), data, 6, network=NET, home=tmp_path)), kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_pruned_trial_prunes_both_stages(name, tmp_path):
    """The first stage is made by another process than the rounds: both find the same samples."""
    ours = METHODS[name]
    known = {f: v for f, v in {**TRAJECTORY, **STILL, "epochs": 1, "expert_batch": 512}.items() if hasattr(ours(), f)}
    more = {"datm": {"starts_early": 1, "threshold": 9.0}}.get(name, {})
    pruned = trials.Trial(
        "digits", name, network="convnet:depth=1,width=2", criterion="el2n", ratio=0.9, repeats=1,
        options={**known, **more}, evaluation={"epochs": 1},
        score={"trials": 1, "epochs": 1, "network": "convnet:depth=1,width=2"},
    )  # fmt: skip
    trials.run([pruned], store=tmp_path, engine="inline", progress=False)
    train = load("digits").train
    scores = score(train, "el2n", seed=0, **pruned.score)
    kept = train.subset(keep(scores, train.labels, 0.9))
    made = trials.Store(tmp_path).synthetic(pruned.synthetic_key)
    (folder,) = (tmp_path / "experts").iterdir()
    own = METHODS[name](**{**known, **more}).training(kept)
    assert folder.name == made.meta["experts"] == experts.key(kept, pruned.network, own)
    assert made.meta["real_samples"] == len(kept) < len(train) / 8
    assert is_among(images_of(made), kept)


@pytest.mark.parametrize("name", [*NAMES, "linba"])
def test_adaptive_pruning_is_refused_with_the_reason(name, data):
    said = rf"adaptive pruning needs .* additively separable .* that of '{name}' is not"
    with pytest.raises(InputError, match=said):
        distill(short(name), data, 1, network=NET, adaptive=Adaptive(0.3))


@pytest.mark.parametrize("name", NAMES)
def test_experts_of_other_data_are_refused(name, data, tmp_path):
    """A buffer in the place of another's is known by its key."""
    method, other = short(name, iterations=1), data.subset(torch.arange(24))
    first = distill(method, data, 1, network=NET, home=tmp_path).meta["experts"]
    own = experts.key(other, NET, method.training(other))
    shutil.move(tmp_path / first, tmp_path / own)
    with pytest.raises(InputError, match=rf"manifest.json is of other experts: key {first}, not {own}"):
        distill(method, other, 1, network=NET, home=tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_epochs_are_refused_before_experts_are_trained(name, data, tmp_path):
    more = {"starts_early": 4} if name == "datm" else {}
    said = rf"{name}: starts = 4 and span = 2 reach epoch 5 of experts that are trained for epochs = 4"
    with pytest.raises(InputError, match=said):
        distill(short(name, starts=4, span=2, epochs=4, **more), data, 1, network=NET, home=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_is_said_with_the_round(name, data):
    with pytest.raises(Diverged, match=rf"{name}: the loss is nan at iteration \d+; lower image_lr"):
        distill(short(name, iterations=5, start_lr=1e30), data, 1, network=NET)


@pytest.mark.parametrize("name", NAMES)
def test_experts_that_diverge_name_the_option(name, data):
    said = rf"{name}: experts 0 to \d: training loss is not finite .*: lower expert_lr = 1e\+30; those finished"
    with pytest.raises(Diverged, match=said):
        distill(short(name, expert_lr=1e30), data, 1, network=NET)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "haba"])
def test_a_step_size_below_zero_ends_the_run_at_once(name, data):
    """Without a floor; the first round of a thousand is enough."""
    rounds = []
    more = {"threshold": 1e9} if name == "datm" else {}
    method = short(name, iterations=1000, start_lr=1.0, step_lr=1e6, **more)  # too long a step, and much too short then
    with pytest.raises(Diverged, match=rf"{name}: the learned step size is -\d.*; lower step_lr = 1e\+06"):
        distill(method, data, 1, network=NET, progress=lambda done, *_: rounds.append(done))
    assert max(rounds) < 20


@pytest.mark.parametrize("name", [*NAMES, "linba"])
def test_memory_is_known_before_anything_runs(name, data, tmp_path, monkeypatch):
    method = short(name).resolved(data, 2)
    one, more = (method.round_bytes(data, ipc, NET) for ipc in (2, 6))
    assert 0 < one < more
    assert method.round_bytes(data, 2, "convnet:depth=2,width=12") > 1.5 * one
    monkeypatch.setattr(loop, "free_memory", lambda _: one - 1)
    said = rf"{name}: a round with these settings holds about .* GB, and .* GB are free: .*fewer batch_synthetic"
    with pytest.raises(InputError, match=said):
        distill(method, data, 2, network=NET, home=tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(loop, "free_memory", lambda _: one)
    distill(short(name, iterations=1), data, 2, network=NET, home=tmp_path)


def test_a_machine_says_what_is_free():
    """Where Linux says it; elsewhere there is no limit."""
    free = free_memory(torch.device("cpu"))
    told = Path("/proc/meminfo").is_file()
    assert 1e8 < free < 1e14 if told else free == sys.maxsize
