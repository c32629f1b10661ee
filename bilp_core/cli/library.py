"""Commands for a user's own data."""

import argparse
from pathlib import Path

from ..errors import InputError
from ..utils.files import Unfinished, check_output
from ..utils.progress import Progress
from . import shown, words
from .files import load, options_given, reading_of, write_json, write_lines
from .sets import check_set, finished, judged, method_of, remembered, start_from


def data_list(_: argparse.Namespace) -> None:
    from ..data.datasets import DATASETS

    for name, about in DATASETS.items():
        c, h, w = about.shape
        size = f"{about.frames}x" * (about.frames > 1) + f"{c // about.frames}x{h}x{w}"
        print(
            f"{name:19} {about.classes:4} classes of {size}  {about.title}; licence: {about.licence}"
            + "; you bring the files: `bilp data check` says which" * about.stays
        )
    print("FOLDER              any folder with train/<class>/* and test/<class>/* (jpg, png, webp; or videos)")


def data_check(args: argparse.Namespace) -> None:
    """Everything at once; files that cannot be read, or a folder that cannot be used, make the exit status 2."""
    from ..data import DATASETS, check, check_folder
    from ..data.datasets import own_folder
    from ..data.folders import unreadable

    if args.json and args.json != "-":
        check_output(args.json)
    if args.data in DATASETS:
        report = check(load(args))
        if Path(args.data).is_dir():
            shadowed = f"this is the data set {args.data}; the folder of that name here is ./{args.data}"
            report["notes"] = [*report.get("notes", ()), shadowed]
    else:
        with Progress("reading") as bar:
            report = check_folder(own_folder(args.data), reading_of(args), bar)
    if args.json:
        write_json(report, args.json)
    if args.json != "-":
        shown.check(report)
    if bad := report.get("unreadable"):
        raise InputError(unreadable(own_folder(args.data), bad))
    if report.get("verdict", "").startswith("it cannot be used"):
        raise InputError(report["verdict"])


def score(args: argparse.Namespace) -> None:
    from ..data.cache import cache_home
    from ..evaluation import chance
    from ..indicators import INDICATORS, check_until, resolve, save_scores, scored
    from ..trials.provenance import device

    out = check_output(args.out, ".npz")
    options = options_given(args.set)
    check_until(args.indicator, resolve(args.indicator, "", options), args.until)  # nothing misspelt waits for the data
    train = load(args, need="train").train.to(device())
    made = {"indicator": args.indicator, "options": resolve(args.indicator, train, options), "seed": args.seed}
    words.settings(args.indicator, train, {**made["options"], "seed": args.seed})
    kept = Unfinished(cache_home() / "scoring")  # and not cleared: more trials go on from there
    with Progress(args.indicator) as bar:
        found = scored(
            train, args.indicator, seed=args.seed, progress=bar, unfinished=kept, until=args.until, **options
        )
    if found.trials:
        made["options"][INDICATORS[args.indicator].trials] = found.trials  # fewer than there might be, with --until
    save_scores(out, found, train, made)
    print(f"{out}: {len(train)} scores, from {found.values.min():.4g} to {found.values.max():.4g}")
    shown.trials(found, train, INDICATORS[args.indicator].trials, args.until)
    if found.learned is not None:
        print(f"its networks named {found.learned:.1%} of the training images (chance {chance(train):.1%})")
    if doubt := found.doubt(train):
        words.warning(doubt)


def prune(args: argparse.Namespace) -> None:
    from ..data.samples import sample_names
    from ..indicators import load_scores, score
    from ..pruning import keep, save_kept

    out = check_output(args.out, ".npy")
    lists = [path and check_output(path) for path in (args.list, args.list_removed)]
    train = load(args, need="train").train
    if args.drop == "random":
        scores, about = (
            score(train, "random", seed=args.seed),
            {"indicator": "random", "options": {}, "seed": args.seed},
        )
    elif args.scores is None:
        raise InputError(f"--drop {args.drop} needs --scores FILE, as `bilp score` writes it")
    else:
        scores, about = load_scores(args.scores, train, args.trust_indices)
    kept = keep(scores, train.labels, args.ratio, "largest" if args.drop == "random" else args.drop)
    made = {"ratio": args.ratio, "drop": args.drop, **{k: about.get(k) for k in ("indicator", "options", "seed")}}
    names, stays = sample_names(train), train.labels.new_zeros(len(train)).bool()
    stays[kept] = True
    for path, chosen in zip(lists, (stays, ~stays), strict=True):
        if path:
            write_lines(names[chosen.numpy()], path)
    save_kept(out, kept, train, made)
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
    from dataclasses import asdict, replace

    from .. import distillers
    from ..data.cache import cache_home
    from ..data.images import sample_print
    from ..evaluation import chance, taught
    from ..nets.networks import network
    from ..pruning import Adaptive, Representative, load_kept
    from ..trials.provenance import device, provenance

    out = check_set(args.out)
    init = start_from(args.init)
    options = options_given(args.set)
    distillers.make(args.method, **options)  # a misspelt option should not wait for the data
    adaptive = (
        Adaptive(args.adaptive, args.lazy, args.tails, args.effect, args.law) if args.adaptive is not None else None
    )
    represent = Representative(args.interval) if args.batch == "represent" else None
    part = distillers.Part.read(args.part) if args.part else None
    early = distillers.EarlyStop(args.stop, args.plateau) if args.stop or args.plateau else None
    train = load(args, need="train").train
    method = distillers.make(args.method, **{**distillers.suited(args.method, train), **options})
    distillers.check_augment(method, options, train)
    spec = args.network or method.network(train)
    if adaptive:
        distillers.check_adaptive(method, network(spec, train.shape, train.num_classes), adaptive)
    if represent:
        distillers.check_represent(method, adaptive)
    kept = load_kept(args.keep, train, args.trust_indices) if args.keep else None
    place, everyone = device(), {"of": len(train), "data": sample_print(train)[:16]}
    train = distillers.seen(method, train.to(place), args.ipc)
    if kept is not None:
        train = train.subset(kept)
    method = method.resolved(train, args.ipc)
    chosen = {"network": spec, "ipc": args.ipc, "init": args.init or method.default_init, "seed": args.seed}
    words.settings(args.method, train, {**chosen, **asdict(method)})
    words.memory(method.round_bytes(train, args.ipc, spec))
    words.kept(method.kept_bytes(train, args.ipc))
    with Unfinished(cache_home() / "unfinished") as unfinished:
        with Progress(args.method) as bar:
            made = distillers.distill(
                method, train, args.ipc,
                network=spec, init=init, seed=args.seed, adaptive=adaptive, represent=represent,
                progress=bar, unfinished=unfinished, part=part, early=early,
            )  # fmt: skip
        if part:
            train = distillers.only(train, part.classes(train.num_classes))
        made = replace(made, meta={**made.meta, "kept": everyone, "provenance": provenance(place)})
        finished(made, out, args, train)
    if adaptive:
        words.dropped(made.meta["adaptive"])
    if made.decoder:
        print(f"they are made from {made.numbers} numbers, as many as {made.budget:.2f} images a class have")
    words.taught(
        taught(made, train, seed=args.seed), chance(train),
        f": more iterations, another network, or another image_lr (--set image_lr={method.image_lr:g} now) may help",
    )  # fmt: skip


def evaluate(args: argparse.Namespace) -> None:
    """The accuracy of the set, and beside it what it is to be compared with."""
    from .. import evaluation
    from ..synthetic.set import SyntheticSet
    from ..trials.provenance import device, provenance

    if args.json and args.json != "-":
        check_output(args.json)
    synthetic = SyntheticSet.load(args.file)
    method_of(synthetic, args.method)  # a misspelt one should not wait for the data
    place = device()
    train, test = (evaluation.seen(synthetic, half.to(place)) for half in load(args, need="test"))
    method, network, recipe = judged(synthetic, test, args.method, args.network, options_given(args.set))
    if args.fair and not len(train):
        raise InputError("--fair compares with real images: the data have no training half")
    words.settings("evaluation", test, {"network": network, "seed": args.seed, **vars(recipe)})
    with Progress("evaluate") as bar:
        found = evaluation.evaluate(
            synthetic, test, network=network, protocol=recipe, repeats=args.repeats, seed=args.seed, progress=bar
        )
    beside = evaluation.beside(
        synthetic, train, test, network=network, protocol=recipe, repeats=0 if args.no_real else args.repeats,
        full=args.full, seed=args.seed, progress=Progress("to compare with"),
    )  # fmt: skip
    scores = None
    if args.fair:
        scores = evaluation.fair(
            synthetic, found, train, test, network=network, protocol=recipe, repeats=args.repeats,
            epochs=options_given(args.set).get("epochs", 1000), seed=args.seed, progress=Progress("without its labels"),
        )  # fmt: skip
    report = {
        "mean": found.mean,
        "std": found.std,
        "accuracies": found.values,
        **beside.report(),
        **({"fair": scores.report()} if scores else {}),
        "network": network,
        "data": test.name,
        "protocol": vars(recipe),
        "seed": args.seed,
        **provenance(place),
    }
    remembered(args, synthetic, report, method)
    if args.json:
        write_json(report, args.json)
    if args.json != "-":
        count = len(found.values)
        print(f"accuracy {found} over {count} network{'s' * (count > 1)} ({network})")
        for line in [*beside.lines(found), *(scores.lines() if scores else [])]:
            print(line)
