import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bilp_core.errors import InputError
from bilp_core.nets import Ensemble, Recipe, TensorSamples, augment, compiling, fit, initialise, measure, network
from bilp_core.nets.memory import fitting_tests
from bilp_core.nets.recipe import cosine
from bilp_core.utils.seeds import seeds

SHAPE = (1, 8, 8)


def rng(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def samples():
    g = rng(0)
    return TensorSamples(torch.randn(40, *SHAPE, generator=g), torch.randint(0, 4, (40,), generator=g))


def trained(spec, samples, seeds, recipe, stacked):
    ensemble = Ensemble(spec, SHAPE, 4, seeds, stacked=stacked)
    history = fit(ensemble, samples, recipe)
    return history, measure(ensemble, samples)


@pytest.mark.parametrize("spec", ["convnet:depth=2,width=8", "convnet:depth=2,width=8,norm=batch", "mlp"])
@pytest.mark.parametrize("augment", ["none", "color_crop_cutout_scale_rotate"])
def test_together_equals_one_by_one(spec, augment, samples):
    recipe = Recipe(epochs=3, lr=0.05, batch=16, drop_after=1, augment=augment)
    together, (accuracy, loss) = trained(spec, samples, [1, 2, 3], recipe, stacked=True)
    looped, (_, looped_loss) = trained(spec, samples, [1, 2, 3], recipe, stacked=False)
    torch.testing.assert_close(together, looped, rtol=2e-3, atol=2e-4)
    torch.testing.assert_close(loss, looped_loss, rtol=2e-3, atol=2e-3)
    for k, seed in enumerate([1, 2, 3]):
        alone, (own_accuracy, _) = trained(spec, samples, [seed], recipe, stacked=True)
        torch.testing.assert_close(together[:, k], alone[:, 0], rtol=2e-3, atol=2e-4)
        assert abs(float(own_accuracy - accuracy[k])) <= 1 / 40


@pytest.mark.parametrize(("spec", "batch", "works"), [
    ("resnet10-bn", 13, False), ("resnet10-bn", 1, False), ("resnet10-bn", 20, True), ("mlp", 13, True),
    ("convnet:depth=1,width=4,norm=batch", 13, True),
])  # fmt: skip
def test_one_image_alone_is_refused_where_batchnorm_meets_its_only_pixel(spec, batch, works, samples):
    ensemble = Ensemble(spec, SHAPE, 4, [0])  # 40 samples: in batches of 13 one is left
    if works:
        assert fit(ensemble, samples, Recipe(epochs=1, lr=0.01, batch=batch)).isfinite().all()
    else:
        with pytest.raises(InputError, match=f"batch = {batch}: it leaves one of 40 images alone"):
            fit(ensemble, samples, Recipe(epochs=1, lr=0.01, batch=batch))


def test_equals_plain_pytorch(samples):
    """Against a training loop written out: full batch, so that no order is drawn."""
    recipe = Recipe(epochs=6, lr=0.05, momentum=0.9, weight_decay=0.1, batch=64, drop_after=2)
    net = network("convnet:depth=2,width=8", SHAPE, 4)
    initialise(net, rng(7))
    expected, lr = [], 0.05
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.1)
    for epoch in range(6):
        loss = F.cross_entropy(net(samples.images), samples.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
        if epoch == 2:
            optimizer = torch.optim.SGD(net.parameters(), lr=lr * 0.1, momentum=0.9, weight_decay=0.1)
    history, _ = trained("convnet:depth=2,width=8", samples, [7], recipe, stacked=False)
    torch.testing.assert_close(history[:, 0], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_every_sample_is_visited_once_an_epoch(samples):
    seen = torch.zeros(2, 40)

    def on_step(epoch, picks, logits):
        for k in range(2):
            seen[k, picks[k]] += 1
            assert logits[k].shape == (len(picks[k]), 4)

    fit(Ensemble("mlp", SHAPE, 4, [0, 1]), samples, Recipe(epochs=3, lr=0.01, batch=16), on_step=on_step)
    assert (seen == 3).all()


def test_logits_of_a_step_belong_to_their_samples(samples):
    """With a learning rate of nothing they are those of the initial network, sample by sample."""
    ensemble = Ensemble("mlp", SHAPE, 4, [3])
    net = network("mlp", SHAPE, 4)
    initialise(net, rng(3))
    recorded = torch.full((40, 4), torch.nan)

    def on_step(epoch, picks, logits):
        recorded[picks[0]] = logits[0]

    fit(ensemble, samples, Recipe(epochs=1, lr=0.0, batch=7), on_step=on_step)
    torch.testing.assert_close(recorded, net(samples.images).detach())


def test_same_seed_same_result(samples):
    recipe = Recipe(epochs=2, lr=0.05, batch=16, augment="color_crop")
    first, _ = trained("mlp", samples, [5], recipe, stacked=False)
    second, _ = trained("mlp", samples, [5], recipe, stacked=False)
    assert torch.equal(first, second)
    third, _ = trained("mlp", samples, [6], recipe, stacked=False)
    assert not torch.equal(first, third)


def test_global_random_state_is_untouched(samples):
    before = torch.get_rng_state()
    trained("mlp", samples, [5], Recipe(epochs=1, lr=0.05, batch=16, augment="crop"), stacked=True)
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns(samples):
    history, (accuracy, loss) = trained("mlp", samples, [0], Recipe(epochs=200, lr=0.05), stacked=True)
    assert accuracy.item() == 1.0
    assert history[-1].item() < 0.1 < history[0].item()


def test_soft_labels(samples):
    soft = TensorSamples(samples.images, F.one_hot(samples.labels, 4).float())
    hard, _ = trained("mlp", samples, [0], Recipe(epochs=3, lr=0.05, batch=16), stacked=False)
    same, _ = trained("mlp", samples, [0], Recipe(epochs=3, lr=0.05, batch=16), stacked=False)
    assert torch.equal(hard, same)
    ensemble = Ensemble("mlp", SHAPE, 4, [0], stacked=False)
    torch.testing.assert_close(fit(ensemble, soft, Recipe(epochs=3, lr=0.05, batch=16)), hard)
    for recipe in (Recipe(3, 0.05, batch=40), Recipe(3, 0.05, batch=16, cutmix=1.0), Recipe(3, 0.05, cutmix=1.0)):
        both = [fit(Ensemble("mlp", SHAPE, 4, [0, 1], stacked=False), one, recipe) for one in (samples, soft)]
        torch.testing.assert_close(*both)


def test_measure_counts_by_hand(samples):
    ensemble = Ensemble("mlp", SHAPE, 4, [0])
    accuracy, loss = measure(ensemble, samples, chunk=7)
    net = network("mlp", SHAPE, 4)
    initialise(net, rng(0))
    logits = net(samples.images)
    assert accuracy.item() == pytest.approx((logits.argmax(1) == samples.labels).float().mean().item())
    assert loss.item() == pytest.approx(F.cross_entropy(logits, samples.labels).item(), rel=1e-5)


def test_divergence_is_named(samples):
    with pytest.raises(FloatingPointError, match="lower lr = 1e"):
        trained("mlp", samples, [0], Recipe(epochs=5, lr=1e30), stacked=False)


def test_compiled_gives_the_same(samples, monkeypatch):
    recipe = Recipe(epochs=2, lr=0.05, batch=40)
    plain, _ = trained("mlp", samples, [0], recipe, stacked=False)
    monkeypatch.setenv("BILP_COMPILE", "1")
    if not compiling._compiler_works():
        pytest.skip("no C++ compiler on this machine")
    fast, _ = trained("mlp", samples, [0], recipe, stacked=False)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"lr": -1.0}, "lr = -1.0"),
        ({"cutmix": 1.01}, "cutmix = 1.01"),
        ({"optimizer": "lbfgs"}, "optimizer = 'lbfgs'"),
        ({"loss": "mse", "cutmix": 0.5}, "cutmix = 0.5: must be 0 with the loss 'mse'"),
    ],
)
def test_bad_recipes(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{"epochs": 1, "lr": 0.1, **change})


def test_seeds_differ_by_purpose_seed_and_place():
    many = seeds("probe", 0, 5) + seeds("evaluation", 0, 5) + seeds("probe", 1, 5)
    assert len(set(many)) == 15
    assert seeds("probe", 0, 2) == seeds("probe", 0, 5)[:2]


def test_bad_compile_switch(monkeypatch):
    monkeypatch.setenv("BILP_COMPILE", "yes")
    with pytest.raises(InputError, match="BILP_COMPILE = 'yes'"):
        Ensemble("mlp", SHAPE, 4, [0], stacked=False)


@pytest.mark.parametrize("batch", [16, 40])
def test_augmented_training_written_out(batch):
    """Each network draws its own order, and one operation for each of its batches, from its own generator."""
    g = rng(0)
    samples = TensorSamples(torch.randn(40, 1, 8, 6, generator=g), torch.randint(0, 4, (40,), generator=g))
    strategy = "crop_scale_cutout"
    recipe = Recipe(3, 0.05, batch=batch, weight_decay=0.0, momentum=0.0, augment=strategy)
    ensemble = Ensemble("mlp", (1, 8, 6), 4, [1, 2], stacked=False)
    history = fit(ensemble, samples, recipe)
    for k, seed in enumerate([1, 2]):
        net, g = network("mlp", (1, 8, 6), 4), rng(seed)
        initialise(net, g)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for epoch in range(3):
            order, total = torch.randperm(40, generator=g) if batch < 40 else torch.arange(40), 0.0
            for picks in order.split(batch):
                images = augment.apply(samples.images[picks], augment.draw(strategy, len(picks), (8, 6), g))
                loss = F.cross_entropy(net(images), samples.labels[picks])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(picks)
            assert history[epoch, k].item() == pytest.approx(total / 40, rel=1e-4)
    plain = fit(Ensemble("mlp", (1, 8, 6), 4, [1, 2], stacked=False), samples, replace(recipe, augment="none"))
    assert (history - plain).abs().max() > 0.005


def test_adam_without_a_schedule_written_out(samples):
    recipe = Recipe(4, 0.02, batch=40, optimizer="adam", weight_decay=0.0)
    ensemble = Ensemble("mlp", SHAPE, 4, [3], stacked=False)
    fit(ensemble, samples, recipe)
    net = network("mlp", SHAPE, 4)
    initialise(net, rng(3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(net(samples.images), samples.labels).backward()
        optimizer.step()
    for ours, own in zip(ensemble.leaves(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-6)


def test_measuring_between_epochs_leaves_batchnorm_training(samples):
    """And a measurement goes by the running statistics, whatever the training used."""
    spec, recipe, seen = "convnet:depth=2,width=8,norm=batch", Recipe(3, 0.05, batch=40), []
    ensemble = Ensemble(spec, SHAPE, 4, [0], stacked=False)
    watched = fit(ensemble, samples, recipe, on_epoch=lambda epoch: seen.append(measure(ensemble, samples)))
    assert torch.equal(watched, fit(Ensemble(spec, SHAPE, 4, [0], stacked=False), samples, recipe))
    (net,) = ensemble.members
    net.eval()
    logits = net(samples.images)
    assert seen[-1][0].item() == pytest.approx((logits.argmax(1) == samples.labels).float().mean().item())
    assert seen[-1][1].item() == pytest.approx(F.cross_entropy(logits, samples.labels).item(), rel=1e-5)


@pytest.mark.parametrize(("batch", "all_at_once"), [(39, False), (40, True), (41, True)])
def test_a_batch_of_all_samples_is_in_order(samples, batch, all_at_once):
    seen = []
    recipe = Recipe(1, 0.01, batch=batch)
    fit(Ensemble("mlp", SHAPE, 4, [0]), samples, recipe, on_step=lambda epoch, picks, logits: seen.append(picks))
    assert [picks is None for picks in seen] == ([True] if all_at_once else [False, False])


def test_one_network_that_diverges_is_enough(samples):
    ensemble = Ensemble("mlp", SHAPE, 4, [0, 1], stacked=False)
    started = []

    def spoil(epoch):
        started.append(epoch)
        if epoch == 1:
            next(ensemble.members[1].parameters()).data.fill_(torch.nan)

    with pytest.raises(FloatingPointError, match="not finite from epoch 2: lower lr = 0.01"):
        fit(ensemble, samples, Recipe(5, 0.01), on_epoch=spoil)
    assert started == [0, 1, 2, 3, 4]


def test_milestones_written_out(samples):
    """SGD with momentum by hand: a fifth of the rate after epoch 2 and again after epoch 4, momentum kept."""
    recipe = Recipe(epochs=5, lr=0.1, momentum=0.9, weight_decay=0.0, batch=40, milestones=(2, 4))
    ensemble = Ensemble("mlp", SHAPE, 4, [0], stacked=False)
    fit(ensemble, samples, recipe)
    net = network("mlp", SHAPE, 4)
    initialise(net, rng(0))
    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    for rate in (0.1, 0.1, 0.02, 0.02, 0.004):
        named = dict(zip([n for n, _ in net.named_parameters()], weights, strict=True))
        loss = F.cross_entropy(torch.func.functional_call(net, named, (samples.images,)), samples.labels)
        gradients = torch.autograd.grad(loss, weights)
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        weights = [(w - rate * v).detach().requires_grad_() for w, v in zip(weights, velocity, strict=True)]
    for ours, expected in zip(ensemble.leaves(), weights, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("soft", [True, False])
def test_regression_along_a_cosine_written_out(samples, soft):
    """Two batches an epoch, hence eight steps: two of warming up, then a cosine to a hundredth."""
    labels = torch.randn(40, 4, generator=rng(2)) if soft else samples.labels
    wanted = labels if soft else torch.eye(4)[labels] - 0.25
    recipe = Recipe(
        4, 0.01, batch=30, optimizer="adam", weight_decay=0.1, loss="mse", cosine_to=0.01, warmup=2,
    )  # fmt: skip
    ensemble = Ensemble("mlp", SHAPE, 4, [3], stacked=False)
    history = fit(ensemble, TensorSamples(samples.images, labels), recipe)

    g = rng(3)
    net = network("mlp", SHAPE, 4)
    initialise(net, g)
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
    rates = [0, 0.5, *(0.01 + 0.99 * (1 + math.cos(math.pi * t / 6)) / 2 for t in range(6))]
    for epoch in range(4):
        total = 0.0
        for picks in torch.randperm(40, generator=g).split(30):
            optimizer.param_groups[0]["lr"] = 0.01 * rates.pop(0)
            loss = 0.5 * (net(samples.images[picks]) - wanted[picks]).square().sum()
            optimizer.zero_grad()
            (loss / len(picks)).backward()
            optimizer.step()
            total += loss.item()
        assert history[epoch, 0].item() == pytest.approx(total / 40, rel=1e-4)
    for ours, own in zip(ensemble.leaves(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-6)


def test_a_recipe_is_that_of_the_evaluation_of_dc_but_for_its_steps():
    """Momentum 0.9, weight decay 5e-4, batches of 256; nothing else happens unless it is asked for."""
    plain = Recipe(epochs=7, lr=0.3)
    assert plain == Recipe(
        7, 0.3, momentum=0.9, weight_decay=5e-4, batch=256, optimizer="sgd", drop_after=None, milestones=(),
        cosine_to=None, warmup=0, augment="none", cutmix=0.0, loss="cross_entropy",
    )  # fmt: skip
    assert Recipe(1, 0.0, batch=1, weight_decay=0.0, momentum=0.0, cutmix=1.0).batch == 1  # the ends of what is allowed


def test_the_cosine_stays_at_its_end():
    assert [cosine(t, 0.1) for t in (0, 0.5, 1, 1.5)] == pytest.approx([1, 0.55, 0.1, 0.1])


def test_warming_up_takes_at_most_half_the_steps():
    recipe = Recipe(1, 1.0, cosine_to=0.1, warmup=500)
    assert [recipe.share_of_lr(t, 4) for t in range(4)] == pytest.approx([0, 0.5, 1, 0.55])
    assert recipe.share_of_lr(0, 1) == 1
    assert recipe.share_of_lr(250, 2000) == 0.5


@pytest.mark.parametrize("batch", [16, 40])
def test_cutmix_is_the_same_stacked_or_not(samples, batch):
    recipe = Recipe(epochs=3, lr=0.05, batch=batch, cutmix=0.5)
    stacked, _ = trained("mlp", samples, [0, 1], recipe, stacked=True)
    looped, _ = trained("mlp", samples, [0, 1], recipe, stacked=False)
    torch.testing.assert_close(stacked, looped, rtol=1e-4, atol=1e-5)
    plain, _ = trained("mlp", samples, [0, 1], replace(recipe, cutmix=0.0), stacked=False)
    assert not torch.allclose(plain, looped)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_stacked_networks_take_images_in_any_layout(channels, shared):
    ensemble = Ensemble("convnet:depth=1,width=4", (channels, 8, 8), 3, [0, 1], stacked=True)
    images = torch.randn(5, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    last = images.to(memory_format=torch.channels_last)
    odd = images.as_strided(images.shape, (64 * channels, 64 if channels > 1 else 1, 8, 1))
    given = [each if shared else torch.stack([each, each]) for each in (images, last, odd)]
    for other in given[1:]:
        torch.testing.assert_close(ensemble.logits(other), ensemble.logits(given[0]))


@pytest.mark.parametrize(
    ("shape", "networks", "together"),
    [((3, 32, 32), 5, 1024), ((1, 8, 8), 1, 1024), ((3, 64, 64), 5, 256), ((24, 64, 64), 5, 32), ((3, 999, 999), 9, 1)],
)
def test_large_images_are_tested_on_few_at_a_time(shape, networks, together, monkeypatch):
    assert fitting_tests(shape, networks) == together
    samples = TensorSamples(torch.zeros(1030, 1, 2, 2), torch.zeros(1030, dtype=torch.int64))
    seen = []
    monkeypatch.setattr("bilp_core.nets.training.fitting_tests", lambda *_: together)
    ensemble = Ensemble("mlp", (1, 2, 2), 2, [0])
    plain = ensemble.logits
    monkeypatch.setattr(ensemble, "logits", lambda images: seen.append(len(images)) or plain(images))
    measure(ensemble, samples)
    assert max(seen) == together
    assert sum(seen) == 1030
