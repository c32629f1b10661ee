"""Two steps of all that is in the registries, on a GPU and on the CPU: do they come to the same numbers?

Both sides draw from generators of the CPU, with the same seeds in the same order: on the GPU `HostDraws` draws there
and copies. Arithmetic is float32 with TF32 off and nothing compiled (BILP_SPEED=plain). The error of an entry is

    |GPU - CPU| / |what the CPU's last step changed|,    in the L2 norm over all numbers,

so that a small step in a wrong direction does not pass. Of scores, the change is their spread about the mean, and of a
protocol what its losses did after the first epoch. On a machine without a GPU the other side is the CPU again, with
PyTorch's own convolutions in place of oneDNN's, and networks stacked as on a GPU: a rehearsal that rounds differently.

Whoever sets nothing has TF32 in convolutions (BILP_SPEED=auto), and its rounding reaches a step by second derivatives.
Entries of the kinds `tf32 ...` have it on the GPU's side, with tolerances of their own. A GPU that has no TF32 agrees
as before; the CPU rehearses with `Tf32`, which rounds what convolutions are given.
"""

import contextlib
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bilp_core.data import ImageData
from bilp_core.distillers import METHODS, Run, distill
from bilp_core.distillers import options_of as method_options
from bilp_core.evaluation import evaluate, protocol
from bilp_core.evaluation.protocols import METHODS as JUDGED
from bilp_core.indicators import INDICATORS, options_of, score
from bilp_core.nets import NETWORKS, Ensemble, Recipe, ensemble, fit, speed
from bilp_core.synthetic import initial

from ..distillers.common import NET, short
from ..indicators.common import TINY

# Rounding alone gives 1e-6. Where it puts a unit on the other side of a kink, or a norm sees few positions, 4e-2 were
# seen between two kinds of convolutions on a CPU; what is wrong gives 0.3 and more.
TOLERANCES = {"network": 0.1, "method": 0.1, "indicator": 1e-3, "protocol": 1e-3}
# Rehearsed on a CPU (`Tf32`) errors of a step are 0.02 to 0.04, of losses 9e-4 at most.
TOLERANCES |= {"tf32 method": 0.2, "tf32 protocol": 1e-2}
TF32 = ("dc", "dsa", "dm", "idc")  # of the methods
BRIEF = {"linba": {"steps": 3}}  # a training of more steps is chaotic
SIDE, CLASSES, EACH = 16, 3, 8


class HostDraws(TorchFunctionMode):
    """Draws that ask for a generator of the GPU come from one of the CPU with its seed, and are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[int, tuple[Generator, int, Generator]] = {}  # held, so that no id is given twice

    def _host(self, generator: Generator) -> Generator:
        seed = generator.initial_seed()
        if id(generator) not in self.pairs or self.pairs[id(generator)][1] != seed:
            self.pairs[id(generator)] = (generator, seed, Generator().manual_seed(seed))
        return self.pairs[id(generator)][2]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is None or generator.device.type == "cpu":
            return func(*args, **kwargs)
        kwargs = {**kwargs, "generator": self._host(generator)}
        if args and isinstance(args[0], Tensor):  # in place
            drawn = func(torch.empty(args[0].shape, dtype=args[0].dtype), *args[1:], **kwargs)
            with torch.no_grad():
                return args[0].copy_(drawn)
        return func(*args, **{**kwargs, "device": "cpu"}).to(generator.device)


class Tf32(TorchDispatchMode):
    """Convolutions get their operands as a tensor core with TF32 does: ten bits behind the point, not 23."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in ("aten::convolution", "aten::convolution_backward"):
            args = [_ten_bits(x) if isinstance(x, Tensor) else x for x in args]
        return func(*args, **(kwargs or {}))


def _ten_bits(x: Tensor) -> Tensor:
    """Rounded to nearest."""
    return ((x.contiguous().view(torch.int32) + (1 << 12)) >> 13 << 13).view(torch.float32)


def _host_apart(cls: type, attribute: str, again: Callable[[Any], Any]) -> Any:
    """A patch that gives objects of a class generators of the host of their own, as they have them on a GPU."""
    plain = cls.__init__

    def init(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        setattr(self, attribute, again(self))

    return mock.patch.object(cls, "__init__", init)


def _of_run(run: Run) -> Generator:
    return Generator().manual_seed(run.rng.initial_seed())


def _of_ensemble(networks: Ensemble) -> list[Generator]:
    return [Generator().manual_seed(generator.initial_seed()) for generator in networks.generators]


@contextlib.contextmanager
def side(device: str, other: bool, tf32: bool = False) -> Iterator[None]:
    """One of the two that are compared; `tf32` of the other one, which may be the CPU again."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, BILP_SPEED="auto" if tf32 else "plain"))
        stack.enter_context(_host_apart(Run, "host", _of_run))
        stack.enter_context(_host_apart(Ensemble, "hosts", _of_ensemble))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of the tiny data
        speed.prepare(device)
        if device != "cpu":
            stack.enter_context(HostDraws())
        elif other:
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(mock.patch.object(ensemble, "stacks", return_value=True))
            if tf32:
                stack.enter_context(Tf32())
        yield


def images(device: str) -> ImageData:
    """Random images of a few classes that differ in their grey."""
    labels = torch.arange(CLASSES * EACH) % CLASSES
    drawn = torch.randint(0, 150, (len(labels), 3, SIDE, SIDE), generator=Generator().manual_seed(0))
    pixels = (drawn + 50 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    names, grey = tuple("abc"), ((0.5,) * 3, (0.25,) * 3)
    return ImageData(pixels, labels, names, *grey, "random", named="random").to(device)


# ---- entries: (before, after) of the last step, on a device -----------------------------------------------------

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Entry:
    kind: str
    name: str
    made: Callable[[str], Pair]

    @property
    def tf32(self) -> bool:
        return self.kind.startswith("tf32")


def _method(name: str, init: str) -> Callable[[str], Pair]:
    loops = {key: 2 for key in ("outer", "inner") if key in method_options(name)}

    def made(device: str) -> Pair:
        with tempfile.TemporaryDirectory() as home:
            one, two = (
                distill(
                    short(name, **loops, **BRIEF.get(name, {}), iterations=n),
                    images(device),
                    2,
                    network=NET,
                    init=init,
                    home=home,
                )
                for n in (1, 2)
            )
        return one.images, two.images

    return made


def _indicator(name: str) -> Callable[[str], Pair]:
    options = {key: value for key, value in {**TINY, "network": NET}.items() if key in options_of(name)}

    def made(device: str) -> Pair:
        scores = score(images(device), name, **options)
        return scores.mean().expand_as(scores), scores

    return made


def _network(spec: str) -> Callable[[str], Pair]:
    def made(device: str) -> Pair:
        data = images(device)
        large = ImageData(
            data.images[:16].repeat(1, 1, 2, 2), data.labels[:16], data.classes, data.mean, data.std, "large"
        )
        own = f"{spec}:frames={large.shape[0]}" if spec == "convnet-gru" else spec  # its images are clips
        networks = Ensemble(own, large.shape, CLASSES, [0, 1], device, batch=8)
        before = _flat(networks)
        fit(networks, large, Recipe(epochs=1, lr=1e-3, batch=8))
        return before, _flat(networks)

    return made


def _flat(networks: Ensemble) -> Tensor:
    return torch.cat([values.flatten() for values in networks.weights().values()])


def _protocol(name: str) -> Callable[[str], Pair]:
    def made(device: str) -> Pair:
        data = images(device)
        synthetic = initial(images("cpu"), 2, "real", Generator().manual_seed(0))
        judge = protocol(name, data, NET, ipc=2, epochs=3, test_every=1)
        curves = evaluate(synthetic, data, network=NET, protocol=judge, repeats=2).curves
        losses = torch.tensor([*curves["train_loss"], *curves["test_loss"]])
        return losses[:1].expand_as(losses), losses

    return made


def entries() -> list[Entry]:
    protocols = sorted({kind: name for name, kind in JUDGED.items()}.items())
    return [
        *(Entry("network", spec, _network(spec)) for spec in NETWORKS),
        *(Entry("method", f"{n}, init {i}", _method(n, i)) for n, method in METHODS.items() for i in method.inits),
        *(Entry("indicator", name, _indicator(name)) for name in INDICATORS),
        *(Entry("protocol", kind, _protocol(name)) for kind, name in protocols),
        *(Entry("tf32 method", name, _method(name, METHODS[name].default_init)) for name in TF32),
        *(Entry("tf32 protocol", kind, _protocol(name)) for kind, name in protocols if kind in TF32),
    ]


def compared(entry: Entry, device: str) -> dict[str, Any]:
    """A row: kind, name, error, tolerance, agrees, seconds, and a note where a side failed."""
    begun, row = time.monotonic(), {"kind": entry.kind, "name": entry.name, "tolerance": TOLERANCES[entry.kind]}
    try:
        with side("cpu", other=False):
            before, ours = (x.double() for x in entry.made("cpu"))
        with side(device, other=True, tf32=entry.tf32):
            theirs = entry.made(device)[1].cpu().double()
        row["error"] = float((theirs - ours).norm() / (ours - before).norm())
        row["agrees"] = row["error"] <= row["tolerance"]
    except Exception as error:  # the others are still to be looked at
        where = traceback.extract_tb(error.__traceback__)[-1]
        note = f"{type(error).__name__}: {error}".splitlines()[0]
        row |= {"error": None, "agrees": False, "note": f"{note} ({where.name}, line {where.lineno})"}
    return {**row, "seconds": round(time.monotonic() - begun, 2)}
