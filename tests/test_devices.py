"""What the registries hold works on a GPU as far as places go: on an emulated one, see `emulated_gpu`.

A new method, indicator, start, network or coreset is tested by its being there. That the numbers are a CPU's is
compared on a real GPU.
"""

from dataclasses import dataclass, replace

import pytest
import torch

from bilp_core import coresets
from bilp_core.coresets.glister import SCOPES
from bilp_core.coresets.gradmatch import PICKS
from bilp_core.coresets.last_layer import GRADIENTS
from bilp_core.data import ImageData, whitening
from bilp_core.distillers import METHODS, Distiller, Matching, Run, check_adaptive, distill, experts, make, state
from bilp_core.distillers import options_of as method_options
from bilp_core.errors import InputError
from bilp_core.evaluation import Protocol, baselines, beside, evaluate, fair, protocol, taught
from bilp_core.evaluation.protocols import METHODS as JUDGED
from bilp_core.indicators import INDICATORS, options_of, score
from bilp_core.nets import NETWORKS, PROBES, Ensemble, Probe, Recipe, augment, fit, measure, network
from bilp_core.nets.mixing import cutmix
from bilp_core.nets.views import Views
from bilp_core.pruning import VARIANTS, Adaptive, Representative, keep, relative_diversity
from bilp_core.studies import ite_variants, mislabelled, rankings
from bilp_core.studies.first_order import first_order_errors
from bilp_core.studies.students import student_path
from bilp_core.synthetic import SyntheticSet, initial
from bilp_core.trials import Trial, plan, run
from bilp_core.utils.files import Unfinished

from .distillers.common import NET, SHORT, short
from .emulated_gpu import emulated_gpu, waits
from .indicators.common import PROBED, TINY

QUICK = Protocol(epochs=1, lr=0.01)
pytestmark = pytest.mark.filterwarnings("ignore:the expert recognises")  # on eight images a class


@pytest.fixture(autouse=True)
def gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "store"))
    monkeypatch.setitem(PROBES, "tiny", Probe(epochs=2, batch=8))
    monkeypatch.setattr(baselines, "CHECK_EPOCHS", 2)
    with emulated_gpu():
        yield


@pytest.fixture
def data():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=rng, dtype=torch.uint8)
    classes, grey = ("a", "b", "c"), ((0.5,) * 3, (0.25,) * 3)
    return ImageData(images, torch.arange(24) % 3, classes, *grey, "tiny", named="tiny").to("cuda")


def brief(name, **options):
    """Few turns of each loop there is."""
    loops = {key: 2 for key in ("outer", "inner") if key in method_options(name)}
    return short(name, **{**loops, **options})


def made(method, data, **settings):
    return distill(method, data, 2, **{"network": NET, **settings})


def stays(found: SyntheticSet) -> bool:
    return found.images.is_cuda and found.labels.is_cuda and bool(torch.isfinite(found.images).all())


# ---- that this file can fail ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pixels(Distiller):
    """A method for this test alone: mean pixels, with a fault that no CPU shows."""

    iterations: int = 2
    image_lr: float = 0.1
    fault: str = ""

    def step(self, run):
        classes = run.data.num_classes
        place = {"device": run.data.device} if self.fault != "made on the host" else {}
        weights = torch.ones(classes, **place) / classes
        means = torch.stack([run.batches(c).mean(0) for c in range(classes)])
        if self.fault == "through NumPy":
            means = torch.from_numpy(means.numpy())
        noise = run.images.detach().clone()
        noise.normal_(generator=run.host if self.fault == "drawn by the host's generator" else run.rng)
        order = torch.arange(classes, **({} if self.fault == "gathered by the host" else {"device": run.data.device}))
        ours = run.images.view(classes, -1, *run.data.shape).mean(1).index_select(0, order)
        loss = (weights.view(-1, 1, 1, 1) * (ours - means).square()).sum() + 0 * noise.sum()
        loss.backward()
        run.descend()
        return loss.detach()


@pytest.fixture
def pixels(monkeypatch):
    """As if it were a file in `distillers`, found there under this name, and taken away again."""
    monkeypatch.setattr(Pixels, "name", "pixels", raising=False)
    monkeypatch.setattr(Pixels, "summary", "mean pixels", raising=False)
    return Pixels


FAULTS = ("made on the host", "through NumPy", "drawn by the host's generator", "gathered by the host")


def test_a_method_without_fault_passes(pixels, data):
    assert stays(made(pixels(), data))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_method_is_caught(fault, pixels, data):
    assert torch.isfinite(made(pixels(fault=fault), data.to("cpu")).images).all()  # a CPU does not mind
    with pytest.raises((RuntimeError, TypeError), match="device"):
        made(pixels(fault=fault), data)


# ---- methods ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "init"), [(name, init) for name, m in METHODS.items() for init in m.inits])
def test_methods_with_each_start(name, init, data):
    assert stays(made(brief(name, iterations=2), data, init=init))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", METHODS)
def test_a_set_is_stopped_goes_on_is_saved_and_judged(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "EVERY", 0)
    monkeypatch.setattr(state, "SHARE", 1e9)
    place, method = Unfinished(tmp_path / "unfinished"), brief(name, iterations=3)

    def stop(done, *_):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        made(method, data, unfinished=place, progress=stop)
    seen = []
    found = made(method, data, unfinished=place, progress=lambda done, *_: seen.append(done))
    assert seen[0] == 2
    file = tmp_path / "set.safetensors"
    found.save(file)
    on_host = SyntheticSet.load(file)
    assert not on_host.images.is_cuda
    judge = protocol(name, data, NET, ipc=2, factor=found.formation.factor, learned_lr=found.meta.get("lr"), epochs=1)
    for synthetic in (found, on_host):  # the data say where a set is judged
        assert len(evaluate(synthetic, data, network=NET, protocol=judge, repeats=2).values) == 2
    assert found.pixels().is_cuda
    assert 0 <= taught(found, data) <= 1


def whitens() -> list[tuple[str, str]]:
    return [(name, kind) for name in METHODS for kind in whitening.WHITENINGS if kind != "none" and _can(name, kind)]


def _can(name, kind):
    try:
        return bool(make(name, zca=kind))
    except InputError:  # says that its images cannot be whitened
        return False


@pytest.mark.parametrize(("name", "kind"), whitens())
def test_whitened(name, kind, data):
    found = made(brief(name, iterations=1, zca=kind), data)
    assert stays(found)
    assert found.pixels().is_cuda


def separable() -> list[str]:
    found = []
    for name in METHODS:
        try:
            check_adaptive(short(name), network(NET, (3, 8, 8), 3))
        except InputError:
            continue
        found.append(name)
    return found


@pytest.mark.parametrize("name", separable())
def test_adaptive_pruning(name, data):
    found = made(brief(name, iterations=2), data, adaptive=Adaptive(0.4, lazy=2))
    assert stays(found)
    assert found.meta["adaptive"]["dropped"] > 0


@pytest.mark.parametrize("name", separable())
def test_effects_by_each_variant_and_by_definition(name, data):
    variants = [*VARIANTS, ite_variants.DEFINITION]
    found = ite_variants.measure(brief(name), data, ipc=1, network=NET, ages=[1], variants=variants)
    assert set(found["variant"]) == set(variants)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, Matching)])
def test_representative_batches(name, data):
    found = made(brief(name, iterations=2, batch=4), data, represent=Representative(interval=1))
    assert stays(found)


@pytest.mark.parametrize("name", METHODS)
def test_networks_with_running_statistics(name, data):
    try:
        found = made(brief(name, iterations=2), data, network=f"{NET},norm=batch")
    except InputError:  # says that it cannot
        return
    assert stays(found)


def test_memory_is_looked_at_before_a_long_graph(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1000, 80 << 30))
    with pytest.raises(InputError, match="GB are free"):
        made(brief("mtt", iterations=1), data)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_students_of_trajectories(checkpoint, data, tmp_path):
    found = made(brief("mtt", iterations=1, checkpoint=checkpoint), data, home=tmp_path)
    buffer = experts.load(tmp_path / found.meta["experts"], 1)
    start = buffer.parameters(0, 0, found.images.device)
    assert student_path(found, start).is_cuda


# ---- what a GPU is waited for -----------------------------------------------------------------------------------


def waited(method, data, rounds=4, **settings):
    """In the last of a few rounds at IPC 1: what keeps the host, see `waits` for what that cannot see."""
    method = method.resolved(data, 1)
    rng = torch.Generator(data.device).manual_seed(0)
    run = Run(method, data, method.start(data, 1, method.default_init, rng, NET), NET, rng, **settings)
    run.state = method.prepare(run)
    for _ in range(rounds - 1):
        method.step(run)
    with waits() as found:
        method.step(run)
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [("dc", {}), ("dc", {"augment": True}), ("dsa", {}), ("dm", {}), ("dm", {"augment": False}), ("idc", {})],
)
def test_a_round_never_waits_for_the_gpu(name, options, data):
    assert waited(brief(name, iterations=9, **options), data) == []


@pytest.mark.parametrize(("name", "turns"), [("dc", 2), ("dm", 1), ("idc", 2)])
def test_a_decision_about_a_batch_waits_twice(name, turns, data):
    """For mean and variance of the ITEs, and for which samples are inside."""
    found = waited(brief(name, iterations=9), data, adaptive=Adaptive(0.4, lazy=1))
    assert len(found) == 2 * turns * data.num_classes
    assert {place.partition(" at ")[2].partition(",")[0] for place in found} == {
        "distillers/batches.py",
        "pruning/adaptive.py",
    }


def test_a_batch_is_normalised_and_mixed_unwaited(data):
    """The first batch brings mean and deviation to the GPU; each part of the data has its own."""
    for part in (data, data.subset(torch.arange(9, device="cuda"))):
        with waits() as found:
            part.batch()
        assert len(found) == 2
        with waits() as found:
            images = part.batch(torch.arange(4, device="cuda"))
            cutmix(images, torch.eye(4, device="cuda", dtype=torch.float32), torch.Generator().manual_seed(0))
        assert found == []
    views = Views.draw(4, (8, 8), torch.Generator().manual_seed(0), least=0.5)
    with waits() as found:
        views = views.to("cuda")
    assert found == []
    with waits() as found:
        views.to("cpu")
    assert len(found) == 4


# ---- indicators, coresets -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the networks have hardly learned")
@pytest.mark.parametrize("mode", ["auto", "mixed"])
@pytest.mark.parametrize("name", INDICATORS)
def test_indicators(name, mode, data, monkeypatch):
    monkeypatch.setenv("BILP_SPEED", mode)
    options = {key: value for key, value in TINY.items() if key in options_of(name)}
    scores = score(data, name, **{**options, **({"epochs": 1} if "epochs" in options else {})})
    assert not scores.is_cuda
    kept = keep(scores, data.labels.cpu(), 0.5)
    assert data.subset(kept).labels.is_cuda


def test_what_studies_measure(data):
    rows = mislabelled.accuracies(
        data, data, {"x": torch.arange(24.0)}, [0.5], Recipe(1, 0.01, batch=8), network=NET, repeats=2
    )
    assert rows["value"].between(0, 100).all()
    found = rankings.losses(data, 1, **PROBED)
    assert found["late"].shape == found["early"].shape == (2, 24)
    net = network(NET, data.shape, 3).to("cuda")
    start = {name: values.detach() for name, values in net.named_parameters()}
    target = {name: values + 0.1 for name, values in start.items()}
    rows = first_order_errors(net, start, target, data.batch()[:6], data.labels[:6], steps=[2], rates=[0.1])
    assert rows["error"].between(0, 1).all()


def test_coresets(data):
    features = torch.rand(24, 5, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    layer = coresets.LastLayer(features, features[:, :3].contiguous(), data.labels)
    held, rest = (torch.arange(24, device="cuda")[part] for part in (slice(6), slice(6, None)))
    train, validation = layer.subset(rest), layer.subset(held)
    orders = [coresets.herding(features, 5)]
    orders += [order for gradient in GRADIENTS for order in coresets.craig(layer, gradient)]
    for picks in PICKS:
        orders += coresets.gradmatch(layer, 0.5, picks=picks)
    for scope in SCOPES:
        orders += coresets.glister(train, validation, eta=0.1, rounds=2, scope=scope)
    assert all(order.is_cuda for order in orders)


# ---- networks, training, augmentation -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [f"{name}:frames=3" if name == "convnet-gru" else name for name in NETWORKS])
def test_networks_train_and_are_measured(spec, data):
    large = replace(data, images=data.images[:2].repeat(1, 1, 4, 4), labels=data.labels[:2])
    ensemble = Ensemble(spec, large.shape, 3, [0, 1], "cuda", batch=2)
    fit(ensemble, large, Recipe(epochs=1, lr=0.01, batch=2))
    accuracy, loss = measure(ensemble, large)
    assert accuracy.is_cuda
    assert loss.is_cuda


STRATEGIES = (
    "_".join(augment.DSA_WORDS),
    "idc:" + "_".join(augment.DSA_WORDS),
    *(f"dc:{word}" for word in augment.DC_WORDS),
    *(f"frepo:{word}" for word in augment.FREPO_WORDS),
)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_augmentations(strategy, data):
    drawn = augment.draw(strategy, 6, data.shape[1:], torch.Generator())  # by the host, so that a GPU need not wait
    assert augment.apply(data.batch()[:6], drawn).is_cuda


# ---- evaluation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["plain", "auto", "mixed"])
@pytest.mark.parametrize("name", sorted({kind: name for name, kind in JUDGED.items()}.values()))
def test_protocols(name, mode, data, monkeypatch):
    monkeypatch.setenv("BILP_SPEED", mode)
    synthetic = initial(data, 2, "real", torch.Generator("cuda"))
    for more in ({}, {"cutmix": 1.0, "test_every": 1}):
        if more and protocol(name, data, NET).loss != "cross_entropy":
            more = {"test_every": 1}  # a squared loss knows no shares
        judge = protocol(name, data, NET, epochs=2, **more)
        found = evaluate(synthetic, data, network=NET, protocol=judge, repeats=2)
        assert all(0 <= value <= 1 for value in found.values)


def test_soft_labels_and_what_stands_beside(data):
    synthetic = initial(data, 2, "real", torch.Generator("cuda"))
    soft = replace(synthetic, labels=torch.nn.functional.one_hot(synthetic.labels, 3).float())
    for one in (synthetic, soft):
        for loss in ("cross_entropy", "mse"):
            assert evaluate(one, data, network=NET, protocol=replace(QUICK, loss=loss), repeats=2).values
    own = evaluate(soft, data, network=NET, protocol=QUICK, repeats=2)
    assert fair(soft, own, data, data, network=NET, protocol=QUICK, repeats=2, epochs=1).hard.values
    found = beside(synthetic, data, data, network=NET, protocol=QUICK, repeats=2, full=True)
    assert found.real is not None
    assert found.every is not None
    assert relative_diversity(data.batch(), data.labels, torch.arange(9, device="cuda")).is_cuda


# ---- all of it, as users call it ------------------------------------------------------------------------------------


def test_trials_and_their_plan(monkeypatch):
    monkeypatch.setenv("BILP_DEVICE", "cuda")
    tiny = {"network": NET, "repeats": 2, "evaluation": {"epochs": 1}, "ratio": 0.5, "criterion": "el2n"}
    probe = {"trials": 1, "epochs": 1, "network": "mlp"}
    asked = [
        Trial("digits", method=name, score=probe, options={**SHORT.get(name, {}), "iterations": 1}, **tiny)
        for name in ("dm", "mtt")
    ]
    assert plan(asked[:1], engine="inline").seconds > 0
    records = run(asked, engine="inline", progress=False)
    assert set(records["device"]) == {"emulated GPU"}
