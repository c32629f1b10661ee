from dataclasses import replace

import pytest
import torch

from bilp_core.coresets import craig, ranks
from bilp_core.data import load
from bilp_core.errors import InputError
from bilp_core.indicators import options_of, resolve, score
from bilp_core.indicators.coresets import held_out, last_layer
from bilp_core.pruning import keep

FAST = {"epochs": 3, "lr": 0.01, "network": "mlp", "batch": 64}
NAMES = ["craig", "gradmatch", "glister", "herding"]


@pytest.fixture(scope="module")
def digits():
    return load("digits").train


@pytest.mark.parametrize("epochs", [0, 3], ids=["untrained", "trained"])
@pytest.mark.parametrize("name", NAMES)
def test_ranks_of_each_class(name, epochs, digits):
    reports = []
    scores = score(digits, name, progress=lambda *report: reports.append(report), **{**FAST, "epochs": epochs})
    for c in range(10):
        members = digits.of_class(c)
        assert scores[members].sort().values.tolist() == list(range(len(members)))
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    assert reports[-1][:2] == (1000, 1000)
    few, many = (set(keep(scores, digits.labels, ratio).tolist()) for ratio in (0.9, 0.5))
    assert few < many


def test_the_network_is_the_first_of_the_loss_probe(digits):
    """From the same seed: its losses are those that the probe sees in its next epoch, but for that epoch's steps."""
    layer = last_layer(digits, None, 0, **FAST, momentum=0.9)
    losses = torch.nn.functional.cross_entropy(layer.logits, digits.labels, reduction="none")
    probe = score(digits, "loss", trials=1, sigma=0, **{**FAST, "epochs": 4})
    assert torch.corrcoef(torch.stack([losses, probe]))[0, 1] > 0.9
    assert torch.equal(score(digits, "craig", **FAST), ranks(craig(layer), len(digits)))


def test_glister_takes_held_out_samples_last(digits):
    held = held_out(digits, 0.1, seed=0)
    counts, taken = digits.counts(), torch.bincount(digits.labels[held], minlength=10)
    assert taken.tolist() == [n // 10 for n in counts.tolist()]
    scores = score(digits, "glister", **FAST)
    for c in range(10):
        last = digits.of_class(c)[scores[digits.of_class(c)] >= counts[c] - taken[c]]
        assert set(last.tolist()) == set(held[digits.labels[held] == c].tolist())
    assert not len(held_out(digits, 0.0, seed=0))
    whole = score(digits, "glister", validation=0.0, **FAST)
    assert not torch.equal(scores, whole)


def test_gradmatch_says_what_it_left_to_chance(digits):
    with pytest.warns(UserWarning, match=r"gradmatch: \d+ of \d+ samples within the budget follow at random") as said:
        score(digits, "gradmatch", lam=0.0, eps=0.05, **FAST)
    assert "eps = 0.05" in str(said[0].message)


@pytest.mark.filterwarnings("ignore:gradmatch")
@pytest.mark.parametrize("name", NAMES)
def test_twins_constants_and_lone_samples(name, digits):
    """A class of ten equal images, one of two samples twice each, one of a single sample."""
    picks = torch.cat([digits.of_class(0)[:1].repeat(10), digits.of_class(1)[:2].repeat(2), digits.of_class(2)[:1]])
    odd = digits.subset(picks)
    odd = replace(odd, images=torch.where((odd.labels == 0).view(-1, 1, 1, 1), 7, odd.images).to(torch.uint8))
    for options in [{}, {"scope": "class"}] if name == "glister" else [{}]:
        scores = score(odd, name, **FAST, **options)
        assert scores[:10].sort().values.tolist() == list(range(10))
        assert scores[10:14].sort().values.tolist() == [0, 1, 2, 3]
        assert scores[14] == 0


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("craig", {"gradient": "pixels"}, "gradient = 'pixels'"),
        ("gradmatch", {"budget": 1.5}, r"budget = 1.5.*\(0, 1\]"),
        ("gradmatch", {"budget": 0.0}, r"budget = 0"),
        ("gradmatch", {"picks": "all"}, "picks = 'all'"),
        ("gradmatch", {"lam": -1.0}, "lam = -1"),
        ("glister", {"validation": 1.0}, r"validation = 1.0.*\[0, 1\)"),
        ("glister", {"scope": "batch"}, "scope = 'batch'"),
        ("glister", {"gradient": "class"}, "gradient = 'class'"),
        ("glister", {"rounds": 0}, "rounds = 0"),
        ("herding", {"trials": 3}, "no option 'trials'"),
    ],
)
def test_bad_options_are_refused_before_training(name, option, message, digits):
    def trained(*_):
        raise AssertionError("it trained first")

    with pytest.raises(InputError, match=message):
        score(digits, name, progress=trained, **FAST, **option)


def test_defaults_follow_the_data_set():
    assert options_of("craig", "cifar10")["epochs"] == 100
    assert resolve("glister", "digits", {"eta": 1})["eta"] == 1.0


@pytest.mark.parametrize(
    ("name", "option"), [("craig", "gradient"), ("gradmatch", "picks"), ("glister", "gradient"), ("glister", "scope")]
)
def test_an_unknown_word_is_refused_before_anything_is_trained(name, option):
    with pytest.raises(InputError, match=f"option {option} = 'best' of indicator '{name}': must be one of "):
        resolve(name, "digits", {option: "best"})
