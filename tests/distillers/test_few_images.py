"""A few of the synthetic images of a class in place of all, where the ITE is found."""

import pytest
import torch

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, Matching, Separable, check_adaptive, distill, make, settled
from bilp_core.distillers.matching import leading
from bilp_core.errors import InputError
from bilp_core.nets import network
from bilp_core.pruning import Adaptive, Treatments
from bilp_core.pruning.ite import Effect, exact
from bilp_core.trials import Trial

from .common import NET, a_run, short

MATCHING = [name for name, method in METHODS.items() if issubclass(method, Matching)]


@pytest.fixture
def double(monkeypatch):
    """A function: name, data -> a run at IPC 3 in double precision, and six samples of a class."""
    plain = ImageData.batch
    monkeypatch.setattr(ImageData, "batch", lambda self, picks: plain(self, picks).double())

    def make_run(name, data):
        run = a_run(short(name), data, ipc=3)
        run.net.double()
        run.images = run.images.detach().double().requires_grad_()
        return run, run.batches.indices(1, 6)

    return make_run


@pytest.mark.parametrize("name", MATCHING)
def test_the_images_split_the_squares(name, data, double):
    """What every image that is matched contributes by itself adds up to what all of them do."""
    run, picks = double(name, data)
    method, state = run.method, (run.rng.get_state(), run.host.get_state())
    stored, synthetic, real = method.pair(run, 1, picks)
    whole, each = method.statistic(run, synthetic, 1, real=False), method.each(run, real, 1)
    of = Treatments(stored, whole, each, method.distance)
    shares = []
    for image in synthetic.split(1):
        one = of.by([s / len(synthetic) for s in method.statistic(run, image, 1, real=False)])
        shares.append(exact(one, run.rng).square())
    shares = torch.stack(shares)
    torch.testing.assert_close(shares.sum(0), exact(of, run.rng).square(), rtol=1e-9, atol=1e-15)

    # and the few that stand for all are those whose share is largest, for random sums of the samples
    most = torch.zeros(len(synthetic))
    for _ in range(200):
        few, times = leading(of, synthetic, 1, run.rng)
        most[few] += 1
        assert times >= 1
    assert most.argmax() == shares.sum(1).argmax()

    def rewind():
        run.rng.set_state(state[0])
        run.host.set_state(state[1])

    # what is found by it is its share, on the level of all
    rewind()
    top = method.treatments(run, 1, picks, 1)
    rewind()
    again = method.pair(run, 1, picks)[1]
    (few,), times = leading(of.by(method.statistic(run, again, 1, real=False)), again, 1, run.rng)
    torch.testing.assert_close(exact(top, run.rng).square(), times * shares[few], rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(top.at, of.at)


@pytest.mark.parametrize("name", MATCHING)
def test_the_loss_is_of_all_images_and_the_run_the_same_again(name, data):
    made = [
        distill(
            short(name, iterations=2),
            data,
            3,
            network=NET,
            init="noise",
            seed=4,
            adaptive=Adaptive(0.4, 1, effect=effect),
        )
        for effect in ("exact:top=1", "exact:top=1", "exact", "exact:top=99")
    ]
    assert torch.equal(made[0].images, made[1].images)
    assert not torch.equal(made[0].images, made[2].images)
    assert torch.equal(made[2].images, made[3].images), "no more than there are"
    moved = (made[0].images.detach() - a_run(short(name), data, ipc=3).images).flatten(1).abs().sum(1)
    assert (moved > 0).all(), "every image takes part in the loss"


@pytest.mark.parametrize("text", ["guess", "sketch:top=0", "sketch:images=1", "exact:", ""])
def test_other_words_are_refused(text):
    with pytest.raises(
        InputError, match="effect = '.*': must be auto, one of exact, taylor, .* or such as sketch:top=2"
    ):
        Effect.read(text)
    with pytest.raises(InputError, match="must be auto, one of exact"):
        Adaptive(0.3, effect=text)


def test_methods_whose_images_share_pixels_or_act_together_are_refused(data):
    few, net = Adaptive(0.3, effect="sketch:top=1"), network(NET, data.shape, 3)
    check_adaptive(make("idc"), net, few)
    with pytest.raises(InputError, match="with 'idc' no few images stand for all"):
        check_adaptive(make("idc", decode="multi"), net, few)
    with pytest.raises(InputError, match="with 'frepo' no few images stand for all.*sketch by all of them works"):
        check_adaptive(make("frepo"), net, few)
    check_adaptive(make("frepo"), net, Adaptive(0.3))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, Separable)])
def test_left_to_the_method_it_is_what_the_method_allows(name, data):
    method = short(name)
    for ipc in (1, 3):
        found = settled(method, Adaptive(0.3, lazy=3, tails="largest"), ipc)
        assert (found.rate, found.lazy, found.tails) == (0.3, 3, "largest")
        assert found.found.variant == ("fine" if name == "dm" else "sketch")
        assert bool(found.found.top) == (ipc > 1 and name in MATCHING)
        check_adaptive(method, a_run(method, data, ipc=ipc).net, found)
    assert settled(method, Adaptive(0.3, effect="exact"), 3).effect == "exact"


def test_a_set_says_what_the_method_settled_on(data):
    made = [
        distill(short("dc", iterations=1), data, 3, network=NET, init="noise", adaptive=Adaptive(0.4, 1, effect=effect))
        for effect in ("auto", "sketch:top=2")
    ]
    assert made[0].meta["adaptive"]["effect"] == "sketch:top=2"
    assert torch.equal(made[0].images, made[1].images)


def test_at_one_image_a_class_a_trial_names_its_effect():
    """As records do from before it was left to the method, and where nothing is pruned."""
    effects = [Trial("digits", ipc=ipc, adaptive=rate).effect for ipc in (1, 10) for rate in (0.0, 0.3)]
    assert effects == ["sketch", "sketch", "sketch", "auto"]


@pytest.mark.parametrize("name", METHODS)
def test_what_a_trial_names_is_what_the_method_settles_on(name):
    for ipc in (1, 10):
        effect = Trial("digits", name, ipc=ipc, adaptive=0.3).effect
        own = getattr(METHODS[name], "effects", ("sketch",) * 2)[ipc > 1]
        assert effect in (own, "auto")
        assert effect == own or ipc > 1
        assert effect.startswith("fine") == (name == "dm")
