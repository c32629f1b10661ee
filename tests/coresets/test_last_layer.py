import pytest
import torch

from bilp_core.coresets import LastLayer, completed, ranks
from bilp_core.errors import InputError
from bilp_core.pruning import keep

from .common import gradients, random_layer


@pytest.mark.parametrize("block", [512, 3])  # all rows together, or a few at a time
def test_gram_is_that_of_the_gradients(block, monkeypatch):
    monkeypatch.setattr("bilp_core.coresets.last_layer.BLOCK", block)
    layer = random_layer(24)
    g = gradients(layer)
    for members in layer.classes():
        torch.testing.assert_close(layer.gram(members), g[members] @ g[members].T)
        biases = g[members, 15:]  # after 3 classes x 5 weights
        torch.testing.assert_close(layer.gram(members, "logits"), biases @ biases.T)
        c = int(layer.labels[members[0]])
        own = torch.cat([g[members, 5 * c : 5 * c + 5], g[members, 15 + c : 16 + c]], 1)
        torch.testing.assert_close(layer.gram(members, "class"), own @ own.T)


def test_bad_layers():
    layer = random_layer(6)
    with pytest.raises(InputError, match="gradient = 'weights': must be one of layer, class, logits"):
        layer.gram(torch.arange(2), "weights")
    with pytest.raises(InputError, match=r"features are \[6, 5\].*for 5 labels"):
        LastLayer(layer.features, layer.logits, layer.labels[:5])
    with pytest.raises(FloatingPointError, match="logits"):
        LastLayer(layer.features, layer.logits * torch.nan, layer.labels)


def test_ranks_keep_what_was_taken_first():
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    orders = [torch.tensor([4, 0, 6, 2]), torch.tensor([7, 5, 3, 1])]
    scores = ranks(orders, 8)
    assert scores.tolist() == [1, 3, 3, 2, 0, 1, 2, 0]
    assert keep(scores, labels, 0.5).tolist() == [0, 4, 5, 7]
    assert keep(scores, labels, 0.75).tolist() == [4, 7]


def test_completed_appends_the_rest_at_random():
    members, picks = torch.arange(10, 110), torch.tensor([50, 20])
    one, two, other = (completed(picks, members, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert one[:2].tolist() == [50, 20]
    assert one.sort().values.tolist() == members.tolist()
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
