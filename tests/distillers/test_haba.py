"""HaBa: its images, its round and its losses written out, its settings, and what it refuses."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from bilp_core.data import ImageData, load
from bilp_core.distillers import distill, make
from bilp_core.distillers.haba import PARTS, contrastive
from bilp_core.errors import InputError
from bilp_core.evaluation import protocol, stored
from bilp_core.pruning import Adaptive
from bilp_core.synthetic import Hallucinators, SyntheticSet

from .common import NET, a_run, rng, short
from .test_mtt import Recorder, cell
from .test_unrolling import brute_force


def prepared(data, spec=NET, **options):
    run = a_run(short("haba", **options), data, spec)
    run.stage = Recorder(run, 8)
    run.state = run.method.prepare(run)
    return run


def test_a_hallucinator_is_two_convolutions_and_a_scale():
    made = Hallucinators.random(torch.randn(4, 3, 9, 7, generator=rng()), 2, 3, rng(1))
    assert made.scale.shape == (2, 3, 7, 5)
    assert (made.numbers - made.bases.numel()) // 2 == 84 + 2 * 3 * 7 * 5 + 84
    scale, shift = (torch.randn(2, 3, 7, 5, generator=rng(k)) for k in (2, 3))
    made = Hallucinators(**{**made.tensors(), "scale": scale, "shift": shift})
    first, second = torch.nn.Conv2d(3, 3, 3), torch.nn.ConvTranspose2d(3, 3, 3)
    images = made.decoded()
    assert images.shape == (8, 3, 9, 7)
    for j in range(2):
        with torch.no_grad():
            for layer, weight, bias in (
                (first, made.encoder[j], made.encoder_bias[j]), (second, made.decoder[j], made.decoder_bias[j]),
            ):  # fmt: skip
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
            torch.testing.assert_close(images[4 * j : 4 * j + 4], second(scale[j] * first(made.bases) + shift[j]))


def test_a_hallucinator_that_does_nothing_shows_the_base():
    bases = torch.randn(2, 1, 8, 8, generator=rng())
    delta = torch.zeros(1, 1, 1, 3, 3)
    delta[..., 1, 1] = 1
    none, flat = torch.zeros(1, 1), torch.ones(1, 1, 6, 6)
    made = Hallucinators(bases, delta, none, flat, torch.zeros_like(flat), delta, none).decoded()
    assert torch.equal(made[:, :, 1:-1, 1:-1], bases[:, :, 1:-1, 1:-1])


def test_the_contrastive_loss_pair_by_pair():
    features, labels = torch.randn(6, 5, generator=rng()), torch.tensor([0, 1, 0, 1, 1, 0])
    total = 0.0
    for i in range(6):
        cosines = [F.cosine_similarity(features[i], features[a], dim=0) / 0.07 for a in range(6)]
        below = sum(cosines[a].exp() for a in range(6) if a != i)
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        total -= sum((cosines[p].exp() / below).log() for p in positives) / len(positives)
    assert float(contrastive(features, labels)) == pytest.approx(float(total / 6), rel=1e-4)


def test_a_round_follows_both_losses(data, monkeypatch):
    """The student's through the whole graph, from bases and hallucinators on."""
    run, seen, pairs = (
        prepared(data, steps=3, image_lr=0.5, style_lr=0.2, step_lr=1e-3, apart=0.7, critic_lr=1e-30),
        [],
        [],
    )
    cls = type(run.method)
    follow, pair = cls.follow, cls.pair
    monkeypatch.setattr(cls, "follow", lambda *args: seen.append(args[1:4]) or follow(*args))
    monkeypatch.setattr(cls, "pair", lambda *args: pairs.append(run.rng.get_state()) or pair(*args))
    before = {name: getattr(run.state, name).detach().clone().requires_grad_() for name in PARTS}
    bases, lr = run.images.detach().clone().requires_grad_(), torch.tensor(0.01, requires_grad=True)
    loss = run.method.step(run)
    ((student, start, target),) = seen
    decoder, count = Hallucinators(bases, **before), len(bases)
    assert {len(set((step.picks // count).tolist())) for step in student.plan} == {1}

    class Whole:
        net, plan, momentum, images, labels = (
            student.net,
            student.plan,
            0.0,
            decoder.decoded(),
            F.one_hot(run.labels, 3),
        )

    Whole.lr = lr
    own = brute_force(Whole, start, target)
    assert float(loss) == pytest.approx(own.item(), rel=1e-5)
    run.rng.set_state(pairs[0])
    order, (j, k) = torch.randperm(count, generator=run.rng), torch.randperm(3, generator=run.rng)[:2].tolist()
    features = [run.state.critic.embed(decoder.rendered(bases[order], i)).flatten(1) for i in (j, k)]
    alike = sum((F.cosine_similarity(u, v, dim=0) + 1) / 2 for u, v in zip(*features, strict=True)) / count
    leaves = [bases, *before.values()]
    slopes = torch.autograd.grad(own + 0.7 * alike, [*leaves, lr])
    after = [run.images, *(getattr(run.state, name) for name in PARTS), run.state.lr]
    for found, old, slope, rate in zip(after, [*leaves, lr], slopes, [0.5, *[0.2] * 6, 1e-3], strict=True):
        assert slope.norm() > 0
        torch.testing.assert_close(found.detach() - old.detach(), -rate * slope, rtol=5e-3, atol=2e-6)


def test_the_critic_learns_to_name_and_to_overlook_hallucinators(data):
    run = prepared(data, classify=1.5, together=0.5, contrast=0.25)
    state = run.rng.get_state()
    found = run.method.critic_loss(run)
    run.rng.set_state(state)
    order, (j, k) = torch.randperm(6, generator=run.rng), torch.randperm(3, generator=run.rng)[:2].tolist()
    u, v = (run.state.critic.embed(run.method.decoder(run).rendered(run.images[order], i)).flatten(1) for i in (j, k))
    labels = torch.cat([run.labels[order]] * 2)
    named = F.cross_entropy(run.state.critic.classifier(torch.cat([u, v])), labels)
    apart = ((1 - F.cosine_similarity(u, v)) / 2).mean()
    wanted = 1.5 * named + 0.5 * apart + 0.25 * contrastive(torch.cat([u, v]), labels)
    assert float(found.detach()) == pytest.approx(wanted.item(), rel=1e-5)
    before = [p.detach().clone() for p in run.state.critic.parameters()]
    net = [p.detach().clone() for p in run.net.parameters()]
    run.method.step(run)
    assert any(not torch.equal(p, q) for p, q in zip(run.state.critic.parameters(), before, strict=True))
    assert all(torch.equal(p, q) for p, q in zip(run.net.parameters(), net, strict=True))


def test_the_step_size_has_a_floor(data):
    run = prepared(data, start_lr=0.01, step_lr=1e4, floor=0.005)
    rates = []
    for _ in range(4):
        run.method.step(run)
        rates.append(run.state.lr.item())
    assert min(rates) == pytest.approx(0.005)


def test_the_file_keeps_bases_and_hallucinators(data, tmp_path):
    made = distill(short("haba", iterations=1), data, 2, network=NET)
    made.save(tmp_path / "s.safetensors")
    back = SyntheticSet.load(tmp_path / "s.safetensors")
    assert torch.equal(back.images, made.images)
    assert torch.equal(back.decoder.decoded(), made.images)
    assert made.images.shape == (3 * 6, 1, 8, 8)
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2] * 3
    assert made.numbers == 6 * 64 + 3 * (10 + 2 * 36 + 10)
    assert made.meta["budget"] == back.budget == made.numbers / (3 * 64)
    assert stored(made) == 3


def test_grey_bases_of_coloured_images():
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    data = ImageData(images, torch.arange(24) % 2, ("a", "b"), (0.5,) * 3, (0.25,) * 3, "tiny", False)
    made = distill(short("haba", iterations=1, single_channel=True), data, 2, network=NET)
    assert made.decoder.bases.shape == (12, 1, 8, 8)
    assert made.images.shape == (36, 3, 8, 8)
    start = make("haba", single_channel=True).start(data, 2, "real", rng(), NET).decoder.bases
    grey = data.batch().mean(1, keepdim=True)
    assert all(any(torch.equal(base, image) for image in grey) for base in start)


def test_settings_of_the_authors():
    fields = ("zca", "steps", "span", "starts", "image_lr", "step_lr", "start_lr", "batch_synthetic", "style_lr")
    chosen = partial(cell, "haba", fields)
    assert chosen("cifar10", 10, 32, 1) == ("absolute", 50, 2, 2, 100, 1e-7, 0.01, 0, 100)
    assert chosen("cifar10", 10, 32, 10) == ("absolute", 30, 2, 20, 100, 1e-5, 0.001, 0, 100)
    assert chosen("cifar10", 10, 32, 50) == ("absolute", 30, 2, 20, 100, 1e-5, 0.01, 0, 100)
    assert chosen("tiny", 200, 64, 10) == ("none", 20, 2, 40, 100, 1e-4, 0.01, 200, 100)
    method = make("haba")
    assert (method.hallucinators, method.image_momentum, method.step_momentum, method.floor) == (5, 0.95, 0.9, 0.001)
    assert (method.apart, method.together, method.classify, method.contrast) == (0.1, 0.1, 1.0, 0.1)
    judged = {ipc: protocol("haba", load("digits").test, ipc=ipc, learned_lr=0.02) for ipc in (1, 10, 50)}
    assert {ipc: found.epochs for ipc, found in judged.items()} == {1: 1000, 10: 500, 50: 200}
    assert (judged[1].batch, judged[1].lr) == (256, 0.02)
    cifar = ImageData(
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), tuple("0123456789"),
        (0.5,) * 3, (0.5,) * 3, "x", True,
    )  # fmt: skip
    assert method.start(cifar, 1, "noise", rng(), NET).budget == pytest.approx(1.906, abs=1e-3)


def test_refusals(data):
    with pytest.raises(InputError, match="haba: hallucinators = 1: must be at least 2"):
        make("haba", hallucinators=1)
    with pytest.raises(InputError, match="images of 2x8: hallucinators need 3x3 pixels"):
        Hallucinators.random(torch.zeros(1, 1, 2, 8), 2, 1, rng())
    with pytest.raises(InputError, match="additively separable .* that of 'haba' is not"):
        distill(short("haba"), data, 1, network=NET, adaptive=Adaptive(0.3))


def test_a_pair_is_of_all_bases(data):
    run = prepared(data, augment=True)
    one, other, labels = run.method.pair(run)
    assert one.shape == other.shape == (6, run.net.classifier.in_features)
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 2, 2]
