"""ITE: the closed form against the definition, and its approximations against the closed form."""

import pytest
import torch

from bilp_core.pruning import VARIANTS, Treatments, ite, rank_error
from bilp_core.pruning.ite import exact, leave_one_out, probes, projection, sketch, taylor


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def squared(ours, target):
    return sum(((a - b) ** 2).sum() for a, b in zip(ours, target, strict=True))


def cosine(ours, target):
    return sum(
        (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum() for a, b in zip(ours, target, strict=True)
    )


def problem(distance, count=40, seed=0):
    """Statistics [4, 5] and [3, 2], a non-linear function of 12 stored numbers, and real ones of low rank plus noise,
    as real gradients are."""
    stored = normal(12, seed=seed).requires_grad_()
    maps = normal(20, 12, seed=1), normal(6, 12, seed=2)
    shapes = (4, 5), (3, 2)
    ours = [(m @ stored).sin().view(s) for m, s in zip(maps, shapes, strict=True)]
    each = [normal(count, 2, seed=3) @ normal(2, 20, seed=4), normal(count, 2, seed=5) @ normal(2, 6, seed=6)]
    each = [(e + 1 + 0.1 * normal(*e.shape, seed=9)).view(count, *shape) for e, shape in zip(each, shapes, strict=True)]
    return Treatments(stored, ours, each, distance), maps, shapes


@pytest.mark.parametrize("distance", [squared, cosine])
def test_exact_equals_the_definition(distance):
    of, maps, shapes = problem(distance)

    def loss(picks):
        ours = [(m @ of.stored).sin().view(s) for m, s in zip(maps, shapes, strict=True)]
        return distance(ours, [p[picks].mean(0) for p in of.each])

    by_force = leave_one_out(loss, of.stored, 40)
    torch.testing.assert_close(exact(of, rng()), by_force, rtol=1e-9, atol=1e-12)


def test_taylor_is_exact_for_squared_distances_only():
    of, *_ = problem(squared)
    torch.testing.assert_close(taylor(of, rng()), exact(of, rng()), rtol=1e-9, atol=1e-12)
    of, *_ = problem(cosine)
    assert not torch.allclose(taylor(of, rng()), exact(of, rng()), rtol=1e-3)
    assert rank_error(taylor(of, rng()), exact(of, rng())) < 0.1


def test_products_with_the_jacobian():
    of, *_ = problem(squared)
    direction, cotangent = normal(12, seed=7), [normal(4, 5, seed=8), normal(3, 2, seed=9)]
    forward = sum((a * b).sum() for a, b in zip(of.times(direction), cotangent, strict=True))
    torch.testing.assert_close(forward, direction @ of.transposed(cotangent))  # <J u, c> = <u, J^T c>
    assert forward.abs() > 0


def test_a_sketch_of_full_rank_is_exact():
    of, *_ = problem(cosine)
    torch.testing.assert_close(sketch(of, rng(), rank=12), exact(of, rng()), rtol=1e-6, atol=1e-9)


def wide_problem(count=64):
    """Many stored numbers and statistics whose energy falls slowly, so that a few directions miss much of it."""
    stored = normal(80, seed=0).requires_grad_()
    maps = normal(120, 80, seed=1)
    ours = [(maps @ stored / 9).sin().view(10, 12)]
    falling = torch.arange(1, 61, dtype=torch.float64) ** -0.7
    each = [((normal(count, 60, seed=3) * falling) @ normal(60, 120, seed=4) + 1).view(count, 10, 12)]
    return Treatments(stored, ours, each, squared)


def test_a_sketch_ranks_well_and_better_with_more_directions():
    of = wide_problem()
    errors = [rank_error(exact(of, rng()), sketch(of, rng(), rank=rank)) for rank in (2, 8, 24)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.03


def test_a_sketch_estimates_what_its_directions_leave_out():
    of = wide_problem()
    full = exact(of, rng()).square().sum()
    totals = [float(sketch(of, rng(seed), rank=4).square().sum() / full) for seed in range(20)]
    assert sum(totals) / len(totals) == pytest.approx(1, abs=0.05)  # without it about two thirds
    inside = torch.linalg.eigvalsh(sum(p.flatten(1) @ p.flatten(1).T for p in of.cotangents))
    assert inside[-4:].sum() / inside.sum() < 0.75


def test_a_sketch_sees_past_a_large_layer_that_hardly_moves_the_images():
    of = wide_problem()
    loud = 100 * normal(len(of), 40, seed=7)
    quiet = 1e-4 * (normal(40, 80, seed=8) @ of.stored).sin()
    both = Treatments(of.stored, [*of.ours, quiet], [*of.each, loud], squared)
    of_both = [part.square().sum() for part in both.cotangents]
    assert of_both[1] > 10 * of_both[0]
    assert rank_error(exact(both, rng()), sketch(both, rng())) < 0.02  # 0.04 where all layers count alike


@pytest.mark.parametrize(("coordinates", "strides"), [(8192, (1, 1)), (8, (3, 1))])
def test_a_sketch_written_out(coordinates, strides, monkeypatch):
    """With the Jacobian as a matrix, and two layers, of 20 and 6 coordinates, of which so many are looked at."""
    monkeypatch.setattr(ite, "COORDINATES", coordinates)
    of, maps, _ = problem(cosine)
    inner = [m @ of.stored.detach() for m in maps]
    jacobian = torch.cat([m * x.cos()[:, None] for m, x in zip(maps, inner, strict=True)])  # of sin(m x)
    layers = [c.flatten(1) for c in of.cotangents]
    effects = torch.cat(layers, 1) @ jacobian  # every ITE, a row each
    torch.testing.assert_close(effects.norm(dim=1), exact(of, rng()), rtol=1e-9, atol=1e-12)

    draw = rng(4)
    moved = (jacobian @ torch.randn(12, generator=draw).double()).split([20, 6])
    seen = [layer[:, ::stride] for layer, stride in zip(layers, strides, strict=True)]
    gram = sum(
        (layer @ m).square().sum() * (some @ some.T) / some.square().sum()
        for layer, some, m in zip(layers, seen, moved, strict=True)
    )
    leading = torch.linalg.svd(gram)[0][:, :3]
    basis = torch.linalg.svd(leading.T @ effects, full_matrices=False)[2]
    inside = (effects @ basis.T).square().sum(1)
    rest = torch.eye(40).double() - leading @ leading.T
    signs = torch.tensor([-1.0, 1.0]).double()[torch.randint(0, 2, (40,), generator=draw)]
    weights = rest @ signs
    beyond = weights @ effects @ (torch.eye(12).double() - basis.T @ basis)
    share = beyond.square().sum() / (weights @ gram @ weights)
    expected = (inside + share * (rest @ gram @ rest).diagonal()).sqrt()
    torch.testing.assert_close(sketch(of, rng(4), rank=3), expected, rtol=1e-6, atol=1e-9)


def test_a_sketch_is_taken_where_it_needs_fewer_products():
    """2 x rank + 2 products, each way; as many samples are done exactly."""
    count = []

    class Counting(Treatments):
        def transposed(self, cotangent):
            count.append("transposed")
            return super().transposed(cotangent)

        def times(self, direction):
            count.append("times")
            return super().times(direction)

    for samples in (12, 13):
        of, *_ = problem(cosine, count=samples)
        count.clear()
        sketch(Counting(of.stored, of.ours, of.each, cosine), rng(), rank=5)
        assert len(count) == 12
        assert count.count("times") == (0 if samples == 12 else 6)


def test_many_probes_approach_the_norm():
    of, *_ = problem(squared)
    torch.testing.assert_close(probes(of, rng(), count=20_000), exact(of, rng()), rtol=0.05, atol=0)


def test_projection_is_the_inner_product_with_the_meta_gradient():
    of, *_ = problem(cosine)
    mean = [p.mean(0) for p in of.each]
    (meta,) = torch.autograd.grad(cosine(of.ours, mean), of.stored, retain_graph=True)
    single = [
        of.transposed(one) @ meta.flatten() / meta.norm() for one in zip(*of.cotangents, strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(projection(of, rng()), torch.stack(single).abs(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_variants_give_one_finite_number_a_sample(name):
    of, *_ = problem(cosine, count=2)
    values = VARIANTS[name](of, rng())
    assert values.shape == (2,)
    assert torch.isfinite(values).all()
    of, *_ = problem(cosine, count=50)
    shuffled = torch.randperm(50, generator=rng(3))
    other = Treatments(of.stored, of.ours, [p[shuffled] for p in of.each], cosine)
    torch.testing.assert_close(VARIANTS[name](of, rng())[shuffled], VARIANTS[name](other, rng()), rtol=1e-6, atol=1e-9)


def test_rank_error_by_hand():
    assert rank_error(torch.tensor([1.0, 2, 3]), torch.tensor([10.0, 20, 30])) == 0
    assert rank_error(torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 2, 1])) == pytest.approx(4 / 6)
    unrelated = rank_error(torch.arange(2000), torch.randperm(2000, generator=rng()))
    assert unrelated == pytest.approx(1 / 3, abs=0.02)


def test_the_norm_of_cotangents_is_over_all_layers():
    of, *_ = problem(squared)
    flat = torch.cat([part.flatten(1) for part in of.cotangents], 1)
    torch.testing.assert_close(ite.cotangent_norm(of, rng()), flat.norm(dim=1))
