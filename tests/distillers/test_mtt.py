"""Trajectory matching."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from bilp_core import trials
from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, experts, make, mtt, unrolling
from bilp_core.errors import Diverged, InputError
from bilp_core.evaluation import protocol
from bilp_core.nets import initialise, network
from bilp_core.nets.augment import apply, draw
from bilp_core.pruning import Adaptive
from bilp_core.studies import trajectories
from bilp_core.studies.students import student_path
from bilp_core.synthetic import SyntheticSet
from bilp_core.trials import work

from .common import NET, a_run, rng, short


@pytest.fixture
def case():
    """Start, target, images, labels and a plan of four augmented steps, in double precision."""
    net = network(NET, (1, 8, 8), 3)
    initialise(net, rng())  # for some starts a step of the differences crosses a kink
    net = net.double()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    target = {name: p + 0.05 * torch.randn(p.shape, generator=rng(1)).double() for name, p in start.items()}
    images = torch.randn(6, 1, 8, 8, generator=rng(2)).double()
    labels = torch.arange(3).repeat_interleave(2)
    return net, start, target, images, labels, unrolling.plan(6, 4, 4, "color_crop_scale", (8, 8), rng(3))


def written_out(case, images, lr):
    """The loss of a student that trains in place, for differences."""
    net, start, target, _, labels, plan = case
    parameters = {name: p.clone().requires_grad_() for name, p in start.items()}
    for step in plan:
        logits = functional_call(net, parameters, (apply(images[step.picks], step.drawn),))
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels[step.picks]), list(parameters.values()))
        parameters = {
            name: (p - lr * g).detach().requires_grad_()
            for (name, p), g in zip(parameters.items(), gradients, strict=True)
        }
    missed = sum(((parameters[n] - target[n]) ** 2).sum() for n in target)
    return (missed / sum(((start[n] - target[n]) ** 2).sum() for n in target)).item()


@pytest.mark.parametrize("gradients", [unrolling.unrolled_gradients, unrolling.checkpointed_gradients])
def test_loss_and_gradients_against_differences(case, gradients):
    net, start, target, images, labels, plan = case
    images, lr = images.requires_grad_(), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    loss, (by_images, by_lr) = gradients(net, start, target, images, labels, lr, plan)
    images = images.detach()
    assert float(loss) == pytest.approx(written_out(case, images, 0.1), rel=1e-10)
    e = 1e-5
    slope = (written_out(case, images, 0.1 + e) - written_out(case, images, 0.1 - e)) / (2 * e)
    assert float(by_lr) == pytest.approx(slope, rel=1e-4)
    way = torch.randn(images.shape, generator=rng(5)).double()
    slope = (written_out(case, images + e * way, 0.1) - written_out(case, images - e * way, 0.1)) / (2 * e)
    assert float((by_images * way).sum()) == pytest.approx(slope, rel=1e-3)


def test_a_student_on_the_spot_loses_nothing_but_the_way():
    here = {"w": torch.zeros(3)}
    there = {"w": torch.tensor([3.0, 0.0, 4.0])}
    assert float(unrolling.matching_loss(here, here, there)) == 1
    assert float(unrolling.matching_loss(there, here, there)) == 0
    assert float(unrolling.matching_loss({"w": torch.tensor([3.0, 0.0, 0.0])}, here, there)) == pytest.approx(16 / 25)


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


def test_settings_of_the_authors(data):
    def chosen(name, classes, size, ipc, **options):
        images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        names = tuple(map(str, range(classes)))
        one = ImageData(images, torch.zeros(1, dtype=torch.int64), names, (0.5,) * 3, (0.5,) * 3, name, named=name)
        made = make("mtt", **options).resolved(one, ipc)
        return (
            made.zca, made.steps, made.span, made.starts, made.image_lr, made.step_lr, made.start_lr,
            made.batch_synthetic, made.experts,
        )  # fmt: skip

    assert chosen("cifar10", 10, 32, 1) == ("absolute", 50, 2, 2, 100, 1e-7, 0.01, 0, 100)
    assert chosen("cifar10", 10, 32, 50) == ("none", 30, 2, 40, 1000, 1e-5, 1e-3, 0, 100)
    assert chosen("cifar100", 100, 32, 50)[1:4] + chosen("cifar100", 100, 32, 50)[-2:] == (80, 2, 40, 125, 100)
    assert chosen("cifar100", 100, 32, 20) == chosen("cifar100", 100, 32, 50) == chosen("cifar100", 100, 32, 90)
    assert chosen("tiny", 200, 64, 10) == ("none", 20, 2, 40, 1e4, 1e-4, 0.01, 200, 100)
    assert chosen("imagenet", 1000, 64, 1) == ("none", 5, 2, 5, 3e4, 1e-6, 0.01, 0, 60)
    assert chosen("cifar10", 10, 32, 1, zca="none", steps=7)[:2] == ("none", 7)


class Recorder:
    """Stands for a buffer of experts, and knows what was asked of it."""

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
        _, slopes = unrolling.unrolled_gradients(run.net, start, target, images, run.labels, lr, plan)
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
    whole, parts = (
        unrolling.unrolled_bytes(run.net, run.images, run.labels, step, 6, checkpoint) for checkpoint in (False, True)
    )
    size = sum(p.numel() * 4 for p in run.net.parameters())
    assert whole % 6 == 0
    assert parts == whole // 6 + 6 * size
    activations = 6 * (64 + 64 * 6) * 4  # the input and the first convolution's output
    assert whole // 6 > activations
    mtt.check_memory(run, method, whole)
    with pytest.raises(InputError, match="mtt: 6 steps on 6 synthetic images hold about .* checkpoint=true"):
        mtt.check_memory(run, method, whole - 1)


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
