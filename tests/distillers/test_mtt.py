"""Trajectory matching."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from bilp_core import trials
from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, experts, make, unrolling
from bilp_core.errors import Diverged, InputError
from bilp_core.evaluation import protocol
from bilp_core.nets.augment import draw
from bilp_core.pruning import Adaptive
from bilp_core.studies import trajectories
from bilp_core.studies.students import student_path
from bilp_core.synthetic import SyntheticSet
from bilp_core.trials import work

from .common import NET, a_run, rng, short


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_round_moves_images_and_step_size_alike(data, checkpoint, tmp_path):
    method = short("mtt", iterations=4, checkpoint=checkpoint, augment=True)
    made = distill(method, data, 2, network=NET, home=tmp_path)
    plain = distill(replace(method, checkpoint=False), data, 2, network=NET, home=tmp_path)
    torch.testing.assert_close(made.images, plain.images, rtol=1e-4, atol=1e-5)
    assert made.meta["lr"] == pytest.approx(plain.meta["lr"], rel=1e-4)
    assert made.meta["lr"] != pytest.approx(0.01, abs=1e-9)
    start = method.start(data, 2, "real", rng(0), NET)
    assert not torch.equal(made.images, start.images)


def test_batches_of_a_plan_are_passes_over_the_set():
    steps = unrolling.plan(7, 6, 3, "none", (8, 8), rng())
    assert [len(step.picks) for step in steps] == [1, 3, 3, 1, 3, 3]  # the last part first, as the reference has it
    for turn in (steps[:3], steps[3:]):
        assert sorted(torch.cat([step.picks for step in turn]).tolist()) == list(range(7))
    assert all(len(step.picks) == 7 for step in unrolling.plan(7, 3, 0, "none", (8, 8), rng()))
    assert draw("none", 1, (8, 8), rng()).ops == steps[0].drawn.ops


def cell(method, fields, name, classes, size, ipc, **options):
    """Settings of a method for a data set and an IPC."""
    images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    names = tuple(map(str, range(classes)))
    one = ImageData(images, torch.zeros(1, dtype=torch.int64), names, (0.5,) * 3, (0.5,) * 3, name, named=name)
    made = make(method, **options).resolved(one, ipc)
    return tuple(getattr(made, field) for field in fields)


def test_settings_of_the_authors():
    fields = ("zca", "steps", "span", "starts", "image_lr", "step_lr", "start_lr", "batch_synthetic", "experts")
    chosen = partial(cell, "mtt", fields)
    assert chosen("cifar10", 10, 32, 1) == ("absolute", 50, 2, 2, 100, 1e-7, 0.01, 0, 100)
    assert chosen("cifar10", 10, 32, 10) == ("absolute", 30, 2, 20, 100, 1e-5, 1e-3, 0, 100)  # not the misprint
    assert chosen("cifar10", 10, 32, 50) == ("none", 30, 2, 40, 1000, 1e-5, 1e-3, 0, 100)
    assert chosen("cifar100", 100, 32, 50)[1:4] + chosen("cifar100", 100, 32, 50)[-2:] == (80, 2, 40, 125, 100)
    assert chosen("cifar100", 100, 32, 20) == chosen("cifar100", 100, 32, 50) == chosen("cifar100", 100, 32, 90)
    assert chosen("tiny", 200, 64, 10) == ("none", 20, 2, 40, 1e4, 1e-4, 0.01, 200, 100)
    assert chosen("imagenet", 1000, 64, 1) == ("none", 5, 2, 5, 3e4, 1e-6, 0.01, 0, 60)
    assert chosen("cifar10", 10, 32, 1, zca="none", steps=7)[:2] == ("none", 7)


class Recorder:
    """Stands for a buffer of experts, and knows what was asked of it."""

    epochs = 2

    def __init__(self, run, count):
        self.parameters_of = {name: p.detach().clone() for name, p in run.net.named_parameters()}
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def parameters(self, expert, epoch, device):
        self.asked.append((expert, epoch))
        return {name: p + 0.01 * epoch for name, p in self.parameters_of.items()}


def rounds(data, count, **options):
    """What a run of `count` rounds asks of eight experts: (expert, epoch) of each start and target."""
    run = a_run(short("mtt", steps=1, **options), data)
    run.stage, run.state = Recorder(run, 8), run.method.prepare(run)
    for _ in range(count):
        run.method.step(run)
    return run.stage.asked


def test_experts_come_shuffled_each_once_a_pass(data):
    asked = rounds(data, 24, starts=3, span=2, epochs=4)
    starts, targets = asked[::2], asked[1::2]
    assert targets == [(expert, epoch + 2) for expert, epoch in starts]
    assert {epoch for _, epoch in starts} == {0, 1, 2}
    passes = [[expert for expert, _ in starts[k : k + 8]] for k in (0, 8, 16)]
    assert all(sorted(one) == list(range(8)) for one in passes)
    orders = {tuple(one) for one in (*passes, range(8), range(7, -1, -1))}
    assert len(orders) == 5  # no two alike, and none in order
    torch.manual_seed(1)  # which is not what they are drawn from
    assert rounds(data, 24, starts=3, span=2, epochs=4) == asked


def test_images_and_step_size_descend_with_momentum(data):
    """Both by SGD with momentum 0.5, from the gradients of `unrolled_gradients`."""
    run = a_run(short("mtt", steps=2, starts=1, step_lr=1e-3, image_lr=3.0), data)
    run.stage, run.state = Recorder(run, 8), run.method.prepare(run)
    start, target = (run.stage.parameters(0, epoch, "cpu") for epoch in (0, 1))
    values, speeds = [run.images.detach().clone(), torch.tensor(0.01)], [0, 0]
    state = run.rng.get_state()
    for _ in range(3):
        run.method.step(run)
    run.rng.set_state(state)
    torch.randperm(8, generator=run.rng)  # the experts, which are alike
    for _ in range(3):
        torch.randint(1, (), generator=run.rng)
        plan = unrolling.plan(6, 2, 0, "none", (8, 8), run.rng)
        images, lr = (value.requires_grad_() for value in values)
        student = unrolling.Student(run.net, images, run.labels, lr, plan)
        finish = partial(unrolling.matching_loss, start=start, target=target)
        _, slopes = unrolling.unrolled(student, start, finish, (images, lr))
        speeds = [0.5 * speed + slope for speed, slope in zip(speeds, slopes, strict=True)]
        values = [(images - 3.0 * speeds[0]).detach(), (lr - 1e-3 * speeds[1]).detach()]
    torch.testing.assert_close(run.images.detach(), values[0])
    torch.testing.assert_close(run.state.lr.detach(), values[1])
    assert abs(values[1].item() - 0.01) > 1e-4


def test_starts_beyond_the_experts_are_refused(data):
    with pytest.raises(InputError, match="starts = 4 and span = 2 reach epoch 5 of experts .* epochs = 4"):
        distill(short("mtt", starts=4, span=2, epochs=4), data, 1, network=NET)
    with pytest.raises(InputError, match="zca = 'pca'"):
        distill(short("mtt", zca="pca"), data, 1, network=NET)


def test_experts_are_shared_and_pruned_alike(data, tmp_path):
    method = short("mtt", iterations=1)
    first = distill(method, data, 1, network=NET, home=tmp_path)
    assert distill(method, data, 2, network=NET, home=tmp_path, seed=3).meta["experts"] == first.meta["experts"]
    kept = torch.arange(24)
    pruned = distill(method, data.subset(kept), 1, network=NET, home=tmp_path)
    assert pruned.meta["experts"] == experts.key(data.subset(kept), NET, method.training(data))
    assert {path.name for path in tmp_path.iterdir()} == {first.meta["experts"], pruned.meta["experts"]}


def test_divergence_keeps_the_experts(data, tmp_path):
    with pytest.raises(Diverged, match="mtt: the loss is nan at iteration"):
        distill(short("mtt", iterations=40, start_lr=1e20), data, 1, network=NET, home=tmp_path)
    with pytest.raises(Diverged, match="the learned step size is .*; lower step_lr"):
        distill(short("mtt", iterations=1, step_lr=1e6, start_lr=0.01), data, 1, network=NET, home=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert len(experts.load(folder, 2)) == 2


def test_adaptive_pruning_is_refused(data):
    with pytest.raises(InputError, match="additively separable .* that of 'mtt' is not"):
        distill(short("mtt"), data, 1, network=NET, adaptive=Adaptive(0.3))


def test_the_learned_step_size_is_the_learning_rate():
    test = load("digits").test
    assert protocol("mtt", test, learned_lr=0.03).lr == 0.03
    assert protocol("mtt", test, learned_lr=0.03, lr=0.5).lr == 0.5
    made = protocol("mtt", test)
    assert (made.epochs, made.lr, made.augment) == (1000, 0.01, "color_crop_cutout_scale_rotate")


def test_checkpointing_takes_less_memory(data):
    method = short("mtt", steps=6)
    run = a_run(method, data)
    (step,) = unrolling.plan(6, 1, 0, run.strategy, (8, 8), rng())
    lr = torch.tensor(0.01, requires_grad=True)
    student = unrolling.Student(run.net, run.images, run.labels, lr, [step] * 6)
    whole, parts = (unrolling.unrolled_bytes(student, checkpoint) for checkpoint in (False, True))
    size = sum(p.numel() * 4 for p in run.net.parameters())
    assert whole % 6 == 0
    assert parts == whole // 6 + 6 * size
    activations = 6 * (64 + 64 * 6) * 4  # the input and the first convolution's output
    assert whole // 6 > activations
    assert run.method.round_bytes(data, 2, NET) == whole  # told from steps on two and on four images
    assert replace(run.method, checkpoint=True).round_bytes(data, 2, NET) == parts
    assert "checkpoint=true" in run.method.smaller()


def test_the_path_of_a_student(data, tmp_path):
    made = distill(short("mtt", iterations=2), data, 2, network=NET, home=tmp_path / "experts")
    made.save(tmp_path / "s.safetensors")
    made = SyntheticSet.load(tmp_path / "s.safetensors")
    buffer = experts.load(tmp_path / "experts" / made.meta["experts"], 2)
    path = student_path(made, buffer.parameters(0, 0))
    expert = buffer.trajectory(0)
    assert path.shape == (4, expert.shape[1])
    assert torch.equal(path[0], expert[0])
    figure = trajectories.trajectories(expert, {"synthetic set": path}, target=1)
    line = figure.axes[1].lines[0].get_ydata()
    assert line[0] == 1
    assert line[-1] == pytest.approx(
        math.sqrt(((path[-1] - expert[1]) ** 2).sum() / ((path[0] - expert[1]) ** 2).sum())
    )


def test_a_first_stage_is_made_for_the_trial_with_most_experts(tmp_path, monkeypatch):
    options = {"iterations": 1, "steps": 1, "span": 1, "starts": 1, "epochs": 1, "expert_batch": 512, "zca": "none"}
    made = [
        trials.Trial(
            "digits", "mtt", network="convnet:depth=1,width=2", repeats=1, evaluation={"epochs": 1},
            options={**options, "experts": count},
        )
        for count in (1, 3, 2)
    ]  # fmt: skip
    asked, prepare = [], work.prepare_stage
    monkeypatch.setattr(
        work, "prepare_stage", lambda trial, where: asked.append(trial.options["experts"]) or prepare(trial, where)
    )
    found = trials.run(made, store=tmp_path, engine="inline", progress=False)
    assert asked == [3]
    first, most, second = (json.loads(timing)["stage"] for timing in found["timing"])
    assert 0 < first < second < most


def test_the_plane_holds_a_flat_trajectory():
    steps = torch.linspace(0, 1, 6)[:, None]
    flat = steps * torch.tensor([1.0, 0, 2, 0]) + steps**2 * torch.tensor([0, 3.0, 0, 0])
    mean, directions, share = trajectories.plane(flat)
    assert share == pytest.approx(1, abs=1e-5)
    back = (flat - mean) @ directions @ directions.T + mean
    torch.testing.assert_close(back, flat, atol=1e-5, rtol=1e-5)


def test_trials_share_experts_and_use_the_learned_step_size(tmp_path):
    options = {
        "iterations": 2, "steps": 2, "span": 1, "starts": 1, "experts": 2, "epochs": 1, "expert_batch": 512,
        "start_lr": 0.01, "step_lr": 1e-8,
    }  # fmt: skip
    made = trials.grid(
        data="digits", method="mtt", network="convnet:depth=1,width=2", ipc=[1, 2], repeats=1, options=options,
        evaluation={"epochs": 1},
    )  # fmt: skip
    found = trials.run(made, store=tmp_path, engine="inline", progress=False)
    (folder,) = (tmp_path / "experts").iterdir()
    assert len(experts.load(folder, 2)) == 2
    for trial, resolved in zip(made, found["resolved"], strict=True):
        set_of_it = trials.Store(tmp_path).synthetic(trial.synthetic_key)
        assert json.loads(resolved)["evaluation"]["lr"] == set_of_it.meta["lr"]
    assert work.stage_keys(made, str(tmp_path)) == [None, None]  # nothing is left to do
