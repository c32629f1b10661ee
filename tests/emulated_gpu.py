"""A GPU that is not there: inside `emulated_gpu`, tensors may live on `cuda:0`, and device faults are raised as on one.

    with emulated_gpu():
        made = distill(make("dc", iterations=2), train.to("cuda"), ipc=1, network="convnet:depth=2,width=8")

A tensor on it is an ordinary tensor of the host whose storage carries a mark, so views share it, and autograd,
`torch.func` and the kernels are PyTorch's own. Three layers see to the rest. `Tensor.device` reads the mark. A function
mode watches calls in Python: it takes the device out of their arguments before PyTorch, which may have been built
without CUDA, could see it, moves tensors, and remembers where the call works. A dispatch mode watches the
operations below: it marks what they make, and refuses operands and generators of two devices where a GPU would.

No number differs from the CPU's, and nothing is measured: it finds faults of placement, not of rounding. Processes that
are started inside see no GPU. `waits` lists what would keep the host until the GPU has done all that it was given.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

HOST, GPU = torch.device("cpu"), torch.device("cuda", 0)
MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda}
TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}
BELOW_ALL = {torch.tensor, torch.Tensor.__deepcopy__}  # make tensors where no mode sees it
GRADIENTS = {torch.Tensor.backward, torch.autograd.grad}
COPIES = {"aten::copy_", "aten::_foreach_copy_"}  # may go from one device to another
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
# numbers on the host, tensors without dimensions, may meet tensors of the GPU in pointwise operations, and in these
WITH_NUMBERS = {"aten::fill_", "aten::masked_fill", "aten::masked_fill_", "aten::index_fill", "aten::index_fill_"}
# what the host cannot go on without: numbers of a GPU, or how many there are
READ = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::bincount",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
}  # fmt: skip
FROM_LISTS = {torch.tensor, torch.Tensor.new_tensor}
_waits: list[list[str]] = []  # those that are asked for
_works: list[tuple[bool, bool]] = []  # for each call that is running: on the GPU? because it was told so?


def on_gpu(x: torch.Tensor) -> bool:
    """Whether `x`, perhaps inside the wrappers of torch.func, lives on the emulated GPU."""
    with torch._C.DisableTorchFunction():
        while torch._C._functorch.is_functorch_wrapped_tensor(x):
            x = torch._C._functorch.get_unwrapped(x)
        return getattr(x.untyped_storage(), "on_gpu", False)


def _device(x: torch.Tensor) -> torch.device:
    """What `x.device` reads; PyTorch also asks it of its own tensors without data, on `meta`."""
    with torch._C.DisableTorchFunction():
        return GPU if on_gpu(x) else torch._C.TensorBase.device.__get__(x)


def _mark(tree, there=True):
    with torch._C.DisableTorchFunction():
        for x in _tensors(tree):
            if torch._C.TensorBase.device.__get__(x) == HOST:
                x.untyped_storage().on_gpu = there
    return tree


def _tensors(*trees) -> list[torch.Tensor]:
    found = []
    for tree in trees:
        if isinstance(tree, torch.Tensor):
            found.append(tree)
        elif isinstance(tree, list | tuple):
            found += _tensors(*tree)
        elif isinstance(tree, dict):
            found += _tensors(*tree.values())
    return found


def _is_gpu(device) -> bool:
    return torch.device(device).type == "cuda"


class _Moved(torch.autograd.Function):
    """A copy on the other device; its gradient comes back to where it came from."""

    @staticmethod
    def forward(ctx, x, there):
        ctx.from_gpu = on_gpu(x)
        with _disable_current_modes():
            return _mark(x.detach().clone(), there)

    @staticmethod
    def backward(ctx, grad):
        _wait("copy of a gradient")
        return _Moved.apply(grad, ctx.from_gpu), None


class _Calls(TorchFunctionMode):
    """What Python asks of PyTorch."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = _tensors(args, kwargs)
        here = any(map(on_gpu, tensors))
        if func in MOVES:
            return _move(func, *args, **kwargs)
        if func in TO_NUMPY and here:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func == torch.Tensor.grad.__set__ and len({on_gpu(x) for x in tensors}) > 1:
            raise RuntimeError("assigned grad has data located on a different device")
        if (asked := kwargs.pop("device", None)) is not None:
            here = _is_gpu(asked)
        if here and (func in FROM_LISTS or func is torch.Tensor.tolist):
            _wait(func.__name__)
        generator = kwargs.get("generator")
        if generator is not None and _is_gpu(generator.device) != here:
            raise RuntimeError(f"generator of another device than the tensors that {func.__name__} draws")
        if func in GRADIENTS:
            _refuse_gradients(*args, **kwargs)
        _works.append((here, asked is not None))
        counts = func is F.one_hot and _classes(*args, **kwargs) > 0
        try:
            with _checked_by_the_host() if counts else contextlib.nullcontext():
                out = func(*args, **kwargs)
        finally:
            _works.pop()
        if func is torch.as_tensor and asked is not None:
            return out.to(asked)
        return _mark(out) if here and func in BELOW_ALL else out


def _refuse_gradients(ends, *_, gradient=None, grad_outputs=None, **__):
    """The gradients that one begins with are on the devices of what was differentiated."""
    given = gradient if grad_outputs is None else grad_outputs
    for end, first in zip(*(x if isinstance(x, Sequence) else [x] for x in (ends, given)), strict=False):
        if first is not None and on_gpu(first) != on_gpu(end):
            raise RuntimeError("invalid gradient: it is on another device than what is differentiated")


def _move(func, x, *args, **kwargs):
    copy, layout = kwargs.pop("copy", False), kwargs.pop("memory_format", None)
    soon = kwargs.get("non_blocking", False)
    if func is not torch.Tensor.to:
        there, dtype = func is torch.Tensor.cuda, None
    elif args and isinstance(args[0], torch.Tensor):
        there, dtype = on_gpu(args[0]), args[0].dtype
    else:
        device, dtype, soon, _ = torch._C._nn._parse_to(*args, **kwargs)
        there = on_gpu(x) if device is None else _is_gpu(device)
    if there != on_gpu(x):
        if not (there and soon):
            _wait("copy to the GPU" if there else "copy to the host")
        x, copy = _Moved.apply(x, there), False
    return x.to(dtype or x.dtype, copy=copy, **({"memory_format": layout} if layout else {}))


class _Operations(TorchDispatchMode):
    """What PyTorch asks of its kernels."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        places = [on_gpu(x) for x in _tensors(args, kwargs)]
        there, told = _works[-1] if _works else (False, False)
        if places and not (told and _about(func).makes):
            there = any(places)
        if len(set(places)) > 1:
            _refuse(func, args, kwargs)
        if _waits and any(places) and _waiting(func, args, kwargs):
            _wait(func._schema.name.removeprefix("aten::"))
        out = func(*args, **kwargs)
        return _mark(out) if there and func._schema.name not in COPIES else out


def _waiting(func, args, kwargs) -> bool:
    """Whether a GPU has this operation wait."""
    name = func._schema.name
    by_name = dict(zip(_about(func).names, args, strict=False)) | kwargs
    if name in COPIES:
        pairs = zip(_tensors(args[0]), _tensors(args[1]), strict=True)
        return not by_name.get("non_blocking") and any(on_gpu(x) != on_gpu(y) for x, y in pairs)
    if name in INDEXING:
        indices = _tensors(by_name["indices"])
        masks = [x for x in indices if x.dtype in (torch.bool, torch.uint8)]
        filled = "values" in by_name and by_name["values"].numel() == 1 and masks == indices  # by masked_fill
        return not all(map(on_gpu, indices)) or bool(masks and not filled)
    return name in READ or (name == "aten::repeat_interleave" and by_name.get("output_size") is None)


def _wait(what: str) -> None:
    """Note it for those who ask, with the line of the library."""
    if _waits:
        ours = [frame for frame in traceback.extract_stack() if "/bilp_core/" in frame.filename]
        where = f" at {ours[-1].filename.rpartition('/bilp_core/')[2]}, in {ours[-1].name}" if ours else ""
        for found in _waits:
            found.append(what + where)


@contextlib.contextmanager
def waits() -> Iterator[list[str]]:
    """Inside `emulated_gpu`: of all that follows what makes the host wait for a GPU, in turn, and where.

    Reading a number, a mask as an index, what counts (nonzero, unique, bincount), copies to the host, and copies to the
    GPU that do not say `non_blocking`, `torch.tensor` of a list and an index on the host among them.
    It sees calls in Python and what they ask of PyTorch's kernels; not what happens inside of these (a solver that
    reads its status, memory that has to be asked for, a copy from pageable memory too large for the driver to put
    aside), nor what a compiled function or a library beside PyTorch does.
    """
    _waits.append(found := [])
    try:
        yield found
    finally:
        _waits[:] = [other for other in _waits if other is not found]


@contextlib.contextmanager
def _checked_by_the_host():
    """What PyTorch's functions check of numbers on the host alone is no wait."""
    kept, _waits[:] = list(_waits), []
    try:
        yield
    finally:
        _waits[:] = kept


def _classes(_, num_classes=-1):
    return num_classes


class _About(NamedTuple):
    names: list[str]
    written: set[str]  # arguments
    makes: bool  # tensors on a device that may be asked for


@cache
def _about(func) -> _About:
    arguments = func._schema.arguments
    written = {a.name for a in arguments if a.alias_info and a.alias_info.is_write}
    names = [a.name for a in arguments]
    return _About(names, written, "device" in names)


def _refuse(func, args, kwargs):
    """RuntimeError where operands are on two devices and a GPU would not have it."""
    name, about = func._schema.name, _about(func)
    if name in COPIES:
        return
    by_name = dict(zip(about.names, args, strict=False)) | kwargs
    numbers = torch.Tag.pointwise in func.tags or name in WITH_NUMBERS or name.startswith("aten::_foreach")
    guilty = []
    for key, value in by_name.items():
        host = [x for x in _tensors(value) if not on_gpu(x)]
        if name in INDEXING:
            allowed = "indices" if on_gpu(by_name["self"]) else ""
            guilty += [x for x in host if key != allowed and not (key == "values" and not x.dim())]
        else:
            guilty += [x for x in host if key in about.written or not numbers or x.dim()]
    if guilty:
        shapes = [list(x.shape) for x in guilty]
        raise RuntimeError(f"Expected all tensors to be on the same device, cuda:0 and cpu in {func}: cpu {shapes}")


class _Generator(torch.Generator):
    """Draws on the host, and says where it is meant to."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.on_gpu = _is_gpu(device)
        return made

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return GPU if self.on_gpu else HOST

    def set_state(self, state):
        if on_gpu(state):
            raise TypeError("RNG state must be a torch.ByteTensor")  # of the host, for a GPU's generator too
        return super().set_state(state)


@contextlib.contextmanager
def emulated_gpu():
    """Inside, `torch.cuda` answers as with one GPU of 80 GB, tensors can be made there and moved there."""
    answers = {
        "is_available": True, "device_count": 1, "current_device": 0, "get_device_name": "emulated GPU",
        "mem_get_info": (70 << 30, 80 << 30), "memory_reserved": 0, "memory_allocated": 0, "max_memory_allocated": 0,
        "reset_peak_memory_stats": None, "synchronize": None, "empty_cache": None, "is_bf16_supported": True,
        "is_current_stream_capturing": False, "get_device_properties": SimpleNamespace(L2_cache_size=50 << 20),
    }  # fmt: skip
    autocast = torch.autocast
    tensor = {
        "device": property(_device),
        "is_cuda": property(on_gpu),
        "is_cpu": property(lambda x: not on_gpu(x)),
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *a, _answer=answer, **k: _answer))
        for name, found in tensor.items():
            stack.enter_context(mock.patch.object(torch.Tensor, name, found))
        stack.enter_context(mock.patch.object(torch.accelerator, "current_accelerator", return_value=None))
        for module in [m for m in sys.modules.values() if vars(m).get("Generator") is torch.Generator]:
            stack.enter_context(mock.patch.object(module, "Generator", _Generator))  # torch, and who has its name
        stack.enter_context(mock.patch.object(torch, "autocast", lambda _, *a, **k: autocast("cpu", *a, **k)))
        stack.enter_context(_Calls())
        stack.enter_context(_Operations())
        yield
