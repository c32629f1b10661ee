"""Commands for a user's own data."""

import argparse
import json
from pathlib import Path

from ..errors import InputError
from ..utils.files import Unfinished, atomic, check_output
from ..utils.progress import Progress
from .files import load, options_given, read_kept, read_scores, write_json


def data_list(_: argparse.Namespace) -> None:
    from ..data.datasets import DATASETS

    for name, about in DATASETS.items():
        c, h, w = about.shape
        print(f"{name:14} {about.classes:4} classes of {c}x{h}x{w}  {about.title}; licence: {about.licence}")
    print("FOLDER         any folder with train/<class>/* and test/<class>/* (jpg, png, webp)")


def data_check(args: argparse.Namespace) -> None:
    from ..data.checking import check

    if args.json and args.json != "-":
        check_output(args.json)
    report = check(load(args))
    if args.json:
        write_json(report, args.json)
        return
    classes = report.pop("classes")
    width = max(map(len, classes))
    for name, counts in classes.items():
        print(f"{name:{width}}  {counts['train']:7} train  {counts['test']:7} test")
    for name, value in report.items():
        print(f"{name.replace('_', ' ')}: {value}")


def score(args: argparse.Namespace) -> None:
    import numpy as np

    from ..data.cache import cache_home
    from ..indicators import resolve, score
    from ..trials.provenance import device

    out = check_output(args.out, ".npz")
    options = options_given(args.set)
    resolve(args.indicator, "", options)  # a misspelt option should not wait for the data
    train = load(args).train.to(device())
    settings = {"indicator": args.indicator, "options": resolve(args.indicator, train.name, options)}
    about = json.dumps({**settings, "data": train.name, "seed": args.seed})
    with Unfinished(cache_home() / "unfinished") as unfinished:
        with Progress(args.indicator) as bar:
            scores = score(train, args.indicator, seed=args.seed, progress=bar, unfinished=unfinished, **options)
        with atomic(out) as path:
            np.savez(path, scores=scores.numpy(), labels=train.labels.cpu().numpy(), settings=np.array(about))
    print(f"{out}: {len(scores)} scores, from {scores.min():.4g} to {scores.max():.4g}")


def prune(args: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from ..indicators import score
    from ..pruning.classwise import keep

    out = check_output(args.out, ".npy")
    train = load(args).train
    if args.drop == "random":
        scores, drop = score(train, "random", seed=args.seed), "largest"
    else:
        if args.scores is None:
            raise InputError(f"--drop {args.drop} needs --scores FILE, as `bilp score` writes it")
        scores, drop = read_scores(args.scores, train.labels.numpy()), args.drop
    kept = keep(torch.as_tensor(scores), train.labels, args.ratio, drop)
    with atomic(out) as path:
        np.save(path, kept.numpy())
    for name, count, left in zip(
        train.classes, train.counts().tolist(), train.subset(kept).counts().tolist(), strict=True
    ):
        print(f"{name}: kept {left} of {count}")


def methods(_: argparse.Namespace) -> None:
    from ..distillers import METHODS, options_of
    from ..indicators import INDICATORS
    from ..indicators import options_of as indicator_options

    print("methods (bilp distill --method NAME --set OPTION=VALUE)")
    for name, method in METHODS.items():
        print(f"  {name:12} {method.summary}; starts from {method.default_init}")
        print(f"  {'':12} {' '.join(f'{key}={value}' for key, value in options_of(name).items())}")
    print("indicators (bilp score --indicator NAME --set OPTION=VALUE); some defaults differ by data set")
    for name, indicator in INDICATORS.items():
        print(f"  {name:12} {indicator.summary}")
        if options := indicator_options(name):
            print(f"  {'':12} {' '.join(f'{key}={value}' for key, value in options.items())}")


def distill(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from .. import distillers
    from ..data.cache import cache_home
    from ..nets.networks import network
    from ..pruning.adaptive import Adaptive
    from ..trials.provenance import device, provenance

    out = check_output(args.out, ".safetensors")
    picture = check_output(Path(args.out).with_suffix(".png"))
    method = distillers.make(args.method, **options_given(args.set))
    adaptive = Adaptive(args.adaptive, args.lazy, args.tails, args.effect) if args.adaptive is not None else None
    train = load(args).train
    if adaptive:
        distillers.check_adaptive(method, network(args.network, train.shape, train.num_classes))
    kept = read_kept(args.keep, len(train)) if args.keep else None
    place = device()
    train = distillers.seen(method, train.to(place), args.ipc)
    if kept is not None:
        train = train.subset(kept)
    with Unfinished(cache_home() / "unfinished") as unfinished:
        with Progress(args.method) as bar:
            made = distillers.distill(
                method, train, args.ipc,
                network=args.network, init=args.init, seed=args.seed, adaptive=adaptive, progress=bar,
                unfinished=unfinished,
            )  # fmt: skip
        made = replace(made, meta={**made.meta, "provenance": provenance(place)})
        made.save(out)
    with atomic(picture) as path:
        made.grid().save(path)
    print(f"{out}: {len(made.images)} images; {picture} shows them, one row a class")


def evaluate(args: argparse.Namespace) -> None:
    from ..evaluation.accuracies import evaluate
    from ..evaluation.protocols import protocol
    from ..nets.networks import evaluation_spec
    from ..synthetic.set import SyntheticSet
    from ..trials.provenance import device, provenance

    if args.json and args.json != "-":
        check_output(args.json)
    synthetic = SyntheticSet.load(args.file)
    method = args.method or synthetic.meta.get("method", "dm")
    network = args.network or evaluation_spec(synthetic.meta.get("network", "convnet"))
    place = device()
    test = load(args).test.to(place)
    ipc, factor = len(synthetic.images) // len(synthetic.classes), synthetic.formation.factor
    learned = synthetic.meta.get("lr") if args.method in (None, synthetic.meta.get("method")) else None
    recipe = protocol(method, test, network, ipc=ipc, factor=factor, learned_lr=learned, **options_given(args.set))
    with Progress("evaluate") as bar:
        found = evaluate(
            synthetic, test, network=network, protocol=recipe, repeats=args.repeats, seed=args.seed, progress=bar
        )
    report = {
        "mean": found.mean,
        "std": found.std,
        "accuracies": found.values,
        "network": network,
        "data": test.name,
        "protocol": vars(recipe),
        "seed": args.seed,
        **provenance(place),
    }
    if args.json:
        write_json(report, args.json)
    if args.json != "-":
        print(
            f"accuracy {100 * found.mean:.2f} ± {100 * found.std:.2f} % over {len(found.values)} networks ({network})"
        )
