"""The emulated GPU refuses what a GPU refuses, and lets pass what it lets pass."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from .emulated_gpu import GPU, emulated_gpu, on_gpu, waits


@pytest.fixture
def gpu():
    with emulated_gpu():
        yield


emulated = pytest.mark.usefixtures("gpu")


def host(*shape):
    return torch.ones(*shape)


def there(*shape):
    return torch.ones(*shape, device="cuda")


REFUSED = {
    "sum": lambda: host(3) + there(3),
    "sum in place": lambda: there(3).add_(host(3)),
    "number written to on the host": lambda: torch.tensor(1.0).add_(torch.tensor(1.0, device="cuda")),
    "out": lambda: torch.add(there(3), there(3), out=host(3)),
    "matrix product": lambda: host(3, 3) @ there(3, 3),
    "product with a number that is no operand": lambda: there(3).dot(host(3)),
    "joined": lambda: torch.cat([there(3), host(3)]),
    "stacked": lambda: torch.stack([torch.tensor(1.0), torch.tensor(1.0, device="cuda")]),
    "host indexed by the GPU": lambda: host(3)[torch.tensor([0], device="cuda")],
    "host set by an index on the GPU": lambda: host(3).__setitem__(torch.tensor([0], device="cuda"), 1.0),
    "values on the host": lambda: there(3).__setitem__(torch.tensor([0, 1]), host(2)),
    "index_select": lambda: there(3).index_select(0, torch.tensor([0])),
    "gather": lambda: there(3).gather(0, torch.tensor([0])),
    "take": lambda: there(3).take(torch.tensor([0])),
    "index_add": lambda: there(3).index_add(0, torch.tensor([0]), there(1)),
    "scatter": lambda: there(3).scatter(0, torch.tensor([0], device="cuda"), host(1)),
    "mask": lambda: there(3).masked_fill(torch.tensor([True, False, True]), 0.0),
    "loss": lambda: F.cross_entropy(there(2, 3), torch.tensor([0, 1])),
    "layer": lambda: nn.Linear(3, 2)(there(1, 3)),
    "input": lambda: nn.Linear(3, 2).to("cuda")(host(1, 3)),
    "under vmap": lambda: torch.vmap(lambda x: x + host(3))(there(2, 3)),
    "einsum": lambda: torch.einsum("n,nd->d", host(2), there(2, 3)),
    "drawn on the host": lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
    "drawn on the GPU": lambda: torch.randperm(3, generator=torch.Generator("cuda")),
    "drawn in place": lambda: there(3).normal_(generator=torch.Generator()),
    "gradient": lambda: setattr(there(3), "grad", host(3)),
    "backward": lambda: (there(3).requires_grad_() * 2).backward(host(3)),
}


@emulated
@pytest.mark.parametrize("what", REFUSED)
def test_two_devices_do_not_mix(what):
    with pytest.raises(RuntimeError, match=r"device"):
        REFUSED[what]()


@emulated
def test_numpy_sees_no_device_tensor():
    for read in (torch.Tensor.numpy, torch.Tensor.__array__):
        with pytest.raises(TypeError, match="numpy"):
            read(there(3))
        assert read(there(3).cpu()).tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="RNG state"):
        torch.Generator("cuda").set_state(torch.Generator().get_state().to("cuda"))


ALLOWED = {
    "number": lambda: there(3) * 2,
    "number on the host": lambda: there(3) * torch.tensor(2.0),
    "written number": lambda: there(3).mul_(torch.tensor(2.0)),
    "index on the host": lambda: there(3)[torch.tensor([0, 1])],
    "mask on the host": lambda: there(3)[torch.tensor([True, False, True])],
    "copied": lambda: there(3).copy_(host(3)),
    "view": lambda: there(4).view(2, 2)[0],
    "like": lambda: torch.zeros_like(there(3)),
    "new": lambda: there(3).new_zeros(2),
    "drawn": lambda: torch.rand(3, device="cuda", generator=torch.Generator("cuda")),
    "asked for": lambda: torch.tensor([1.0], device=there(1).device),
    "deep copy": lambda: copy.deepcopy(there(3)),
    "from the host": lambda: torch.from_numpy(np.ones(3)).to("cuda", torch.float64),
    "like another": lambda: host(3).to(there(1)),
    "loss": lambda: F.cross_entropy(there(2, 3), torch.tensor([0, 1]).cuda(), label_smoothing=0.1),
    "parameter": lambda: nn.Linear(3, 2).to("cuda").weight,
}


@emulated
@pytest.mark.parametrize("what", ALLOWED)
def test_what_a_gpu_does_is_done_there(what):
    found = ALLOWED[what]()
    assert found.device == GPU
    assert found.is_cuda
    assert not found.is_cpu


WAITS = {
    "number": lambda x: float(x[0]),
    "truth": lambda x: bool(x[0]),
    "list": lambda x: x.tolist(),
    "list of one": lambda x: x.sum().tolist(),
    "mask": lambda x: x[x > 0],
    "mask with values": lambda x: x.index_put_((x > 0,), there(3)),
    "index on the host": lambda x: x[torch.tensor([0])],
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "how often": lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.int64, device="cuda")),
    "list to the GPU": lambda _: torch.tensor([1.0], device="cuda"),
    "list like another": lambda x: x.new_tensor([1.0]),
    "to the GPU": lambda _: host(3).to("cuda"),
    "into the GPU": lambda x: x.copy_(host(3)),
    "back": lambda x: x.cpu(),
    "back unwaited": lambda x: x.to("cpu", non_blocking=True),  # nor are the numbers there
}


@emulated
@pytest.mark.parametrize("what", WAITS)
def test_what_a_gpu_is_waited_for(what):
    x = there(3)
    with waits() as found:
        WAITS[what](x)
    assert len(found) == 1, found


@emulated
def test_what_is_not_waited_for():
    x, index = there(3), torch.tensor([0, 2], device="cuda")
    with waits() as found:
        x[index] = 2 * x[index] + torch.tensor(1.0)
        x[x > 5] = 0.0
        x.masked_fill_(x > 2, 1.0)
        x.copy_(host(3), non_blocking=True)
        host(3).to("cuda", non_blocking=True)
        torch.zeros(3, device="cuda")
        F.one_hot(index, 3)  # on a host it looks whether the classes are in their range
        host(3).tolist()
    assert found == []
    x.tolist()
    assert found == []  # is over


@emulated
def test_tensors_come_back_and_take_their_gradients_along():
    kept = host(3).requires_grad_()
    for x in (kept, there(3).requires_grad_()):
        moved = (2 * x).to("cuda").cpu()
        (3 * moved).sum().backward()
        assert not on_gpu(moved)
        assert on_gpu(x.grad) == on_gpu(x)
        assert x.grad.tolist() == [6, 6, 6]
    assert kept.to("cpu") is kept
    assert host(3).copy_(there(3)).device.type == "cpu"
    assert there(3).to("cpu", torch.int64).dtype == torch.int64


@emulated
def test_networks_train_there_with_the_optimisers_of_a_gpu():
    for kind in (torch.optim.SGD, torch.optim.Adam):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(2, 2), nn.Flatten(), nn.Linear(8, 3)).to("cuda")
        optimizer = kind(net.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(net(there(2, 1, 4, 4)), torch.tensor([0, 1], device="cuda")).backward()
            optimizer.step()
        assert all(on_gpu(p) and on_gpu(p.grad) for p in net.parameters())


@emulated
def test_autocast_of_the_gpu():
    with torch.autocast("cuda", torch.bfloat16):
        assert (there(3, 3) @ there(3, 3)).dtype == torch.bfloat16
    assert (there(3, 3) @ there(3, 3)).dtype == torch.float32


def test_outside_all_is_as_before():
    before = torch.Generator, torch.autocast, torch.cuda.is_available(), torch.Tensor.__dict__.get("device")
    with emulated_gpu():
        inside = there(3)
        assert inside.device == GPU
    after = torch.Generator, torch.autocast, torch.cuda.is_available(), torch.Tensor.__dict__.get("device")
    assert before == after
    assert inside.device.type == "cpu"
    assert (inside + host(3)).tolist() == [2, 2, 2]
