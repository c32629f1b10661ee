import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from bilp_core.coresets import LastLayer, glister, taylor_greedy
from bilp_core.errors import InputError

from .common import gradients, random_layer


def after_step(validation, train, chosen, eta):
    """Mean validation loss after one step of the last layer on the summed losses of the chosen, exactly."""
    step = -eta * gradients(train)[chosen].sum(0)
    classes, size = train.logits.shape[1], train.features.shape[1]
    weight, bias = step[: classes * size].view(classes, size), step[classes * size :]
    return float(cross_entropy(validation.logits + validation.features @ weight.T + bias, validation.labels))


@pytest.mark.parametrize("seed", range(3))
def test_each_pick_lowers_the_true_loss_most(seed):
    """For a small step the Taylor gain is the gain: greedy by the true loss after the step takes the same."""
    train, validation = random_layer(24, seed=seed), random_layer(15, seed=seed + 10)
    chosen = []
    for _ in range(6):
        free = [i for i in range(24) if i not in chosen]
        chosen.append(min(free, key=lambda i: after_step(validation, train, [*chosen, i], 1e-4)))
    assert taylor_greedy(train, validation, eta=1e-4)[:6].tolist() == chosen


def test_the_gain_is_the_derivative_of_the_true_loss():
    train, validation = random_layer(24), random_layer(15, seed=1)
    eta = 1e-5
    before = float(cross_entropy(validation.logits, validation.labels))
    true = torch.tensor([before - after_step(validation, train, [i], eta) for i in range(24)])
    taylor = eta * gradients(train) @ gradients(validation).mean(0)
    torch.testing.assert_close(taylor.float(), true, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("held", [4, 40])
def test_large_steps_against_a_plain_loop(held):
    """The gradient of the validation loss is renewed at the moved layer; fewer and more held out than features."""
    train, validation = random_layer(30), random_layer(held, seed=1)
    g, eta, chosen = gradients(train), 0.3, []
    for _ in range(10):
        step = -eta * g[chosen].sum(0)
        weight, bias = step[:15].view(3, 5), step[15:]
        moved = LastLayer(
            validation.features, validation.logits + validation.features @ weight.T + bias, validation.labels
        )
        gains = g @ gradients(moved).mean(0)
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
    assert taylor_greedy(train, validation, eta=eta)[:10].tolist() == chosen


def test_logits_alone():
    """The gradient of the biases knows nothing of the features."""
    train, validation = random_layer(30), random_layer(12, seed=1)
    flat = LastLayer(torch.zeros(30, 5, dtype=torch.float64), train.logits, train.labels)
    held = LastLayer(torch.zeros(12, 5, dtype=torch.float64), validation.logits, validation.labels)
    expected = taylor_greedy(flat, held, eta=0.1)
    assert torch.equal(taylor_greedy(train, validation, eta=0.1, gradient="logits"), expected)
    assert not torch.equal(taylor_greedy(train, validation, eta=0.1), expected)


@pytest.mark.parametrize("gradient", ["layer", "logits"])
@pytest.mark.parametrize("held", [4, 90])
def test_leaving_out_what_was_taken_changes_nothing(held, gradient, monkeypatch):
    train, validation = random_layer(60), random_layer(held, seed=1)
    features = train.features.clone()
    found = {}
    for share in (0.0, 0.8, 1.0):
        monkeypatch.setattr(sys.modules["bilp_core.coresets.glister"], "FEWER", share)
        monkeypatch.setattr(sys.modules["bilp_core.coresets.glister"], "BLOCK", 7)
        found[share] = taylor_greedy(train, validation, eta=0.1, gradient=gradient).tolist()
    assert found[0.0] == found[0.8] == found[1.0]
    assert torch.equal(train.features, features)


def test_rounds():
    train, validation = random_layer(30), random_layer(12, seed=1)
    gains = gradients(train) @ gradients(validation).mean(0)
    assert torch.equal(taylor_greedy(train, validation, eta=0.1, rounds=1), gains.argsort(descending=True))
    three = taylor_greedy(train, validation, eta=0.1, rounds=3)
    assert torch.equal(three[:10], gains.argsort(descending=True)[:10])
    assert three.sort().values.tolist() == list(range(30))


def test_long_steps_stay_finite():
    """After steps that drive every wrong probability below the smallest float, the order is still made by gains."""
    train, validation = random_layer(40, classes=2), random_layer(20, classes=2, seed=1)
    order = taylor_greedy(train, validation, eta=1e4)
    assert order.sort().values.tolist() == list(range(40))


def test_scopes():
    labels = torch.tensor([0] * 20 + [1] * 9 + [2])
    train = random_layer(30, labels=labels)
    validation = random_layer(8, labels=torch.tensor([0] * 5 + [1] * 3), seed=1)
    whole = taylor_greedy(train, validation, eta=0.1)
    for c, order in enumerate(glister(train, validation, eta=0.1)):
        assert order.tolist() == [i for i in whole.tolist() if labels[i] == c]
    for c, order in enumerate(glister(train, validation, eta=0.1, scope="class")):
        members = (labels == c).nonzero().flatten()
        own = train.subset(members)
        held = validation.subset((validation.labels == c).nonzero().flatten())
        judge = held if len(held) else own  # class 2 has none
        assert order.tolist() == members[taylor_greedy(own, judge, eta=0.1)].tolist()


def test_glister_follows_a_permutation():
    train, validation = random_layer(60), random_layer(12, seed=1)
    shuffle = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    for scope in ("all", "class"):
        first = glister(train, validation, eta=0.1, scope=scope)
        second = glister(train.subset(shuffle), validation, eta=0.1, scope=scope)
        for order, moved in zip(first, second, strict=True):
            assert torch.equal(shuffle[moved], order)


def test_equal_images_break_nothing():
    labels = torch.tensor([0] * 7 + [2])
    layer = LastLayer(torch.ones(8, 5), torch.ones(8, 3), labels)
    for scope in ("all", "class"):
        orders = glister(layer, layer, eta=0.1, scope=scope)
        assert torch.cat(orders).sort().values.tolist() == list(range(8))


def test_refuses():
    layer = random_layer(6)
    with pytest.raises(InputError, match="scope = 'batch'"):
        glister(layer, layer, eta=0.1, scope="batch")
    with pytest.raises(InputError, match="gradient = 'class': must be one of layer, logits"):
        glister(layer, layer, eta=0.1, gradient="class")
    with pytest.raises(InputError, match="rounds = 0"):
        taylor_greedy(layer, layer, eta=0.1, rounds=0)
    with pytest.raises(InputError, match="0 held out"):
        taylor_greedy(layer, layer.subset(torch.arange(0)), eta=0.1)
