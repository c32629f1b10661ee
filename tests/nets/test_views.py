"""Views of images against torch's own crops and resizing."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop

from bilp_core.errors import InputError
from bilp_core.nets import Ensemble, Recipe, TensorSamples, fit
from bilp_core.nets.views import Viewed, Views, views_of


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(count=200, size=(12, 20), **options):
    return Views.draw(count, size, rng(), **{"least": 0.1, **options})


@pytest.mark.parametrize("size", [(12, 20), (9, 9)])
def test_a_crop_is_cut_out_magnified_and_mirrored(size):
    views, images = drawn(30, size, mix=False), torch.rand(30, 3, *size, generator=rng(1))
    shown = views.crops(images)
    for k, (top, left, height, width) in enumerate(views.boxes.tolist()):
        box = images[k : k + 1, :, top : top + height, left : left + width]
        expected = F.interpolate(box, size=size, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(shown[k], expected.flip(2) if views.mirrored[k] else expected)
    assert views.mirrored.any()
    assert not views.mirrored.all()


def test_a_whole_image_stays_as_it_is():
    images = torch.rand(4, 1, 8, 8, generator=rng())
    views = drawn(4, (8, 8), least=1.0, flip=False, mix=False)
    whole = Views(torch.tensor([[0, 0, 8, 8]]).expand(4, 4).short(), *list(views.tensors().values())[1:])
    assert torch.equal(whole.crops(images), images)


def test_boxes_are_those_of_a_random_resized_crop():
    views = drawn(5000, (64, 64), least=0.25)
    top, left, height, width = views.boxes.float().T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 64).all()
    assert (left + width <= 64).all()
    assert (top + height == 64).any()  # as far as the edge
    share, ratio = height * width / 64**2, width / height
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image, area, sides = torch.zeros(1, 64, 64), (0.25, 1.0), (3 / 4, 4 / 3)
        theirs = torch.tensor([RandomResizedCrop.get_params(image, list(area), list(sides)) for _ in range(5000)])
    assert share.mean() == pytest.approx(float((theirs[:, 2] * theirs[:, 3] / 64**2).mean()), abs=0.01)
    assert ratio.log().std() == pytest.approx(float((theirs[:, 3] / theirs[:, 2]).log().std()), abs=0.01)
    assert top.mean() == pytest.approx(float(theirs[:, 0].float().mean()), abs=0.5)
    assert left.mean() == pytest.approx(float(theirs[:, 1].float().mean()), abs=0.5)
    for value, least, most in ((share, 0.25, 1), (ratio, 3 / 4, 4 / 3)):
        assert value.min() == pytest.approx(least, abs=0.05)
        assert value.max() == pytest.approx(most, abs=0.1)
    assert views.mirrored.float().mean() == pytest.approx(0.5, abs=0.03)
    assert not drawn(50, flip=False).mirrored.any()


def test_boxes_of_one_view_come_from_another_and_labels_with_them():
    views = drawn(40)
    images = torch.arange(40.0).view(-1, 1, 1, 1).expand(-1, 1, 12, 20)  # crops of these are all alike
    shown, eye = views.shown(images.__getitem__, torch.arange(40)), torch.eye(40)
    shares = views.shares(torch.arange(40), classes=40, size=240)
    for k in range(40):
        counted = torch.bincount(shown[k].flatten().round().long(), minlength=40) / 240
        torch.testing.assert_close(shares[k], counted)
        top, left, height, width = views.mixed[k].tolist()
        inside = shown[k, 0, top : top + height, left : left + width]
        assert (inside.round() == views.partner[k]).all()
    torch.testing.assert_close(views.shares(eye, classes=40, size=240), shares)
    some = torch.tensor([7, 3])
    assert torch.equal(views.shown(images.__getitem__, some), shown[some])
    assert sorted(views.partner.tolist()) == list(range(40))


def test_the_mixed_share_is_that_of_cutmix():
    """Sides are sqrt(1 - l) of the image's, l uniform: half of the area on average, but for what is clipped."""
    mixed = drawn(4000, (64, 64)).mixed.float()
    clipped = (mixed[:, 2] * mixed[:, 3]).mean() / 64**2
    u = torch.rand(200_000, 3, generator=rng())
    half = (1 - u[:, 0]).sqrt() / 2
    sides = [(c + half).clamp(max=1) - (c - half).clamp(min=0) for c in (u[:, 1], u[:, 2])]
    assert clipped == pytest.approx(float((sides[0] * sides[1]).mean()), abs=0.02)


def test_views_that_fit_nowhere_are_whole_images():
    views = Views.draw(20, (4, 400), rng(), least=0.9, mix=False)  # too flat for any ratio up to 4/3
    assert views.boxes.tolist() == [[0, 0, 4, 400]] * 20


def test_samples_are_seen_in_new_views_every_epoch():
    images, labels = torch.rand(6, 1, 8, 8, generator=rng()), torch.arange(6) % 3
    viewed = Viewed(TensorSamples(images, labels), "views:0.3_cutmix", 3, (8, 8), flip=True, seed=5)
    first, again, second = viewed.at(0), viewed.at(0), viewed.at(1)
    assert torch.equal(first.batch(), again.batch())
    assert not torch.equal(first.batch(), second.batch())
    assert torch.equal(first.batch(torch.tensor([4])), first.batch()[4:5])
    torch.testing.assert_close(first.labels.sum(1), torch.ones(6))
    assert len(viewed) == 6


def test_training_asks_for_each_epoch():
    asked = []

    class Samples:
        labels = torch.tensor([0, 1])

        def __len__(self):
            return 2

        def batch(self, indices=None):
            raise AssertionError("the samples of an epoch were wanted")

        def at(self, epoch):
            asked.append(epoch)
            return TensorSamples(torch.zeros(2, 1, 8, 8), self.labels)

    fit(Ensemble("convnet:depth=1,width=4", (1, 8, 8), 2, [0]), Samples(), Recipe(epochs=3, lr=0.1))
    assert asked == [0, 1, 2]


def test_divergence_at_a_temperature():
    """KLDiv of log-softmax(student/T) from softmax(teacher/T), times T^2; and AdamW leaves out biases and norms."""
    spec = (
        "convnet:depth=1,width=4,norm=none"  # before a norm a bias has no gradient but rounding, which Adam magnifies
    )
    ensembles = [Ensemble(spec, (1, 8, 8), 3, [7, 8], stacked=stacked) for stacked in (True, False)]
    images = torch.rand(5, 1, 8, 8, generator=rng())
    shares = torch.rand(5, 3, generator=rng()).softmax(1)
    student = ensembles[1].members[0]
    expected = 16 * F.kl_div(F.log_softmax(student(images) / 4, 1), shares, reduction="batchmean")
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in student.parameters() if p.ndim > 1], "weight_decay": 0.3},
            {"params": [p for p in student.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.01,
    )
    expected.backward()
    optimizer.step()
    moved = {name: p.detach().clone() for name, p in student.named_parameters()}
    fresh = Ensemble(spec, (1, 8, 8), 3, [7, 8], stacked=False)
    recipe = Recipe(epochs=1, lr=0.01, weight_decay=0.3, optimizer="adamw", loss="divergence", temperature=4.0)
    for ensemble in (ensembles[0], fresh):
        history = fit(ensemble, TensorSamples(images, shares), recipe)
        torch.testing.assert_close(history[0, 0], expected.detach())
        for name, weights in ensemble.weights().items():
            torch.testing.assert_close(weights[0], moved[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["views", "views:0", "views:1.5", "views:x", "views:0.5_mixup"])
def test_strategies_are_checked(strategy):
    with pytest.raises(InputError, match="must be 'views:' and the least share of the area"):
        views_of(strategy)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
def test_temperatures_are_checked(temperature):
    with pytest.raises(InputError, match=f"temperature = {temperature}: must be a finite number above 0"):
        Recipe(epochs=1, lr=0.1, temperature=temperature)
