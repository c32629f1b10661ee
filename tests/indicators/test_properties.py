"""What holds of every indicator there is: a new one is tested by its entry in the registry, and says in CLAIMS what it
finds."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from bilp_core.data import ImageData
from bilp_core.indicators import INDICATORS, coresets, options_of, score
from bilp_core.pruning import keep

from .common import awkward

BLIND = ("random",)  # sees no samples
ORDERS = coresets.INDICATORS  # the score is a place in an order, so that no two of a class are equal
# with these nothing is drawn by index: each step sees all samples, each run draws all, none is held out
WHOLE = {
    "trials": 1, "epochs": 4, "batch": 64, "lr": 0.02, "network": "mlp", "runs": 1, "ratio": 0.0, "method": "dc",
    "iterations": 2, "validation": 0.0, "budget": 0.9, "lam": 0.0,
}  # fmt: skip

# What an indicator claims to find, at which options: scored by it, samples with a wrong label and images of another
# kind have at least this area under the ROC curve, samples that are there four times are among those kept this often.
TRAINED = {"trials": 4, "epochs": 15, "batch": 16, "lr": 0.02, "network": "mlp"}
SELECTED = {"epochs": 3, "batch": 16, "lr": 0.02, "network": "mlp"}
HARD = {"wrong label": 0.9, "outlier": 0.95}
CLAIMS = {
    "random": ({}, {}),
    "loss": (TRAINED, HARD),
    "early-loss": (TRAINED, HARD),
    "el2n": (TRAINED, HARD),
    "grand": (TRAINED, HARD),  # not at initialisation, where a network knows no label from another
    "forgetting": (TRAINED, {"wrong label": 0.75, "outlier": 0.6}),  # most samples tie
    "margin": (TRAINED, HARD),  # here too, as those around a wrong label are of another class
    "monte-carlo": ({}, {}),  # see `test_harmful_samples_are_found`: a small signal, many runs
    "craig": (SELECTED, {"copies": 1.0}),
    "gradmatch": ({**SELECTED, "lam": 0.0, "budget": 0.25}, {"copies": 1.0}),  # a ridge makes copies useful
    "glister": ({}, {}),  # its gain does not fall with a copy taken
    "herding": (SELECTED, {"copies": 0.9}),
}


def scored(data, name, options, **more):
    return score(data, name, **{key: value for key, value in options.items() if key in options_of(name)}, **more)


def drawn(count=20, seed=0):
    """Three classes of `count` images, each a pattern of its own under noise."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat_interleave(count)
    patterns = torch.randint(40, 216, (3, 1, 8, 8), generator=rng)
    images = patterns[labels] + 60 * torch.randn(len(labels), 1, 8, 8, generator=rng)
    return ImageData(images.clamp(0, 255).to(torch.uint8), labels, ("a", "b", "c"), (0.5,), (0.25,), "drawn", False)


@pytest.mark.parametrize("name", INDICATORS)
def test_permuted_samples_have_permuted_scores(name):
    """Up to rounding. In an order, rounding decides between equal gains, such as those of two samples that have only
    each other: there the ranking is all but the same."""
    data = drawn()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(2))
    whole, permuted = (scored(one, name, WHOLE) for one in (data, data.subset(order)))
    if name in BLIND:
        assert torch.equal(permuted, whole)
    elif name in ORDERS:
        assert spearmanr(permuted, whole[order]).statistic > 0.7
    else:
        torch.testing.assert_close(permuted, whole[order], rtol=1e-4, atol=1e-5)
        assert not torch.equal(permuted, whole)  # so that the order could matter


@pytest.mark.parametrize("name", [name for name in INDICATORS if name not in BLIND and name not in ORDERS])
def test_a_copy_has_the_score_of_its_twin(name):
    data = awkward()  # samples 0 and 1 are alike
    scores = scored(data, name, WHOLE)
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in INDICATORS if "trials" in options_of(name)])
def test_copies_differ_by_chance_alone_where_batches_are_drawn(name):
    """Over twelve trials of their own seeds the mean difference is within four of its standard errors."""
    options = {**WHOLE, "epochs": 3, "batch": 8}
    scores = torch.stack([scored(awkward(), name, options, seed=seed) for seed in range(12)])
    gap = scores[:, 0] - scores[:, 1]
    assert gap.mean().abs() <= 4 * gap.std() / 12**0.5 + 1e-6


@pytest.mark.parametrize("name", INDICATORS)
def test_names_of_classes_do_not_matter(name):
    data = drawn(8)
    named = replace(data, classes=("zebra", "a", "b"))
    assert torch.equal(scored(named, name, WHOLE), scored(data, name, WHOLE))


def with_wrong_labels(seed):
    """The first two of each class carry the next one's label."""
    data = drawn(seed=seed)
    wrong = torch.arange(len(data)) % 20 < 2
    return replace(data, labels=torch.where(wrong, (data.labels + 1) % 3, data.labels)), wrong


def with_outliers(seed):
    """The first two of each class are noise, where the others have a pattern."""
    data = drawn(seed=seed)
    odd, rng = torch.arange(len(data)) % 20 < 2, torch.Generator().manual_seed(seed + 100)
    noise = torch.randint(0, 256, data.images.shape, generator=rng, dtype=torch.uint8)
    return replace(data, images=torch.where(odd[:, None, None, None], noise, data.images)), odd


def claimed(what):
    return [(name, options, claims[what]) for name, (options, claims) in CLAIMS.items() if what in claims]


def test_every_indicator_says_what_it_claims():
    assert list(CLAIMS) == list(INDICATORS)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "options", "least"), claimed("wrong label"))
def test_wrong_labels_are_hard(name, options, least, seed):
    data, wrong = with_wrong_labels(seed)
    assert roc_auc_score(wrong, scored(data, name, options)) >= least


@pytest.mark.parametrize(("name", "options", "least"), claimed("outlier"))
def test_outliers_are_hard(name, options, least):
    data, odd = with_outliers(0)
    assert roc_auc_score(odd, scored(data, name, options)) >= least


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "options", "least"), claimed("copies"))
def test_copies_are_avoided(name, options, least, seed):
    """Five images of a class, each four times: the best quarter is one of each. A random one has 3.6 of the five."""
    data, origin = drawn(5, seed), torch.arange(15).repeat(4)
    data = data.subset(origin)
    kept = keep(scored(data, name, options), data.labels, ratio=0.75)
    assert len(kept) == 15
    assert len(origin[kept].unique()) >= least * 15
