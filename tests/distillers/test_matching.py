"""DC, DSA and DM against their formulas, written out here on their own."""

import pytest
import torch
import torch.nn.functional as F

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, ClassBatches, distill, make, options_of
from bilp_core.distillers.dc import layerwise_cosine, loops, train_network
from bilp_core.errors import Diverged, InputError
from bilp_core.nets import augment, initialise, network

from .common import NET, a_run, rng, short

pytestmark = pytest.mark.filterwarnings("ignore:the expert recognises")  # of DATM, on ten images a class


def plain_copy(run, spec=NET):
    net = network(spec, run.data.shape, run.data.num_classes)
    net.load_state_dict(run.net.state_dict())
    return net


def dc_loss_written_out(net, real, synthetic, label):
    """Row by row over the output units of every layer, in double loops."""
    names = [n for n, p in net.named_parameters() if p.ndim > 1]
    gradients = []
    for images, graph in ((real, False), (synthetic, True)):
        labels = torch.full((len(images),), label)
        loss = -F.log_softmax(net(images), 1)[torch.arange(len(images)), labels].mean()
        all_grads = torch.autograd.grad(loss, list(net.parameters()), create_graph=graph)
        gradients.append({n: g for (n, _), g in zip(net.named_parameters(), all_grads, strict=True)})
    total = 0
    for name in names:
        for a, b in zip(gradients[0][name], gradients[1][name], strict=True):
            a, b = a.reshape(-1), b.reshape(-1)
            total = total + 1 - a @ b / (a.norm() * b.norm() + 1e-6)  # a dead unit has norm 0
    return total


def dm_loss_written_out(net, real, synthetic, label):
    return sum((r - s) ** 2 for r, s in zip(net.embed(real).mean(0), net.embed(synthetic).mean(0), strict=True))


@pytest.mark.parametrize(
    ("name", "formula"),
    [("dc", dc_loss_written_out), ("dsa", dc_loss_written_out), ("dm", dm_loss_written_out)],
)
@pytest.mark.parametrize("spec", [NET, "convnet:depth=2,width=6,norm=layer", "mlp"])
def test_loss_and_gradient_equal_the_formula(name, formula, spec, data):
    run = a_run(short(name), data, spec)
    net, state = plain_copy(run, spec), run.rng.get_state()
    for label in range(3):
        run.rng.set_state(state)
        ours = run.method.class_loss(run, label)
        (gradient,) = torch.autograd.grad(ours, run.images)

        run.rng.set_state(state)
        real, images = run.batches(label), run.images.detach().clone().requires_grad_()
        own = images[label * 2 : label * 2 + 2]
        if run.method.augment:
            drawn = augment.draw(augment.dsa_strategy(False), 1, (8, 8), run.rng)
            real, own = augment.apply(real, drawn), augment.apply(own, drawn)
        expected = formula(net, real, own, label)
        (expected_gradient,) = torch.autograd.grad(expected, images)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
        assert gradient.abs().sum() > 0


def test_a_round_of_dc_written_out(data):
    """IPC 2, two outer loops, three inner epochs: images after one step equal a plain double loop."""
    method = make("dc", outer=2, inner=3, iterations=1)
    run = a_run(method, data)
    start, state = run.images.detach().clone(), run.rng.get_state()
    found, losses = method.step(run), []

    generator = rng()
    generator.set_state(state)
    net = network(NET, data.shape, 3)
    initialise(net, generator)
    images = start.requires_grad_()
    optimizer = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    batches = ClassBatches(data, 256, generator)
    for turn in range(2):
        loss = sum(dc_loss_written_out(net, batches(c), images[2 * c : 2 * c + 2], c) for c in range(3))
        losses.append(loss.item() / 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if turn == 0:
            inner = torch.optim.SGD(net.parameters(), lr=0.01)
            for _ in range(3):
                order = torch.randperm(6, generator=generator)
                fixed = images.detach()
                inner.zero_grad()
                F.cross_entropy(net(fixed[order]), run.labels[order]).backward()
                inner.step()
    torch.testing.assert_close(run.images, images, rtol=1e-4, atol=1e-5)
    assert found.item() == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_rounds_of_dm_written_out(norm, data):
    """A new network each round; under BatchNorm all classes pass together, real and synthetic images apart."""
    spec = f"convnet:depth=2,width=6,norm={norm}"
    run = a_run(make("dm", image_lr=0.3, augment=False), data, spec)
    state, images, velocity = run.rng.get_state(), run.images.detach().clone(), 0
    found = [run.method.step(run).item() for _ in range(3)]
    run.rng.set_state(state)
    for one in found:
        net = network(spec, data.shape, 3)
        initialise(net, run.rng)
        batches = [run.batches(c) for c in range(3)]
        images = images.requires_grad_()
        if norm == "batch":
            with torch.no_grad():
                real = net.embed(torch.cat(batches)).split([len(batch) for batch in batches])
            features = net.embed(images).split(2)
        else:
            real, features = [net.embed(b).detach() for b in batches], [net.embed(i) for i in images.split(2)]
        loss = sum((r.mean(0) - f.mean(0)).square().sum() for r, f in zip(real, features, strict=True))
        velocity = 0.5 * velocity + torch.autograd.grad(loss, images)[0]
        images = (images - 0.3 * velocity).detach()
        assert one == pytest.approx(loss.item() / 3, rel=1e-5)
    torch.testing.assert_close(run.images.detach(), images, rtol=1e-4, atol=1e-5)


def test_the_cosine_of_layers_by_hand():
    """Units of 1e-3 have a product of 1e-6, as large as what keeps the quotient finite; biases do not count."""
    weights, bias = torch.tensor([[3.0, 4.0], [1e-3, 0.0]]), torch.tensor([1.0, 2.0])
    other = torch.tensor([[4.0, 3.0], [1e-3, 0.0]])
    found = layerwise_cosine([weights, bias], [other, -bias])
    assert found.item() == pytest.approx(1 - 24 / 25 + 1 - 0.5, rel=1e-5)


def test_a_network_trains_on_the_synthetic_set_in_batches_of_256(data, monkeypatch):
    run = a_run(make("dc"), data, "mlp", ipc=100)
    sizes, plain = [], run.augmented
    monkeypatch.setattr(run, "augmented", lambda images: sizes.append(len(images)) or plain(images))
    train_network(run, run.method.network_lr, 2)
    assert sizes == [256, 44] * 2


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("spec", [NET, "convnet:depth=2,width=6,norm=batch"])
def test_distilling_lowers_the_loss(name, spec, data):
    losses = []

    def progress(done, total, note):
        if note.startswith("loss"):  # a first stage has other notes
            losses.append(float(note.split()[-1]))

    rates = {"dm": {"image_lr": 0.5}, "haba": {"image_lr": 0.01, "style_lr": 0.0003}}.get(name, {})
    made = distill(short(name, iterations=60, **rates), data, 1, network=spec, init="noise", progress=progress)
    assert len(made.images) == 3 or made.decoder
    assert made.images.shape[1:] == (1, 8, 8)
    assert sum(losses[-20:]) < sum(losses[:20])
    assert made.meta["method"] == name
    assert made.meta["options"]["iterations"] == 60


def test_batchnorm_is_frozen_while_matching(data):
    """At a tenth of the statistics of 16 real images a class, the momentum of a pass being a tenth."""
    data = data.subset(torch.arange(30).repeat(2))
    run = a_run(make("dc"), data, "convnet:depth=2,width=6,norm=batch")
    state = run.rng.get_state()
    run.method.freeze_batchnorm(run)
    before = run.batchnorms[0].running_mean.clone()
    run.rng.set_state(state)
    first = next(m for m in run.net.modules() if isinstance(m, torch.nn.Conv2d))
    seen = first(torch.cat([run.batches(c, 16) for c in range(3)]))
    assert len(seen) == 48
    torch.testing.assert_close(before, 0.1 * seen.mean((0, 2, 3)).detach())
    run.method.class_loss(run, 0)
    assert torch.equal(before, run.batchnorms[0].running_mean)


@pytest.mark.parametrize("name", list(METHODS))
def test_same_seed_same_set(name, data):
    method = short(name, iterations=3)
    first, second = (distill(method, data, 1, network=NET, seed=4).images for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, distill(method, data, 1, network=NET, seed=5).images)


@pytest.mark.parametrize(
    ("size", "classes", "expected"),
    [
        (256, [5000] * 2, 256),
        (256, [50] * 2, 64),
        (256, [2] * 2, 2),
        (256, [128] * 2, 128),
        (256, [129, 3], 256),
        (256, [1], 1),
    ],
)
def test_batches_are_halved(size, classes, expected):
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(classes)])
    images = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    names = tuple("ab"[: len(classes)])
    batches = ClassBatches(ImageData(images, labels, names, (0.5,), (0.5,), "x", False), size, rng())
    assert batches.size == expected
    assert len(batches(0)) == min(expected, classes[0])


def test_batches_hold_one_class_without_repetition(data):
    batches = ClassBatches(data, 8, rng())
    for _ in range(5):
        picks = batches.indices(1)
        assert len(picks.unique()) == 8
        assert (data.labels[picks] == 1).all()


def test_loops_of_the_reference():
    assert [loops(i) for i in (1, 10, 20, 30, 40, 50)] == [
        (1, 1),
        (10, 50),
        (20, 25),
        (30, 20),
        (40, 15),
        (50, 10),
    ]
    assert loops(5) == (5, 100)
    assert loops(1000) == (1000, 1)


def test_divergence_is_reported(data):
    with pytest.raises(Diverged, match="lower image_lr"):
        distill(make("dm", iterations=50, image_lr=1e30), data, 1, network=NET)


def test_options_are_checked():
    with pytest.raises(InputError, match="method 'mtt2' is unknown; there are: cafe, .*dc"):
        make("mtt2")
    with pytest.raises(InputError, match="Did you mean 'iterations'"):
        make("dc", iteration=5)
    with pytest.raises(InputError, match=r"iterations = '1.5'.*must be a whole number"):
        make("dc", iterations="1.5")
    assert make("dc", iterations="1e3").iterations == 1000  # the rule of `utils.options`
    with pytest.raises(InputError, match="iterations = 0"):
        make("dc", iterations=0)
    with pytest.raises(InputError, match="image_lr = nan"):
        make("dm", image_lr=float("nan"))
    with pytest.raises(InputError, match="iterations = True"):
        make("dc", iterations=True)
    assert options_of("dm")["iterations"] == 20000
    assert make("dc", image_lr=1).image_lr == 1.0


def test_an_empty_class_is_refused(data):
    with pytest.raises(InputError, match="class 'c' has no samples left"):
        distill(make("dc", iterations=1), data.subset((data.labels < 2).nonzero().flatten()), 1, network=NET)


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ((50, 50), [50]),
        ((150, 150), [50, 50, 50]),
        ((256, 256), [64] * 4),
        ((100, 100, 7), [50, 50]),
        ((240, 180, 10), [60] * 4),
    ],
)
def test_batches_fall_into_equal_parts_of_one_compiled_shape(counts, parts, monkeypatch):
    """On a CPU; what did not fall into such parts would run uncompiled."""
    shapes = []

    def stand_in(function, *_):
        def call(net, images, *more):
            shapes.append(len(images))
            return function(net, images, *more)

        return call

    monkeypatch.setattr("bilp_core.distillers.run.compiled", stand_in)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(0, 256, (len(labels), 3, 32, 32), dtype=torch.uint8)
    data = ImageData(images, labels, tuple("abc"[: len(counts)]), (0.5,) * 3, (0.25,) * 3, "tiny", True)
    run = a_run(short("dc", batch=256), data)
    run.method.statistic(run, data.batch(data.of_class(0)), 0, real=True)
    assert shapes == parts
