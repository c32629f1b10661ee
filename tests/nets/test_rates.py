"""Training near the start: outputs from the fresh network's, scaled labels, the largest stable rate, its kernel."""

import pytest
import torch

from bilp_core.errors import InputError
from bilp_core.nets import Ensemble, Recipe, TensorSamples, fit, measure
from bilp_core.nets.rates import factors, largest

SPEC = "kernel-convnet:depth=1,width=6"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def samples(n=6):
    return TensorSamples(draw(n, 1, 4, 4), draw(n, 3, seed=1))


def ensemble(seeds=(0, 1), stacked=True):
    return Ensemble(SPEC, (1, 4, 4), 3, list(seeds), stacked=stacked)


def by_hand(recipe, seed, steps, rate=1.0):
    """One network, plain Python: v <- 0.9 v + (factor g + decay (w - w0)), w <- w - lr rate v."""
    one, data = ensemble([seed], stacked=False), samples()
    net, factor = one.members[0], factors(one, recipe.parameterisation)
    leaves = list(net.parameters())
    start = [p.detach().clone() for p in leaves]
    first = net(data.images).detach() if recipe.relative else 0.0
    speed = [torch.zeros_like(p) for p in leaves]
    for _ in range(steps):
        error = (net(data.images) - first - recipe.label_scale * data.labels) / recipe.label_scale
        loss = error.square().mean()
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for p, w, v, g, f in zip(leaves, start, speed, gradients, factor, strict=True):
                pull = p - w if recipe.relative else p
                v.mul_(0.9).add_(f * g + recipe.weight_decay * pull)
                p.sub_(recipe.lr * rate * v)
    return leaves, net(data.images).detach() - first


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_training_follows_the_formula(stacked, relative, parameterisation):
    recipe = Recipe(
        epochs=4, lr=0.05, weight_decay=0.1, loss="mean_mse", relative=relative, label_scale=3.0, batch=10,
        parameterisation=parameterisation,
    )  # fmt: skip
    trained = ensemble(stacked=stacked)
    fit(trained, samples(), recipe)
    for k in (0, 1):
        leaves, outputs = by_hand(recipe, k, 4)
        for name, expected in zip(trained.weights(), leaves, strict=True):
            torch.testing.assert_close(trained.weights()[name][k], expected.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(trained.logits(samples().images)[k].detach(), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stacked", [True, False])
def test_shares_of_the_largest_rate_are_each_network_s_own(stacked):
    recipe = Recipe(epochs=3, lr=0.5, lr_share=0.2, weight_decay=0.1, loss="mean_mse", relative=True, batch=10)
    trained, rates = ensemble(stacked=stacked), largest(ensemble(stacked=stacked), samples().images, "mean_mse")
    assert rates[0] != rates[1]
    fit(trained, samples(), recipe)
    for k in (0, 1):
        leaves, _ = by_hand(recipe, k, 3, rate=0.2 * rates[k].item())
        for name, expected in zip(trained.weights(), leaves, strict=True):
            torch.testing.assert_close(trained.weights()[name][k], expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_the_largest_rate_is_that_of_the_kernel_s_eigenvalue(parameterisation):
    """The kernel written out: derivatives of every image, by every weight."""
    both, x = ensemble(), samples().images
    found = largest(both, x, "mean_mse", 2.0, parameterisation)
    for k in (0, 1):
        one = ensemble([k], stacked=False)
        by = [f**0.5 for f in factors(one, parameterisation)]
        rows = []
        for image in x:
            out = one.members[0](image[None]).sum() / 3**0.5
            rows.append(
                torch.cat([(f * g).flatten() for f, g in zip(by, torch.autograd.grad(out, one.leaves()), strict=True)])
            )
        top = torch.linalg.eigvalsh(torch.stack(rows) @ torch.stack(rows).T)[-1] / len(x)
        # the curvature of the mean of three squares, divided by the scale squared
        assert found[k].item() == pytest.approx(2 / (2 / 3 / 4 * top.item()), rel=1e-3)


def test_accuracy_is_of_relative_outputs():
    trained, data = ensemble(), TensorSamples(draw(6, 1, 4, 4), torch.arange(6) % 3)
    fit(trained, data, Recipe(epochs=60, lr=1.0, lr_share=0.2, loss="mean_mse", relative=True, batch=10))
    assert (measure(trained, data)[0] == (trained.logits(data.images).argmax(-1) == data.labels).float().mean(1)).all()
    assert trained.logits(data.images)[0].sum(1).abs().max() < 0.5  # centred labels, whatever the start says


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_scale": 0.0, "loss": "mse"}, "label_scale = 0.0: must be a finite number above 0"),
        ({"label_scale": 2.0}, "label_scale = 2.0: must be 1 with the loss 'cross_entropy'"),
        ({"lr_share": 0.5}, "lr_share = 0.5: must be 0 but for SGD and the losses"),
        ({"lr_share": 0.5, "loss": "mse", "optimizer": "adam"}, "lr_share = 0.5: must be 0 but for SGD"),
        ({"parameterisation": "mup"}, "parameterisation = 'mup': must be 'standard' or 'ntk'"),
        ({"parameterisation": "ntk", "optimizer": "adam"}, "must be 'standard' with the optimiser 'adam'"),
        ({"cutmix": 0.5, "loss": "mean_mse"}, "cutmix = 0.5: must be 0 with the loss 'mean_mse'"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Recipe(epochs=1, lr=0.1, **options)


def test_the_largest_rate_needs_second_derivatives_which_compiled_networks_have_not(monkeypatch):
    plain, found = ensemble(stacked=False), []
    expected = largest(plain, samples().images, "mse")
    monkeypatch.setattr(plain, "_run", lambda *_: found.append("compiled"))
    assert torch.equal(largest(plain, samples().images, "mse"), expected)
    assert not found
    with pytest.raises(TypeError):
        plain.logits(samples().images)
    assert found, "after it they run compiled again"
