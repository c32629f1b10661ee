"""What trades digits for time: the switch, and that bfloat16 changes no result beyond a stated tolerance."""

import gc
import os
import platform
import subprocess
import sys
import textwrap
import weakref
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from bilp_core.data import load
from bilp_core.errors import InputError
from bilp_core.evaluation import evaluate, protocol
from bilp_core.indicators import score
from bilp_core.nets import Ensemble, compiling, speed
from bilp_core.nets import ensemble as ensembles
from bilp_core.nets.compiling import compiled
from bilp_core.synthetic import initial

NETWORK = "convnet:depth=2,width=32"
TOLERANCE = 0.01  # of the mean accuracy of eight networks, a fraction


@pytest.fixture(params=[True, False], ids=["stacked", "looped"])
def ensemble(request):
    return Ensemble(NETWORK, (1, 8, 8), 10, [0, 1], stacked=request.param, mixed=True)


def test_modes(monkeypatch):
    monkeypatch.delenv("BILP_SPEED", raising=False)
    assert speed.mode() == "auto"
    monkeypatch.setenv("BILP_SPEED", "fast")
    with pytest.raises(InputError, match="BILP_SPEED = 'fast'.*plain, auto, mixed"):
        speed.mode()


def test_plain_turns_everything_off(monkeypatch, ensemble):
    monkeypatch.setenv("BILP_SPEED", "plain")
    monkeypatch.setenv("BILP_COMPILE", "1")
    function = torch.sin
    assert compiled(function, 1e12, torch.device("cpu"), "net") is function
    speed.prepare("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    images = torch.rand(4, 1, 8, 8)
    plain = ensemble.logits(images)
    monkeypatch.setenv("BILP_SPEED", "auto")
    speed.prepare("cuda")
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    torch.testing.assert_close(ensemble.logits(images), plain, rtol=0, atol=0)


def test_as_many_networks_as_one_likes_are_compiled(monkeypatch):
    """torch keeps eight versions of a function, so networks must not share one."""
    monkeypatch.setenv("BILP_COMPILE", "1")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced as ever, no C++
    compiling._of_network.cache_clear()
    before = counters["frames"].copy()
    for width in range(1, 11):
        ensemble = Ensemble(f"convnet:depth=1,width={width}", (1, 8, 8), 10, seeds=[0, 1], stacked=False)
        for images in torch.zeros(5, 1, 8, 8), torch.zeros(7, 1, 8, 8):  # to learn from, and to be judged on
            ensemble.logits(images)
    seen = {name: count - before[name] for name, count in counters["frames"].items()}
    assert seen["total"] == seen["ok"] >= 20
    assert compiling._of_network.cache_info().currsize == 10
    again = Ensemble("convnet:depth=1,width=10", (1, 8, 8), 10, seeds=[2], stacked=False)
    assert again._run is ensemble._run, "the same network is not compiled again"
    compiling._of_network.cache_clear()


def test_what_is_compiled_on_a_cpu_outlives_the_choice_of_a_device():
    """In a fresh process, where no one has set anything: `device` may be asked for after the first networks."""
    code = """
        import torch
        from torch._dynamo.utils import counters
        from bilp_core.trials import device
        twice = torch.compile(lambda x: 2 * x, backend="eager", dynamic=False)
        twice(torch.ones(2))
        print(device(), end=" ")
        twice(torch.ones(2))
        print(counters["frames"]["total"])
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ | {"BILP_DEVICE": "cpu"})
    assert done.stdout.split() == ["cpu", "1"]


@pytest.mark.parametrize(
    ("positions", "device", "works", "expected"),
    [(3e7, "cpu", True, True), (2.9e7, "cpu", True, False), (3e7, "cuda", True, False), (3e7, "cpu", False, False)],
)
def test_long_runs_on_a_cpu_with_a_compiler_are_compiled(positions, device, works, expected, monkeypatch):
    monkeypatch.setattr(compiling, "_compiler_works", lambda: works)
    monkeypatch.setattr(compiling, "_of_network", lambda *_: "compiled")
    assert (compiled(abs, positions, torch.device(device), "net") == "compiled") is expected


def test_what_is_used_no_longer_is_freed(monkeypatch):
    """Of the graphs of more networks than are kept only the last ones live."""
    graphs = []

    def backend(graph, _):
        def run(*inputs):
            return graph.forward(*inputs)

        graphs.append(weakref.ref(run))
        return run

    def alive():
        gc.collect()
        return [graph() is not None for graph in graphs]

    def named():
        return {name for name in vars(ensembles) if name.startswith("__compiled_fn")}

    monkeypatch.setenv("BILP_COMPILE", "1")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiling._of_network.cache_clear()
    before = named()
    for width in range(1, 19):
        ensemble = Ensemble(f"convnet:depth=1,width={width}", (1, 8, 8), 10, seeds=[0], stacked=False)
        ensemble.logits(torch.zeros(5, 1, 8, 8))
        if width == 1:
            used = ensemble
    assert alive() == [True] + [False] + [True] * 16, "what is in use stays, the oldest of the others goes"
    assert len(named() - before) == 17
    used.logits(torch.zeros(5, 1, 8, 8))
    assert len(graphs) == 18, "nor is it compiled again"
    compiling._of_network.cache_clear()
    del used, ensemble
    assert not any(alive())
    assert named() == before


def test_a_torch_without_a_way_to_free_is_left_alone(monkeypatch):
    monkeypatch.delattr(torch._C._dynamo.eval_frame, "reset_code")
    compiling._forget((lambda: None).__code__)


def test_mixed_precision_is_used_where_it_is_allowed_only(monkeypatch, ensemble):
    images = torch.rand(4, 1, 8, 8)
    monkeypatch.setenv("BILP_SPEED", "auto")
    exact = ensemble.logits(images)
    monkeypatch.setenv("BILP_SPEED", "mixed")
    rounded = ensemble.logits(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    ensemble.mixed = False
    assert torch.equal(ensemble.logits(images), exact)


def test_mixed_precision_changes_neither_accuracy_nor_ranking(monkeypatch):
    train, test = load("digits")
    synthetic = initial(train, 10, "real", torch.Generator().manual_seed(0))
    recipe = protocol("dm", test, NETWORK, epochs=60)
    found, ranks = {}, {}
    for mode in ("plain", "mixed"):
        monkeypatch.setenv("BILP_SPEED", mode)
        found[mode] = evaluate(synthetic, test, network=NETWORK, protocol=recipe, repeats=8).mean
        loss = score(train, "loss", trials=2, epochs=5, network=NETWORK)
        ranks[mode] = loss.argsort().argsort().double()
    assert found["plain"] > 0.8
    assert abs(found["mixed"] - found["plain"]) <= TOLERANCE
    assert torch.corrcoef(torch.stack(list(ranks.values())))[0, 1] > 0.99


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone gives memory back at once")
@pytest.mark.parametrize("keep", [False, True])
def test_freed_memory_is_kept_for_the_next_batch(keep):
    """How often the kernel has to give pages to a process of its own that asks for the same block again and again."""
    code = f"""
        import resource, torch
        from bilp_core.nets import speed
        if {keep}:
            speed.prepare("cpu")
        for _ in range(32):  # until small blocks have found their places
            torch.ones(2 ** 24)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(8):
            torch.ones(2 ** 24)  # 64 MiB, more than glibc learns to keep
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    faults = int(done.stdout)
    assert faults < 8 if keep else faults >= 8 * 32  # a page is 2 MiB at most
