"""bilp import, export, merge, show: sets that come from elsewhere or go there."""

import argparse
from pathlib import Path

from ..errors import InputError
from . import words
from .files import load, options_given
from .sets import check_set, finished, judged


def import_set(args: argparse.Namespace) -> None:
    """A set of another repository, what it was taken to be, and whether it teaches anything of these classes."""
    from .. import evaluation
    from ..synthetic import Told, describe, imported
    from ..trials.provenance import device

    out = check_set(args.out)
    told = Told(
        values=args.values, mean=_mean(args.mean), std=_numbers(args.std), zca=args.zca,
        labels=args.labels, lr=args.lr, factor=args.factor, decode=args.decode, experiment=args.experiment,
        method=args.method, network=args.network, classes=tuple(args.classes) if args.classes else None,
    )  # fmt: skip
    train = load(args, need="train").train
    made = imported(args.files, args.like, train, told)
    for line in describe(made, train):
        print(line)
    place = device()
    real = evaluation.seen(made, train.to(place))
    finished(made, out, args, real)
    words.taught(
        evaluation.taught(made, real, seed=0), evaluation.chance(train),
        " of these classes: another order of them (--classes), other numbers (--values, --mean, --zca), or another "
        "data set",
    )  # fmt: skip


def _mean(given: list[str] | None) -> tuple[float, ...] | str | None:
    if given and len(given) == 1 and given[0].isidentifier():
        return given[0]  # data, or the name of a data set
    return _numbers(given)


def _numbers(given: list[str] | None) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(float(word) for word in given)
    except ValueError:
        raise InputError(f"{' '.join(given or ())!r}: must be a number a channel") from None


def export(args: argparse.Namespace) -> None:
    """Files for other code; with data, what they cost in accuracy."""
    from .. import evaluation
    from ..synthetic import SyntheticSet, exported, imported
    from ..trials.provenance import device
    from ..utils.progress import Progress

    if args.data and args.to not in ("folder", "pt", "npz"):
        raise InputError("--data: accuracies are compared for exports to folder, pt and npz")
    synthetic = SyntheticSet.load(args.file)
    data = load(args, need="test") if args.data else None
    if data:
        evaluation.check_same(synthetic, data.test)
    made = exported(synthetic, args.out, args.to, stored=args.stored)
    kind = "as they are stored" if args.stored else "as networks see them"
    print(f"{args.out}: {made.images} images {kind}: {', '.join(path.name for path in made.files)}")
    for left in made.left:
        words.warning(left)
    if args.to == "folder":
        print(f"{made.clipped:.2%} of their values are not in [0, 1] and were clipped; the others were rounded by "
              f"{made.rounding:.2f} grey levels on average")  # fmt: skip
    if not data:
        if args.to == "folder":
            print("what that costs in accuracy: say --data DATA")
        return
    again = imported([args.out], args.to, data.test)
    test = evaluation.seen(synthetic, data.test.to(device()))
    _, network, recipe = judged(synthetic, test, None, None, options_given(args.set))
    for name, one in (("as it was", synthetic), ("exported", again)):
        with Progress(name) as bar:
            found = evaluation.evaluate(
                one, test, network=network, protocol=recipe, repeats=args.repeats, seed=args.seed, progress=bar
            )
        print(f"accuracy {name}: {found} over {args.repeats} networks ({network})")


def merge(args: argparse.Namespace) -> None:
    """Sets of different classes as one; all parts of one distillation, if they are parts."""
    from ..distillers import joined
    from ..synthetic import SyntheticSet, merged

    out = check_set(args.out)
    sets = {path: SyntheticSet.load(path) for path in args.files}
    parts = not args.classes and all("part" in one.meta for one in sets.values())
    made = joined(list(sets.values())) if parts else merged(sets, args.classes)
    print(f"classes: {', '.join(made.classes)}")
    finished(made, out, args, None)


def show(args: argparse.Namespace) -> None:
    """The card of a set."""
    from ..evaluation import card, known_accuracies
    from ..synthetic import SyntheticSet

    synthetic = SyntheticSet.load(args.file)
    print(card(synthetic, Path(args.file).name, known_accuracies(args.file, synthetic)), end="")


def layouts(_: argparse.Namespace) -> None:
    from ..synthetic import layouts as lines

    print("layouts (bilp import --like NAME, bilp export --to NAME)")
    for line in lines():
        print(f"  {line}")
