"""Kernels of endlessly wide networks: published and worked-out values, their recursion in full, and wide networks."""

import math

import pytest
import torch
from torch import nn

from bilp_core.errors import InputError
from bilp_core.nets import initialise, network
from bilp_core.nets.kernels import Kernel


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def waves():
    """Two images, [2, 3, 8, 8]: sin(1 + i + c + 2 h + 3 w)."""
    parts = [torch.arange(n).view([-1 if k == axis else 1 for k in range(4)]) for axis, n in enumerate((2, 3, 8, 8))]
    return torch.sin((1 + parts[0] + parts[1] + 2 * parts[2] + 3 * parts[3]).double())


FLAT = {  # hidden layers -> K and T of (1, 0) with (1, 0), (0, 1) and (1, 1), by neural-tangents
    1: ((1.02, 0.336508743090, 1.088197213605), (2.03, 0.341540259435, 1.846496950698)),
    2: ((1.03, 0.520765246441, 1.150090745209), (3.06, 0.728086531380, 2.579051676245)),
    3: ((1.04, 0.641117149976, 1.200687297418), (4.10, 1.128008887754, 3.245152734517)),
}


@pytest.mark.parametrize("depth", FLAT)
def test_fully_connected_values(depth):
    points = [torch.tensor(p).view(1, 1, 1, 2).double() for p in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))]
    for of, expected in zip(("nngp", "ntk"), FLAT[depth], strict=True):
        found = [float(Kernel("fc", depth, of=of)(points[0], point)) for point in points]
        assert found == pytest.approx(expected, abs=1e-11)


CONVOLUTIONAL = [  # (0, 0), (0, 1), (1, 1) of K and T, by neural-tangents
    (
        Kernel("convnet", 3),
        (0.08237873, 0.08204825, 0.08261965),
        (0.17718716, 0.17016216, 0.17779995),
    ),
    (
        Kernel("convnet", 3, stem=True),
        (0.09874249, 0.09836399, 0.09886677),
        (0.23013164, 0.22028150, 0.23048855),
    ),
    (
        Kernel("conv", 3),
        (0.69946082, 0.53468292, 0.70077885),
        (2.73944051, 1.28068121, 2.74471263),
    ),
    (
        Kernel("conv", 3, "global"),
        (0.40726885, 0.40671918, 0.40817960),
        (0.80117925, 0.78957424, 0.80340454),
    ),
]


@pytest.mark.parametrize(("kernel", "nngp", "ntk"), CONVOLUTIONAL)
def test_convolutional_values(kernel, nngp, ntk):
    for of, expected in (("nngp", nngp), ("ntk", ntk)):
        found = Kernel(kernel.kind, kernel.depth, kernel.head, of, kernel.stem)(waves(), waves())
        assert [found[0, 0].item(), found[0, 1].item(), found[1, 1].item()] == pytest.approx(expected, abs=6e-9)
        torch.testing.assert_close(found, found.T)


def full(kernel, x, y):
    """One pair by every p and q, in plain loops over a layer's shifts: x, y [C, H, W]."""
    h, w = x.shape[1:]

    def conv(k):
        padded = nn.functional.pad(k, (1, 1) * 4)
        shifts = [(a, b) for a in range(3) for b in range(3)]
        return sum(padded[a : a + h, b : b + w, a : a + h, b : b + w] for a, b in shifts) / 9

    def pooled(k):
        for axis in range(4):
            k = k.narrow(axis, 0, k.shape[axis] // 2 * 2).unflatten(axis, (-1, 2)).mean(axis + 1)
        return k

    triples = [torch.einsum("chw,cij->hwij", a, b) / len(a) for a, b in ((x, x), (x, y), (y, y))]
    tangents = [torch.zeros_like(k) for k in triples]
    pools = [False] * kernel.stem + [kernel.kind == "convnet"] * kernel.depth
    for pool in pools:
        triples = [0.01 + 2 * conv(k) for k in triples]
        tangents = [k + 2 * conv(t) for k, t in zip(triples, tangents, strict=True)]
        v, u = (torch.einsum("hwhw->hw", triples[i]) for i in (0, 2))
        scales = [(a[:, :, None, None] * b).sqrt() for a, b in ((v, v), (v, u), (u, u))]
        angles = [(k / s).clamp(-1, 1).acos() for k, s in zip(triples, scales, strict=True)]
        triples = [s * (a.sin() + (math.pi - a) * a.cos()) / (2 * math.pi) for s, a in zip(scales, angles, strict=True)]
        tangents = [t * (math.pi - a) / (2 * math.pi) for t, a in zip(tangents, angles, strict=True)]
        if pool:
            triples, tangents, h, w = [pooled(k) for k in triples], [pooled(t) for t in tangents], h // 2, w // 2
    k, t = triples[1], tangents[1]
    k, t = (z.mean() if kernel.head == "global" else torch.einsum("hwhw->", z) / (h * w) for z in (k, t))
    return 0.01 + 2 * k, 0.01 + 2 * k + 2 * t


@pytest.mark.parametrize("shape", [(2, 4, 6), (1, 7, 5), (3, 8, 8)])
@pytest.mark.parametrize(
    "kernel",
    [
        Kernel("convnet", 1),
        Kernel("convnet", 2),
        Kernel("convnet", 2, stem=True),
        Kernel("convnet", 1, "global"),
        Kernel("conv", 2),
        Kernel("conv", 2, "global"),
    ],
)
def test_the_banded_form_equals_the_full_one(kernel, shape):
    x, y = draw(2, *shape), draw(3, *shape, seed=1)
    for of in ("nngp", "ntk"):
        found = Kernel(kernel.kind, kernel.depth, kernel.head, of, kernel.stem)(x, y)
        expected = torch.stack([torch.stack([full(kernel, a, b)[of == "ntk"] for b in y]) for a in x])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_band_is_as_wide_as_it_must_be():
    assert Kernel("convnet", 3).sizes((3, 32, 32)) == [(32, 32, 7, 7), (16, 16, 3, 3), (8, 8, 1, 1), (4, 4, 0, 0)]
    assert Kernel("convnet", 2, "global").sizes((3, 8, 8)) == [(8, 8, 7, 7), (4, 4, 3, 3), (2, 2, 1, 1)]
    assert Kernel("conv", 2).sizes((3, 8, 8)) == [(8, 8, 0, 0)] * 3
    assert Kernel("convnet", 3, stem=True).numbers((3, 32, 32)) == 473_920


ALL = [
    Kernel("fc", 2),
    Kernel("conv", 2),
    Kernel("conv", 2, "global"),
    Kernel("convnet", 2),
    Kernel("fc", 1, of="nngp"),
]


@pytest.mark.parametrize("kernel", ALL)
def test_gradients_by_finite_differences_also_on_the_diagonal(kernel):
    """Where an image meets itself the plain derivative of the angle is NaN; a constant one meets itself everywhere."""
    x, y = draw(2, 1, 4, 4), draw(2, 1, 4, 4, seed=1)
    assert torch.autograd.gradcheck(kernel, (x.requires_grad_(), y.requires_grad_()), rtol=1e-4, atol=1e-6)
    weights = draw(3, 3, seed=2)
    x = torch.cat([draw(2, 1, 4, 4), torch.ones(1, 1, 4, 4).double()]).requires_grad_()
    (slope,) = torch.autograd.grad((weights * kernel(x, x)).sum(), x)
    assert torch.isfinite(slope).all()
    towards = draw(3, 1, 4, 4, seed=3)
    towards[2] = 0.3  # the third stays a constant, where the kernel has a kink across
    with torch.no_grad():  # where an image meets itself a root of rounding is left, 1e-8: steps must not be small
        up, down = ((weights * kernel(x + e * towards, x + e * towards)).sum() for e in (1e-3, -1e-3))
    assert ((slope * towards).sum()).item() == pytest.approx(((up - down) / 2e-3).item(), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("kernel", ALL)
def test_it_is_symmetric_positive_and_the_tangent_kernel_is_larger(kernel):
    x = draw(5, 2, 4, 4)
    k = kernel(x, x)
    torch.testing.assert_close(k, k.T)
    assert torch.linalg.eigvalsh(k).min() > 0
    nngp = Kernel(kernel.kind, kernel.depth, kernel.head, "nngp")(x, x)
    assert (k.diagonal() >= nngp.diagonal()).all()
    torch.testing.assert_close(kernel(x[:2], x[2:]), k[:2, 2:])
    assert kernel(x.float(), x.float()).dtype == torch.float64


def tangent(net, x):
    """J J^T of a network of one output, in the parameterisation of kernels: by each weight times its deviation."""
    rows = []
    for image in x:
        slopes = torch.autograd.grad(net(image[None])[0, 0], list(net.parameters()))
        spread = [(2 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.1 for p in net.parameters()]
        rows.append(torch.cat([(s * g).flatten() for s, g in zip(spread, slopes, strict=True)]))
    return torch.stack(rows) @ torch.stack(rows).T


@pytest.mark.parametrize(
    ("kernel", "spec"),
    [
        (Kernel("convnet", 2), "kernel-convnet:depth=2,width=192"),
        (Kernel("convnet", 1, stem=True), "kernel-convnet:depth=1,width=192,stem=conv"),
        (Kernel("conv", 2), "kernel-convnet:depth=2,width=192,pool=none"),
    ],
)
def test_many_wide_networks_have_it_in_the_mean(kernel, spec):
    x, rng = draw(3, 1, 4, 4).float(), torch.Generator().manual_seed(5)
    tangents, covariances = [], []
    net = network(spec, (1, 4, 4), 1)
    for _ in range(60):
        initialise(net, rng)
        tangents.append(tangent(net, x))
        f = net.embed(x).detach()
        covariances.append(0.01 + 2 * f @ f.T / f.shape[1])
    nngp = Kernel(kernel.kind, kernel.depth, kernel.head, "nngp", kernel.stem)
    for found, expected in ((tangents, kernel(x, x)), (covariances, nngp(x, x))):
        values = torch.stack(found).double()
        error = values.std(0) / 60**0.5
        assert ((values.mean(0) - expected).abs() < 4 * error + 0.01 * expected.abs()).all()
        assert (error < 0.03 * expected.diagonal().mean()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mlp"}, "kind = 'mlp': must be one of fc, conv, convnet"),
        ({"head": "max"}, "head = 'max': must be one of flat, global"),
        ({"of": "ck"}, "of = 'ck': must be one of ntk, nngp"),
        ({"depth": 0}, "depth = 0: must be at least 1"),
    ],
)
def test_what_there_is_not_is_named(options, message):
    with pytest.raises(InputError, match=message):
        Kernel(**{"kind": "fc", "depth": 1, **options})


def test_images_that_averages_leave_nothing_of_are_named():
    with pytest.raises(InputError, match="depth = 4: averages over 2x2 leave nothing of 8x8 images; at most 3"):
        Kernel("convnet", 4)(draw(1, 1, 8, 8), draw(1, 1, 8, 8))
