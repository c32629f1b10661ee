import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.studies import overlap

LABELS = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])


def test_jaccard_is_the_mean_over_classes():
    first, second = torch.tensor([0, 2, 1]), torch.tensor([0, 4, 1])
    assert overlap.jaccard(first, second, LABELS) == pytest.approx((1 / 3 + 1) / 2)
    assert overlap.jaccard(first, first, LABELS) == 1
    assert overlap.jaccard(torch.tensor([0, 1]), torch.tensor([2, 3]), LABELS) == 0


def test_a_class_without_samples_has_no_overlap():
    with pytest.raises(InputError, match="class 1"):
        overlap.jaccard(torch.tensor([0]), torch.tensor([2]), LABELS)


def test_chance_is_what_random_selections_have():
    labels = torch.arange(2).repeat_interleave(5000)
    rng = torch.Generator().manual_seed(0)

    def draw():
        return torch.cat([c * 5000 + torch.randperm(5000, generator=rng)[:1000] for c in range(2)])

    assert overlap.jaccard(draw(), draw(), labels) == pytest.approx(overlap.by_chance(0.2), abs=0.02)
    assert overlap.by_chance(1) == 1


def test_overlaps_are_symmetric_and_named():
    table = overlap.overlaps({"a": torch.tensor([0, 1]), "b": torch.tensor([0, 3])}, LABELS)
    assert table.loc["a"].to_dict() == {"a": 1, "b": 0.5}
    assert table.equals(table.T)


def test_percentiles_are_taken_inside_each_class():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    scores = torch.tensor([4.0, 1, 3, 2, 90, 80])
    assert overlap.mean_percentile(torch.tensor([1]), scores, labels) == 12.5
    assert overlap.mean_percentile(torch.tensor([0, 4]), scores, labels) == pytest.approx((87.5 + 75) / 2)
    assert overlap.mean_percentile(torch.arange(6), scores, labels) == pytest.approx(50)


def test_a_lost_order_keeps_the_class_and_the_number_but_not_the_samples():
    labels = torch.arange(3).repeat(1000)
    kept = torch.arange(300)  # the first hundred of each class
    found = overlap.order_lost(kept, labels, torch.Generator().manual_seed(0))
    assert len(found.unique()) == 300
    assert labels[found].bincount().tolist() == [100, 100, 100]
    assert torch.equal(found, found.sort().values)
    assert overlap.jaccard(found, kept, labels) == pytest.approx(overlap.by_chance(0.1), abs=0.04)
    assert not torch.equal(found, overlap.order_lost(kept, labels, torch.Generator().manual_seed(1)))


def test_heatmap_shows_every_number():
    table = pd.DataFrame([[1, 0.25], [0.25, 1]], index=["a", "b"], columns=["a", "b"])
    figure = overlap.heatmap(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    plt.close(figure)
