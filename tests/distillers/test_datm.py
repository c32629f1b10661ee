"""DATM: its round and its labels written out, the epochs it starts from, the images, its settings."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.func import functional_call

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, experts, make
from bilp_core.distillers.teachers import mean_answers, recognised
from bilp_core.errors import InputError
from bilp_core.evaluation import protocol
from bilp_core.nets import network
from bilp_core.pruning import Adaptive

from .common import NET, a_run, rng, short
from .test_mtt import Recorder, cell
from .test_unrolling import brute_force


def prepared(data, **options):
    run = a_run(short("datm", **options), data)
    run.stage = Recorder(run, 8)
    run.state = run.method.prepare(run)
    return run


def everything(run):
    """All that a round may change, with the memory of the optimisers."""
    state, optimizers = run.state, (run.optimizer, run.state.optimizer, run.state.labels)
    speeds = [o.state[p].get("momentum_buffer") for o in optimizers for g in o.param_groups for p in g["params"]]
    return [t.detach().clone() for t in (run.images, run.labels, state.lr, *speeds) if t is not None]


def test_a_round_follows_the_gradient_through_the_softmax(data, monkeypatch):
    run, seen = prepared(data, steps=2, step_lr=1e-3, image_lr=3.0, label_lr=2.0), []
    follow = type(run.method).follow
    monkeypatch.setattr(type(run.method), "follow", lambda *args: seen.append(args[1:4]) or follow(*args))
    images, logits = (t.detach().clone().requires_grad_() for t in (run.images, run.labels))
    lr = torch.tensor(0.01, requires_grad=True)
    loss = run.method.step(run)
    ((student, start, target),) = seen
    own = brute_force(replace(student, images=images, labels=logits.softmax(1), lr=lr), start, target)
    assert float(loss) == pytest.approx(own.item(), rel=1e-5)
    slopes = torch.autograd.grad(own, (images, logits, lr))
    for found, before, slope, rate in zip(
        (run.images, run.labels, run.state.lr), (images, logits, lr), slopes, (3.0, 2.0, 1e-3), strict=True
    ):
        moved = found.detach() - before.detach()
        assert moved.norm() > 0
        torch.testing.assert_close(moved, -rate * slope, rtol=2e-3, atol=1e-7)


def test_a_round_of_large_loss_changes_nothing(data):
    run = prepared(data, image_lr=1.0)
    assert run.method.step(run) < 9
    before = everything(run)
    assert len(before) == 6
    object.__setattr__(run.method, "threshold", 1e-6)
    run.method.step(run)
    assert all(torch.equal(a, b) for a, b in zip(everything(run), before, strict=True))
    object.__setattr__(run.method, "threshold", 9.0)
    run.method.step(run)
    assert not any(torch.equal(a, b) for a, b in zip(everything(run), before, strict=True))
    fixed = prepared(data, learn_labels=False)
    labels = fixed.labels.detach().clone()
    fixed.method.step(fixed)
    assert torch.equal(fixed.labels, labels)


def test_the_last_start_grows(data):
    run = prepared(data, starts_from=3, starts_early=10, starts=20, growth=1000, span=2, epochs=22)
    last = []
    for rounds in (0, 500, 999, 1000, 5000):
        run.state.rounds = rounds
        last.append(run.method.bounds(run))
    assert last == [(2, 10), (2, 15), (2, 19), (2, 20), (2, 20)]
    run.state.rounds = 0
    drawn = set()
    for _ in range(200):
        run.stage.asked.clear()
        run.method.stretch(run)
        drawn.add(run.stage.asked[0][1])
    assert drawn == set(range(2, 10))
    with pytest.raises(InputError, match="starts_from = 4, starts_early = 3 and starts = 5 must rise"):
        distill(short("datm", starts_from=4, starts_early=3, starts=5, epochs=9), data, 1, network=NET)


def memory(ipc):
    """Said beforehand of a round on CIFAR-10 with the published settings."""
    images, labels = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
    one = ImageData(images, labels, tuple("0123456789"), (0.5,) * 3, (0.5,) * 3, "cifar10", named="cifar10")
    exact, first = (
        make("datm", exact=kind).resolved(one, ipc).round_bytes(one, ipc, "convnet") for kind in (True, False)
    )
    assert exact == first
    return exact


def test_settings_of_the_authors():
    fields = (
        "steps", "span", "batch_synthetic", "image_lr", "step_lr", "label_lr", "threshold", "starts_from",
        "starts_early", "starts", "growth",
    )  # fmt: skip
    chosen = partial(cell, "datm", fields)
    assert chosen("cifar10", 10, 32, 1) == (80, 2, 10, 100, 1e-7, 5, 1.1, 1, 4, 4, 1)
    assert chosen("cifar10", 10, 32, 50) == (80, 2, 500, 1000, 1e-5, 2, 1, 1, 20, 40, 2000)
    assert chosen("cifar10", 10, 32, 1000) == (100, 2, 1000, 50, 1e-5, 10, 1, 41, 60, 60, 1)
    assert chosen("cifar100", 100, 32, 1) == (40, 3, 1000, 1000, 1e-5, 10, 1, 1, 10, 20, 1000)
    assert chosen("tiny", 200, 64, 50) == (20, 2, 1000, 100, 1e-4, 10, 1, 41, 70, 70, 1)
    assert chosen("imagenet", 1000, 64, 1) == chosen("tiny", 200, 64, 1)
    for name, classes, size in (("cifar10", 10, 32), ("cifar100", 100, 32), ("tiny", 200, 64)):
        assert cell("datm", ("zca", "start_lr", "experts"), name, classes, size, 10) == ("absolute", 0.01, 100)
    published = make("datm")
    assert 2.5e9 < memory(1000) < 4e9  # of a round on CIFAR-10, by either gradient
    assert memory(50) == pytest.approx(memory(1000) / 2, rel=0.05)
    assert (published.epochs, published.label_momentum, published.expert_sharpness) == (100, 0.9, 0.01)
    judged = protocol("datm", load("digits").test, learned_lr=0.02)
    assert (judged.epochs, judged.batch, judged.lr) == (1000, 128, 0.02)


class Opinions:
    """Three experts of one pixel's worth: each answers every image with its own logits."""

    epochs = 1

    def __init__(self, logits):
        self.logits = logits

    def __len__(self):
        return len(self.logits)

    def parameters(self, expert, epoch, device):
        assert epoch == self.epochs
        return {"weight": torch.zeros(3, 4), "bias": self.logits[expert]}


class Flat(torch.nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1))


def test_labels_are_the_mean_of_experts_that_are_right():
    opinions = Opinions([torch.tensor([3.0, 1, 0]), torch.tensor([5.0, 0, 1]), torch.tensor([0, 2.0, 0])])
    images, labels = torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 2])
    found = mean_answers(Flat(4, 3), opinions, images, labels)
    assert found[0].tolist() == [4, 0.5, 0.5]
    assert found[1].tolist() == [0, 2, 0]
    torch.testing.assert_close(found[2], torch.tensor([8 / 3, 1, 1 / 3]))  # none is right: all of them
    torch.testing.assert_close(mean_answers(Flat(4, 3), opinions, images)[0], found[2])


def test_images_are_those_that_the_expert_recognises(data, tmp_path):
    train, _ = load("digits")
    train = train.subset(torch.arange(300))
    made = distill(
        short("datm", iterations=1, image_lr=1e-30, label_lr=1e-30, epochs=12, expert_lr=0.05, expert_sharpness=0.0),
        train, 2, network=NET, home=tmp_path,
    )  # fmt: skip
    buffer = experts.load(tmp_path / made.meta["experts"], 2)
    net = network(NET, train.shape, 10)
    hard = torch.arange(10).repeat_interleave(2)
    logits = [functional_call(net, buffer.parameters(k, 12), (made.images,)).detach() for k in range(2)]
    assert torch.equal(logits[0].argmax(1), hard)
    known = {bytes(image.numpy().tobytes()) for image in train.batch()}
    assert {bytes(image.numpy().tobytes()) for image in made.images} <= known
    asked, wrong = made.meta["asked_expert"]
    assert asked == 300
    assert 0 < wrong < 150
    both = (logits[1].argmax(1) == hard)[:, None]
    torch.testing.assert_close(made.labels, torch.where(both, (logits[0] + logits[1]) / 2, logits[0]).softmax(1))


def test_a_class_that_no_expert_knows_takes_those_of_least_loss(data):
    net = Flat(64, 3)
    expert = {"weight": torch.zeros(3, 64), "bias": torch.tensor([0.0, 1.0, 0.0])}
    expert["weight"][0, 0] = 1e-3  # brighter first pixels have a smaller loss in class 0
    with pytest.warns(UserWarning, match="recognises only 0 images of class") as said:
        picks, asked, wrong = recognised(net, expert, data, 2, rng())
    assert [str(w.message).split("class ")[1][:3] for w in said] == ["'a'", "'c'"]
    assert data.labels[picks].tolist() == [0, 0, 1, 1, 2, 2]
    assert (asked, wrong) == (30, 20)
    first = data.batch(data.of_class(0))[:, 0, 0, 0]
    assert set(picks[:2].tolist()) == set(data.of_class(0)[first.topk(2).indices].tolist())


@pytest.mark.filterwarnings("ignore:the expert recognises only")
def test_the_pruning_is_the_same_in_both_stages(data, tmp_path):
    kept = data.subset(torch.arange(24))
    made = distill(short("datm", iterations=1, image_lr=1e-30), kept, 2, network=NET, home=tmp_path)
    assert made.meta["experts"] == experts.key(kept, NET, short("datm").training(kept))
    known = {bytes(image.numpy().tobytes()) for image in kept.batch()}
    assert {bytes(image.numpy().tobytes()) for image in made.images} <= known
    with pytest.raises(InputError, match="additively separable .* that of 'datm' is not"):
        distill(short("datm"), data, 1, network=NET, adaptive=Adaptive(0.3))


@pytest.mark.filterwarnings("ignore:the expert recognises", "ignore:.*far out")
def test_rounds_that_change_nothing_are_told_of(data):
    with pytest.warns(UserWarning, match=r"in 4 of 4 rounds the loss was above threshold = 1e-09.*lower label_lr"):
        distill(short("datm", iterations=4, threshold=1e-9), data, 1, network=NET)
