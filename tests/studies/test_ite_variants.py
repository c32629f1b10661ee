"""How the approximations of the ITE are measured and drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.distillers import make
from bilp_core.studies import ite_figures, ite_variants

NET = "convnet:depth=1,width=4"


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return ImageData(images, torch.arange(2).repeat(12), ("a", "b"), (0.5,), (0.25,), "tiny", True)


@pytest.fixture(scope="module")
def effects(data):
    variants = ["exact", "taylor", "projection", ite_variants.DEFINITION]
    return ite_variants.measure(make("dm"), data, 1, network=NET, ages=[0, 3], labels=[0, 1], variants=variants, seed=1)


def test_the_overlap_is_of_what_is_dropped():
    batch = {"method": "dm", "network": 0, "age": 0, "class": "cat", "seconds": 1.0}
    order = list(range(20))
    other = [3, 1, 2, 0, *order[4:17], 18, 17, 19]  # of the three at each end one is another, then none
    rows = [{**batch, "variant": "exact", "effect": float(v)} for v in order]
    rows += [{**batch, "variant": "sketch", "effect": float(v)} for v in other]
    found = ite_variants.errors(pd.DataFrame(rows)).set_index("variant")["overlap"]
    assert found["exact"] == 1
    assert found["sketch"] == pytest.approx(5 / 6)


def test_every_sample_of_every_batch_is_measured(effects):
    assert len(effects) == 2 * 2 * 4 * 12  # networks, classes, variants, samples
    assert effects["seconds"].gt(0).all()
    assert effects["effect"].ge(0).all()
    assert set(zip(effects["network"], effects["age"], strict=True)) == {(0, 0), (1, 3)}
    for _, batch in effects.groupby(["network", "class", "variant"]):
        assert batch["sample"].is_unique
    assert set(effects[effects["class"] == "b"]["sample"]) == set(range(1, 24, 2))


def test_variants_see_the_same_batch_and_augmentation(effects):
    wide = effects.pivot(index=["network", "class", "sample"], columns="variant", values="effect")
    np.testing.assert_allclose(wide["exact"], wide[ite_variants.DEFINITION], rtol=1e-2, atol=1e-4 * wide["exact"].max())
    np.testing.assert_allclose(wide["exact"], wide["taylor"], rtol=1e-3)  # DM's distance is squared
    assert (wide["projection"] < wide["exact"] * (1 + 1e-4)).all()


def again(data, rounds=0):
    """The samples of the first batch of `effects` and their exact effects, measured once more."""
    of = {"network": NET, "ages": [0], "labels": [0], "variants": ["exact"], "seed": 1}
    found = ite_variants.measure(make("dm"), data, 1, rounds=rounds, **of)
    return found["sample"].tolist(), found["effect"].tolist()


def test_the_same_seed_measures_the_same(data, effects):
    first = effects[(effects["network"] == 0) & (effects["class"] == "a") & (effects["variant"] == "exact")]
    assert again(data) == (first["sample"].tolist(), first["effect"].tolist())


def test_images_that_were_distilled_have_other_effects_on_the_same_batch(data):
    (samples, before), (same, after) = again(data), again(data, rounds=1)
    assert same == samples
    assert after == again(data, rounds=1)[1] != before


def test_a_trained_network_has_other_effects(effects):
    exact = effects[effects["variant"] == "exact"].groupby("age")["effect"].mean()
    assert exact[0] != pytest.approx(exact[3], rel=1e-3)


def frame(values, variant):
    row = {"method": "dc", "network": 0, "age": 0, "class": "a", "variant": variant, "seconds": 1.0}
    return pd.DataFrame([{**row, "sample": i, "effect": v} for i, v in enumerate(values)])


def test_errors_compare_ranks():
    both = pd.concat([frame([1.0, 2, 3, 4], "exact"), frame([2.0, 1, 3, 4], "sketch")])
    found = ite_variants.errors(both).set_index("variant")["error"]
    assert found["exact"] == 0
    assert found["sketch"] == pytest.approx(2 / (4 * 3))


def test_rank_scatter_has_a_panel_a_class_with_its_error(effects):
    figure = ite_figures.rank_scatter(effects[effects["network"] == 0], "projection")
    error = ite_variants.errors(effects[effects["network"] == 0]).set_index(["class", "variant"])["error"]
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == [f"{name}: {error[name, 'projection']:.1%}" for name in "ab"]
    points = figure.axes[0].collections[0].get_offsets()
    assert sorted(points[:, 0]) == list(range(1, 13))
    assert figure._suptitle.get_text() == "DM"


def test_normal_values_lie_on_the_line_of_the_q_q_plot():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0)).numpy()
    figure = ite_figures.normality([5 + 2 * values, values**2], ["normal", "square"])
    gaps = []
    for axis in figure.axes[2:]:
        points = np.asarray(axis.collections[0].get_offsets())
        gaps.append(np.abs(points[:, 0] - points[:, 1])[20:-20].max())
    assert gaps[0] < 0.2 < gaps[1]


def test_figures_of_running_law_and_laziness_show_what_they_are_given():
    track = pd.DataFrame({"step": [1, 2], "mean": [1.0, 2], "std": [0.1, 0.2], "running_mean": [1.0, 1.1]})
    axis = ite_figures.running(track.assign(low=0.5, high=1.5)).axes[0]
    assert [line.get_ydata().tolist() for line in axis.lines if line.get_label() == "running mean"] == [[1.0, 1.1]]
    values = pd.DataFrame({"lazy": [1, 10], "value": [50.0, 49], "std": [1.0, 1], "time": [2.0, 1.1]})
    left, right = ite_figures.laziness(values).axes
    assert right.lines[0].get_ydata().tolist() == [2.0, 1.1]
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "10"]
    without = pd.DataFrame({"value": [48.0], "std": [float("nan")]})  # of one seed
    (alone,) = ite_figures.laziness(values.drop(columns="time"), without).axes
    assert list(alone.lines[-1].get_ydata()) == [48.0, 48.0]
