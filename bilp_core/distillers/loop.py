"""The loop every distiller runs in."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..data.images import ImageData, fingerprint
from ..data.whitening import whitened
from ..errors import Diverged, InputError
from ..evaluation import set_print
from ..nets.memory import free_memory
from ..nets.networks import doubts
from ..pruning.adaptive import Adaptive
from ..pruning.representative import Representative
from ..synthetic.set import SyntheticSet
from ..utils import paths
from ..utils.files import Unfinished
from ..utils.progress import Report, patience
from ..utils.revisions import changed
from .matching import check_adaptive, check_represent, settled
from .method import Distiller
from .parts import Part, check_part, only
from .run import Run
from .starting import start_of
from .state import State
from .stopping import EarlyStop


def seen(method: Distiller, data: ImageData, ipc: int) -> ImageData:
    """`data` as the method sees it, whitened where it wants that: asked of all training data, before any is pruned.

    Raises InputError for images too large to be whitened.

    >>> from bilp_core import load, make
    >>> from bilp_core.distillers import seen
    >>> train, _ = load("digits")
    >>> seen(make("dc"), train, ipc=1) is train
    True
    >>> seen(make("dc", zca="relative"), train, ipc=1).white.shape
    torch.Size([1352, 1, 8, 8])
    """
    return whitened(data, method.resolved(data, ipc).zca)


def check_memory(method: Distiller, data: ImageData, ipc: int, network: str, free: int) -> None:
    """Raise InputError if what a round or the set holds does not fit into `free` bytes, before anything runs."""
    kept = method.kept_bytes(data, ipc)
    if kept > free:
        raise InputError(
            f"{method.name}: labels of views will take {kept / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: fewer "
            "views"
        )
    needed = method.round_bytes(data, ipc, network)
    if needed > free:
        raise InputError(
            f"{method.name}: a round with these settings holds about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB "
            f"are free: {method.smaller()}"
        )


def distill(
    method: Distiller,
    data: ImageData,
    ipc: int,
    *,
    network: str | None = None,
    init: str | SyntheticSet | None = None,
    seed: int = 0,
    adaptive: Adaptive | None = None,
    represent: Representative | None = None,
    home: str | Path | None = None,
    progress: Report | None = None,
    unfinished: Unfinished | None = None,
    part: Part | None = None,
    early: EarlyStop | None = None,
) -> SyntheticSet:
    """Distil `data` (already pruned) into `ipc` images a class.

    network : a spec; None takes the method's own for the size of the images, for most `default_network`.
    data : where the method whitens and `data` is not whitened yet, that is done with the samples there are.
    init : where the images start, the method's own default if None; see `inits` and `start` of the method. Or a
           finished set, whose images then are the start, see `start_of`.
    adaptive : prune real batches by ITE as well; only for methods and networks that `check_adaptive` lets pass.
    represent : match representative real samples in place of random ones; only where real batches are matched.
    home : folder for what a first stage makes (experts), which later calls reuse; that of the store if None.
    part : distil some of the classes, a set of these alone; `joined` makes one of all parts. With DM, which then prunes
    no batches, the result is that of all classes at once (same seed, same draws); with DC, DSA, IDC, IDM and CAFE
    networks tell only the classes of the part from each other.
    early : end before the last round, see `EarlyStop`; how many were run is in the set's `meta`.
    unfinished : keeps the state once a minute, from which the same call goes on to the same result if it is stopped.
    All randomness follows from `seed`; the same seed on the same machine gives the same set.
    Returns a set of normalised or whitened images, float32 [classes x ipc, C, H, W], sorted by class.
    Raises InputError for what cannot work, Diverged when the loss stops being finite. Warns of a network whose last
    norm sees few positions, and of values that ended far out.

    >>> import torch
    >>> from bilp_core import distill, keep, load, make, score
    >>> train, _ = load("digits")
    >>> kept = keep(score(train, "random"), train.labels, ratio=0.9)
    >>> settings = dict(ipc=2, network="convnet:depth=1,width=4", init="noise", seed=3)
    >>> made = distill(make("dm", iterations=2), train.subset(kept), **settings)
    >>> made.images.shape, made.meta["real_samples"] == len(kept)
    (torch.Size([20, 1, 8, 8]), True)
    >>> again = distill(make("dm", iterations=2), train.subset(kept), **settings)
    >>> torch.equal(made.images, again.images)
    True

    Adaptive pruning, of a tenth of each batch:

    >>> from bilp_core.pruning import Adaptive
    >>> made = distill(make("dm", iterations=2), train, adaptive=Adaptive(rate=0.1), **settings)
    >>> 0 < made.meta["adaptive"]["dropped"] < 0.5
    True
    """
    data = seen(method, data, ipc)
    method, given, chosen = method.resolved(data, ipc), None, "set"
    adaptive = settled(method, adaptive, ipc) if adaptive else None
    if isinstance(init, SyntheticSet):
        given, needed = init, 0
    else:
        needed, chosen = method.needs(ipc, init), init or method.default_init
    every_class, own = data.classes, None
    if part:
        check_part(method, network or method.network(data), data, adaptive or represent)
        own = part.classes(data.num_classes)
        if method.parts == "task":
            data, own = only(data, own), None
    for name, count in zip(data.classes, data.counts().tolist(), strict=True):
        if count < needed:
            raise InputError(
                f"class {name!r} has {count} samples: init {chosen!r} with ipc = {ipc} needs {needed}; a smaller ipc, "
                "or init noise, needs fewer"
            )
    network = network or method.network(data)
    if doubt := doubts(network, data.shape):
        warnings.warn(doubt, stacklevel=2)
    settings = {
        "method": [method.name, asdict(method)],
        "start": [ipc, chosen, seed],
        "network": network,
        "adaptive": asdict(adaptive) if adaptive else None,
        **({"represent": asdict(represent)} if represent else {}),
        **({"part": part.about(every_class)} if part else {}),
        **({"early": asdict(early)} if early else {}),
        "device": data.device.type,
        "data set": [data.named, data.flip],
        **({"given": set_print(given)} if given else {}),
        **changed([f"method:{method.name}", f"init:{chosen}", *(["adaptive"] if adaptive else [])]),
    }
    kept = State(unfinished, {**settings, "data": fingerprint(data)} if unfinished else {})
    rng = torch.Generator(data.device).manual_seed(seed)
    start = start_of(given, method, data, ipc) if given else method.start(data, ipc, chosen, rng, network)
    run = Run(method, data, start, network, rng, adaptive, represent, own)
    method.check(run.net)
    if adaptive:
        check_adaptive(method, run.net, adaptive)
    if represent:
        check_represent(method, adaptive)
    check_memory(method, data, ipc, network, free_memory(data.device))
    if stage := method.first_stage(data, network):
        run.stage = stage.make(Path(home) if home else paths.store() / "experts", progress)
    run.state = method.prepare(run)
    done, losses, early = 0, list[float](), early or EarlyStop()
    last = early.last(method.iterations)
    if found := kept.load():
        run.load_state_dict(found["run"])
        done, losses = found["done"], found.get("losses", [])
        if progress:
            progress(done, last, "goes on")
    every, told = max(1, last // 100), time.monotonic()
    for iteration in range(done + 1, last + 1):
        loss, done = method.step(run), iteration
        due = iteration % every == 0 or iteration == last
        if due or time.monotonic() - told > patience(progress):  # slow rounds: the time left should be known soon
            told = time.monotonic()
            # only here, since reading the loss makes a GPU wait
            if not math.isfinite(loss):
                remedy = f"lower image_lr = {method.image_lr}"
                raise Diverged(f"{method.name}: the loss is {float(loss)} at iteration {iteration}; {remedy}")
            if progress:
                progress(iteration, last, f"loss {float(loss):.4g}")
        if early.plateau:
            losses = [*losses[-2 * early.plateau :], float(loss)]
            if early.flat(losses):
                break
        if kept.due() and iteration < last:
            kept.save({"done": iteration, "run": run.state_dict(), "losses": losses})
    if not torch.isfinite(run.images).all() or not torch.isfinite(run.labels).all():
        remedy = f"lower image_lr = {method.image_lr}"
        raise Diverged(f"{method.name}: images or labels are not finite after the last step; {remedy}")
    meta = {
        "method": method.name,
        "options": asdict(method),
        "ipc": ipc,
        "init": chosen,
        "network": network,
        "seed": seed,
        "data": data.name,
        "named": data.named,
        "flip": data.flip,
        "real_samples": sum(data.counts()[run.own.start : run.own.stop].tolist()),
        "seconds": round(kept.seconds, 3),
        **method.learned(run),
        **({"continues": {"print": set_print(given), "method": given.meta.get("method", "")}} if given else {}),
    }
    if adaptive:
        meta["adaptive"] = {**asdict(adaptive), "dropped": run.batches.dropped / max(run.batches.seen, 1)}
    if represent:
        meta["represent"] = asdict(represent)
    if early != EarlyStop():
        meta["early"] = asdict(early)
    if done < method.iterations:
        meta["rounds"] = done
    if part:
        meta["part"] = part.about(every_class)
    made = method.result(run, meta)
    if own:
        made = replace(made, labels=made.labels - own.start, classes=made.classes[own.start : own.stop])
    for doubt in made.doubts():
        warnings.warn(doubt, stacklevel=2)
    return made
