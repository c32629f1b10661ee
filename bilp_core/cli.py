"""The `bilp` command. Heavy imports wait inside the commands, so that --help answers at once."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .errors import InputError
from .files import Unfinished, atomic, check_output
from .progress import Progress

if TYPE_CHECKING:
    from .data import Splits


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        if args.device != "auto":
            os.environ["BILP_DEVICE"] = args.device
        if getattr(args, "engine", None):
            os.environ["BILP_ENGINE"] = args.engine
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("bilp: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if args.debug or os.environ.get("BILP_DEBUG") == "1":
            raise
        wrong_input = isinstance(error, InputError)
        kind = "" if wrong_input or isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        print(f"bilp: error: {kind}{error}", file=sys.stderr)
        return 2 if wrong_input else 1
    return 0


# ---- commands -----------------------------------------------------------------------------------------------


def _data_list(_: argparse.Namespace) -> None:
    from .data import DATASETS

    for name, about in DATASETS.items():
        c, h, w = about.shape
        print(f"{name:14} {about.classes:4} classes of {c}x{h}x{w}  {about.title}; licence: {about.licence}")
    print("FOLDER         any folder with train/<class>/* and test/<class>/* (jpg, png, webp)")


def _data_check(args: argparse.Namespace) -> None:
    from .data import check

    if args.json and args.json != "-":
        check_output(args.json)
    report = check(_load(args))
    if args.json:
        _write_json(report, args.json)
        return
    classes = report.pop("classes")
    width = max(map(len, classes))
    for name, counts in classes.items():
        print(f"{name:{width}}  {counts['train']:7} train  {counts['test']:7} test")
    for name, value in report.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _score(args: argparse.Namespace) -> None:
    import numpy as np

    from .data import cache_home
    from .indicators import resolve, score
    from .trials import device

    out = check_output(args.out, ".npz")
    options = _settings(args.set)
    resolve(args.indicator, "", options)  # a misspelt option should not wait for the data
    train = _load(args).train.to(device())
    settings = {"indicator": args.indicator, "options": resolve(args.indicator, train.name, options)}
    about = json.dumps({**settings, "data": train.name, "seed": args.seed})
    with Unfinished(cache_home() / "unfinished") as unfinished:
        with Progress(args.indicator) as bar:
            scores = score(train, args.indicator, seed=args.seed, progress=bar, unfinished=unfinished, **options)
        with atomic(out) as path:
            np.savez(path, scores=scores.numpy(), labels=train.labels.cpu().numpy(), settings=np.array(about))
    print(f"{out}: {len(scores)} scores, from {scores.min():.4g} to {scores.max():.4g}")


def _prune(args: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from .indicators import score
    from .pruning import keep

    out = check_output(args.out, ".npy")
    train = _load(args).train
    if args.drop == "random":
        scores, drop = score(train, "random", seed=args.seed), "largest"
    else:
        if args.scores is None:
            raise InputError(f"--drop {args.drop} needs --scores FILE, as `bilp score` writes it")
        scores, drop = _read_scores(args.scores, train.labels.numpy()), args.drop
    kept = keep(torch.as_tensor(scores), train.labels, args.ratio, drop)
    with atomic(out) as path:
        np.save(path, kept.numpy())
    for name, count, left in zip(
        train.classes, train.counts().tolist(), train.subset(kept).counts().tolist(), strict=True
    ):
        print(f"{name}: kept {left} of {count}")


def _methods(_: argparse.Namespace) -> None:
    from .distill import METHODS, options_of
    from .indicators import INDICATORS
    from .indicators import options_of as indicator_options

    print("methods (bilp distill --method NAME --set OPTION=VALUE)")
    for name, method in METHODS.items():
        print(f"  {name:12} {method.summary}; starts from {method.default_init}")
        print(f"  {'':12} {' '.join(f'{key}={value}' for key, value in options_of(name).items())}")
    print("indicators (bilp score --indicator NAME --set OPTION=VALUE); some defaults differ by data set")
    for name, indicator in INDICATORS.items():
        print(f"  {name:12} {indicator.summary}")
        if options := indicator_options(name):
            print(f"  {'':12} {' '.join(f'{key}={value}' for key, value in options.items())}")


def _distill(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from . import distill
    from .adaptive import Adaptive
    from .data import cache_home
    from .networks import network
    from .trials import device, provenance

    out = check_output(args.out, ".safetensors")
    picture = check_output(Path(args.out).with_suffix(".png"))
    method = distill.make(args.method, **_settings(args.set))
    adaptive = Adaptive(args.adaptive, args.lazy, args.tails, args.effect) if args.adaptive is not None else None
    train = _load(args).train
    if adaptive:
        distill.check_adaptive(method, network(args.network, train.shape, train.num_classes))
    kept = _read_kept(args.keep, len(train)) if args.keep else None
    place = device()
    train = method.whitened(train.to(place), args.ipc)
    if kept is not None:
        train = train.subset(kept)
    with Unfinished(cache_home() / "unfinished") as unfinished:
        with Progress(args.method) as bar:
            made = distill.distill(
                method, train, args.ipc,
                network=args.network, init=args.init, seed=args.seed, adaptive=adaptive, progress=bar,
                unfinished=unfinished,
            )  # fmt: skip
        made = replace(made, meta={**made.meta, "provenance": provenance(place)})
        made.save(out)
    with atomic(picture) as path:
        made.grid().save(path)
    print(f"{out}: {len(made.images)} images; {picture} shows them, one row a class")


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluate import evaluate, protocol
    from .networks import evaluation_spec
    from .synthetic import SyntheticSet
    from .trials import device, provenance

    if args.json and args.json != "-":
        check_output(args.json)
    synthetic = SyntheticSet.load(args.file)
    method = args.method or synthetic.meta.get("method", "dm")
    network = args.network or evaluation_spec(synthetic.meta.get("network", "convnet"))
    place = device()
    test = _load(args).test.to(place)
    ipc, factor = len(synthetic.images) // len(synthetic.classes), synthetic.formation.factor
    learned = synthetic.meta.get("lr") if args.method in (None, synthetic.meta.get("method")) else None
    recipe = protocol(method, test, network, ipc=ipc, factor=factor, learned_lr=learned, **_settings(args.set))
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
        _write_json(report, args.json)
    if args.json != "-":
        print(
            f"accuracy {100 * found.mean:.2f} ± {100 * found.std:.2f} % over {len(found.values)} networks ({network})"
        )


def _run(args: argparse.Namespace) -> None:
    from . import book, engines

    engines.check()
    axes = {name: values for name, *values in args.sweep or []}
    if len(axes) < len(args.sweep or []) or not all(axes.values()):
        raise InputError("--sweep: write NAME VALUE VALUE ..., each NAME once")
    if axes:
        os.environ.update(engines.for_small_jobs())
        for path in book.sweep(args.chapter, axes, args.preset, dict(args.parameters or [])):
            print(path)
    else:
        book.run_chapter(args.chapter, args.preset, dict(args.parameters or []))


def _book(args: argparse.Namespace) -> None:
    from . import book, engines

    engines.check()
    if args.notebooks:
        for path in book.notebooks(args.preset):
            print(path)
    else:
        book.build(args.preset, draft=args.draft)


# ---- what they read and write -------------------------------------------------------------------------------


def _load(args: argparse.Namespace) -> "Splits":
    from .data import load

    with Progress("reading") as bar:
        return load(args.data, root=args.root, size=args.size, progress=bar)


def _settings(pairs: Sequence[Sequence[str]] | None) -> dict[str, Any]:
    """name=value words, each value read as YAML."""
    import yaml

    found: dict[str, Any] = {}
    for word in [word for group in pairs or [] for word in group]:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"--set {word!r}: write name=value")
        try:
            found[name] = float(text) if _is_exponent(text) else yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {word!r}: {text!r} is not a value") from None
    return found


def _is_exponent(text: str) -> bool:
    """1e-3, which YAML would read as text, though nobody on a command line means text."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower()


def _array(path: str, key: str | None) -> Any:
    """The array in an .npy file, or the one called `key` in an .npz file."""
    import zipfile

    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded if key is None else _refuse(path, "holds a single array: it is not what `bilp score` writes")
        with loaded:
            if key is None:
                _refuse(path, "holds named arrays: it is not what `bilp prune` writes")
            if key not in loaded:
                _refuse(path, f"holds no array {key!r}: it is not what `bilp score` writes")
            return loaded[key]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):  # NumPy's words are about pickles, which we never read
        raise InputError(f"{path} cannot be read: it is damaged, or no file of NumPy arrays") from None


def _refuse(path: str, why: str) -> NoReturn:
    raise InputError(f"{path} {why}")


def _read_scores(path: str, labels: Any) -> Any:
    """Scores that belong to the training split with these labels."""
    import numpy as np

    scores, own = _array(path, "scores"), _array(path, "labels")
    if scores.ndim != 1 or not np.issubdtype(scores.dtype, np.floating):
        _refuse(path, f"holds scores {scores.dtype} {list(scores.shape)}: must be one row of real numbers")
    if scores.shape != labels.shape or own.shape != labels.shape or (own != labels).any():
        _refuse(path, f"holds scores of {len(scores)} samples of other data: its labels do not match DATA")
    return scores


def _read_kept(path: str, count: int) -> Any:
    """Indices of the samples to keep: whole numbers below `count`, none twice."""
    import numpy as np
    import torch

    kept = _array(path, None)
    if not isinstance(kept, np.ndarray) or kept.ndim != 1 or not np.issubdtype(kept.dtype, np.integer) or not len(kept):
        raise InputError(f"{path}: must hold one row of whole numbers, as `bilp prune` writes it")
    if kept.min() < 0 or kept.max() >= count:
        raise InputError(f"{path}: index {kept.max() if kept.max() >= count else kept.min()} is not in 0..{count - 1}")
    if len(np.unique(kept)) < len(kept):
        raise InputError(f"{path}: some indices are there twice")
    return torch.from_numpy(kept.astype(np.int64))


def _write_json(report: dict[str, Any], where: str) -> None:
    text = json.dumps(report, indent=1)
    if where == "-":
        print(text)
    else:
        with atomic(check_output(where)) as path:
            path.write_text(text + "\n")


# ---- usage --------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where to compute")
    common.add_argument("--debug", action="store_true", help="show where an error came from")

    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    source.add_argument("--root", metavar="DIR", help="where named data sets lie ($BILP_DATA, else data/)")
    source.add_argument("--size", type=int, metavar="PIXELS", help="bring a folder's images to this size")

    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument("--seed", type=_seed, default=0, help="all randomness follows from it (0)")

    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--set", nargs="+", action="append", metavar="NAME=VALUE", help="change options, such as epochs=10"
    )

    parser = argparse.ArgumentParser(
        prog="bilp", description="Prune real data before and during dataset distillation, and distil it."
    )
    parser.add_argument("--version", action="version", version=f"bilp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, *parents: argparse.ArgumentParser, into: Any = None) -> Any:
        made = (into or commands).add_parser(name, help=about, description=about, parents=[*parents, common])
        made.set_defaults(run=run)
        return made

    data = commands.add_parser("data", help="list the data sets, or check one", description="data sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    command("list", _data_list, "the data sets known by name", into=actions)
    sub = command("check", _data_check, "read a data set and report what is in it", source, into=actions)
    sub.add_argument("--json", metavar="FILE", help="write the report as JSON (- for standard output)")

    command("methods", _methods, "the distillers and indicators, and what --set can change in each")

    sub = command("score", _score, "score every training sample: larger = harder", source, seed, options)
    sub.add_argument("--indicator", default="loss", metavar="NAME", help="see `bilp methods` (loss)")
    sub.add_argument("--out", required=True, metavar="FILE.npz", help="arrays scores and labels")

    sub = command("prune", _prune, "choose the samples to keep, class by class", source, seed)
    sub.add_argument("--scores", metavar="FILE.npz", help="what `bilp score` wrote")
    sub.add_argument("--ratio", type=float, required=True, help="share of each class to remove, in [0, 1)")
    sub.add_argument("--drop", default="largest", choices=["largest", "smallest", "random"], help="what goes (largest)")
    sub.add_argument("--out", required=True, metavar="FILE.npy", help="indices that stay, int64")

    sub = command("distill", _distill, "distil the training images into a few", source, seed, options)
    sub.add_argument("--method", default="dc", metavar="NAME", help="see `bilp methods` (dc)")
    sub.add_argument("--ipc", type=int, default=1, help="synthetic images per class (1)")
    sub.add_argument("--keep", metavar="FILE.npy", help="use these samples only (`bilp prune`)")
    sub.add_argument(
        "--adaptive",
        type=float,
        metavar="RATE",
        help="prune every real batch too, by ITE: the share to drop, in (0, 1)",
    )
    sub.add_argument("--lazy", type=int, default=10, metavar="STEPS", help="steps of a class one decision serves (10)")
    sub.add_argument("--tails", default="both", help="which ITE go: both, largest or smallest (both)")
    sub.add_argument(
        "--effect", default="sketch", metavar="NAME", help="how the ITE is found (sketch); see the chapter"
    )
    sub.add_argument("--init", metavar="NAME", help="noise, real or herd; idc: mix, random or noise (the method's own)")
    sub.add_argument("--network", default="convnet", metavar="SPEC", help="e.g. convnet:depth=2,width=32 (convnet)")
    sub.add_argument(
        "--out", required=True, metavar="FILE.safetensors", help="the synthetic set; a PNG is written beside it"
    )

    sub = command("evaluate", _evaluate, "train fresh networks on a synthetic set and test them", seed, options)
    sub.add_argument("file", metavar="FILE.safetensors")
    sub.add_argument("data", metavar="DATA", help="a name (`bilp data list`) or a folder of images")
    sub.add_argument("--root", metavar="DIR", help="where named data sets lie ($BILP_DATA, else data/)")
    sub.add_argument("--size", type=int, metavar="PIXELS", help="bring a folder's images to this size")
    sub.add_argument("--network", metavar="SPEC", help="network to train (the one it was distilled with)")
    sub.add_argument("--method", metavar="NAME", help="whose protocol (the one it was distilled with)")
    sub.add_argument("--repeats", type=int, default=5, help="networks to train (5)")
    sub.add_argument("--json", metavar="FILE", help="write mean, std, accuracies, … (- for standard output)")

    preset = argparse.ArgumentParser(add_help=False)
    preset.add_argument("--preset", default="quick", metavar="NAME", help="quick or paper (quick)")
    preset.add_argument("--engine", metavar="NAME", help="where trials run: local, ray or inline ($BILP_ENGINE; local)")
    sub = command("run", _run, "execute one chapter of the book and render it", preset)
    sub.add_argument("chapter", metavar="CHAPTER", help="such as redundancy")
    sub.add_argument(
        "-p", nargs=2, action="append", dest="parameters", metavar=("NAME", "VALUE"), help="change a parameter"
    )
    sub.add_argument(
        "--sweep", nargs="+", action="append", metavar=("NAME", "VALUE"),
        help="one run for each value, side by side; given twice: for each combination",
    )  # fmt: skip
    sub = command("book", _book, "execute what changed and render the book", preset)
    sub.add_argument("--draft", action="store_true", help="render only, execute nothing")
    sub.add_argument("--notebooks", action="store_true", help="write the chapters as .ipynb instead")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in 0..{2**31 - 1}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
