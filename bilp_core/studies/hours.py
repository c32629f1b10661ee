"""What the cells of a preset would take at full size on one GPU, carried on from measured pieces of the work.

A `Piece` is one go of some work: a round of a method, or a training step or a test of one network. It was measured at a
few small sizes (classes of a round, images of a step), on true shapes; a straight line through these gives it at any
other. A trial is so many goes of its pieces (`shares`). Operations are counted, so the least hours on a card, at its
published peak, are a bound and no time that anybody measured; memory is of tensors, counted with batches that pass
whole, as on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace

import numpy as np
import pandas as pd
import torch

from .. import distillers, indicators, report
from ..data.datasets import DATASETS
from ..data.images import ImageData
from ..data.stored import GPU_SHARE
from ..distillers.trajectory import Trajectory
from ..evaluation.protocols import protocol
from ..nets.memory import fitting_tests
from ..nets.networks import evaluation_spec
from ..pruning.classwise import removed
from ..trials import Trial
from .large_data import SAME, named

# clips of public copies; of validation 50 a class (Kay et al., The Kinetics Human Action Video Dataset, 2017)
CLIPS = {"kinetics-400": (215_617, 20_000)}
QUANTITIES = ("convolution_gflop", "product_gflop", "seconds", "peak_mb")


@dataclass(frozen=True)
class Card:
    """A GPU. memory : GB. float32, tf32 : published peaks without sparsity, TFLOP/s; of TF32 on its tensor cores."""

    name: str
    memory: int
    float32: float
    tf32: float


# Sources: NVIDIA Ada GPU Architecture and NVIDIA H100 Tensor Core GPU Architecture (whitepapers, 2022); NVIDIA H200
# datasheet, 2024, whose peaks are those of the H100
CARDS = (Card("RTX 4090", 24, 82.6, 82.6), Card("H100", 80, 66.9, 494.7), Card("H200", 141, 66.9, 494.7))


@dataclass(frozen=True)
class Piece:
    """One go of some work, on true shapes.

    work : "round", "training" (a step of one network) or "test" (of one network). method, ipc : of a round, else "", 0.
    settings : what else decides it: of a round "checkpoint" or nothing, of a training its augmentation.
    """

    work: str
    data: str
    method: str
    ipc: int
    network: str
    settings: str = ""


@dataclass(frozen=True)
class Share:
    """`times` goes of a piece, each of `size` classes or images; the largest of `largest`, with `together` networks at
    once in memory. part : "scores", "experts", "rounds", "training" or "test". besides : bytes that stay meanwhile."""

    part: str
    piece: Piece
    size: float
    times: float
    largest: float
    together: int = 1
    besides: float = 0.0


def shaped(name: str, classes: int = 0, per_class: int = 0, seed: int = 0) -> ImageData:
    """Random images in the shapes of a data set, and with its name: of all classes (0) or of the first few, none or
    some of each.

    >>> from bilp_core.studies.hours import shaped
    >>> data = shaped("kinetics-400", classes=2, per_class=3)
    >>> len(data), data.shape, data.frames, len(shaped("imagenet-64")), shaped("imagenet-64").num_classes
    (6, (24, 64, 64), 8, 0, 1000)
    """
    about, rng = DATASETS[name], torch.Generator().manual_seed(seed)
    labels = torch.arange(classes or about.classes).repeat_interleave(per_class)
    images = torch.randint(0, 256, (len(labels), *about.shape), generator=rng, dtype=torch.uint8)
    names = tuple(str(label) for label in range(classes or about.classes))
    return ImageData(
        images, labels, names, about.mean, about.std, name, about.flip, named=name, frames=about.frames
    )  # fmt: skip


def samples(name: str) -> tuple[int, int]:
    """Of training and test, of a data set that stays on the disk."""
    return DATASETS[name].samples or CLIPS[name]


def kept(trial: Trial) -> int:
    """Training samples that are left, were all classes equally large.

    >>> from bilp_core.studies.hours import kept
    >>> from bilp_core.trials import Trial
    >>> kept(Trial("imagenet-64", criterion="loss", ratio=0.9))
    129000
    """
    classes = DATASETS[trial.data].classes
    each = round(samples(trial.data)[0] / classes)
    return classes * (each - removed(trial.ratio, each)) if trial.prunes else samples(trial.data)[0]


def shares(trial: Trial) -> list[Share]:
    """What a trial consists of: scores if it needs some, experts if its method does, rounds, and networks that judge.

    >>> from bilp_core.studies.hours import shares
    >>> from bilp_core.trials import Trial
    >>> found = shares(Trial("imagenet-64", "dc", network="convnet:depth=4", splits=10, stop=800))
    >>> [(share.part, share.piece.work, share.size, share.times) for share in found]
    [('rounds', 'round', 100.0, 8000), ('training', 'training', 250.0, 6020), ('test', 'test', 255.1, 980)]
    """
    data, (real, tested) = shaped(trial.data), samples(trial.data)
    method = distillers.make(trial.method, **trial.options).resolved(data, trial.ipc)
    count, pixels = trial.ipc * data.num_classes, math.prod(data.shape)
    found = list[Share]()

    def training(
        part: str, network: str, augment: str, of: int, batch: int, times: int, together: int = 1, besides: float = 0.0
    ) -> None:
        """times : epochs of all networks."""
        steps, piece = math.ceil(of / batch), Piece("training", trial.data, "", 0, network, augment)
        found.append(Share(part, piece, of / steps, times * steps, min(of, batch), together, besides))

    if trial.scored:
        probe = indicators.resolve(trial.criterion, data, trial.score)
        training("scores", probe["network"], "none", real, probe["batch"], probe["trials"] * probe["epochs"])
    rounds, size = (trial.stop or method.iterations) * trial.splits, data.num_classes / trial.splits
    piece = Piece("round", trial.data, trial.method, trial.ipc, trial.network)
    # a part that gives what all classes would starts from the images of all
    besides = 4 * pixels * trial.ipc * (data.num_classes - size) if method.parts == "exact" else 0.0
    if isinstance(method, Trajectory):
        own = method.training(data)
        training("experts", trial.network, own.augment, kept(trial), own.batch, method.experts * own.epochs)
        piece = replace(piece, settings="checkpoint" * (method.way() != "unrolled"))
        size = min(method.batch_synthetic or count, count)
    found.append(Share("rounds", piece, size, rounds, size, besides=besides))
    judge, nets = trial.evaluate_on or evaluation_spec(trial.network), trial.repeats
    recipe = protocol(trial.method, data, judge, ipc=trial.ipc, **trial.evaluation).recipe()
    held = 4.0 * pixels * count
    training("training", judge, recipe.augment, count, recipe.batch, nets * recipe.epochs, nets, held)
    together = fitting_tests(data.shape, nets)
    steps, piece = math.ceil(tested / together), Piece("test", trial.data, "", 0, judge)
    found.append(Share("test", piece, round(tested / steps, 2), nets * steps, together, nets, held + pixels * tested))
    return found


def variants(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of one seed, and of methods that can keep one step's graph in the place of all steps' both ways."""
    found = []
    for trial in (trial for trial in trials if trial.seed == 0):
        found.append(trial)
        if hasattr(distillers.METHODS[trial.method], "checkpoint") and "checkpoint" not in trial.options:
            found.append(replace(trial, options={**trial.options, "checkpoint": True}))
    return found


IDENTITY = list(Piece.__dataclass_fields__)


def fitted(measured: pd.DataFrame) -> pd.DataFrame:
    """A straight line of every quantity of a piece: by least squares over the sizes that were measured; of memory, the
    most of several moments, which so bends upwards, through the two largest.

    measured : as `report.measurements("hours")`; the last row of a piece and size counts.
    Returns a row for each quantity and piece that has two sizes or more: the fields of `Piece`, quantity, fixed, slope
    and off, the largest distance of a measurement from the line, as a share of it.

    >>> import pandas as pd
    >>> from bilp_core.studies.hours import IDENTITY, QUANTITIES, fitted
    >>> rows = [["test", "imagenet-64", "", 0, "convnet", "", size, 3 * size, 0, 1, 10 + size] for size in (1, 2, 4)]
    >>> found = fitted(pd.DataFrame(rows, columns=[*IDENTITY, "size", *QUANTITIES])).set_index("quantity").round(6)
    >>> found.loc["peak_mb", ["fixed", "slope", "off"]].tolist()
    [10.0, 1.0, 0.0]
    """
    latest = measured.fillna({"method": "", "settings": ""}).drop_duplicates([*IDENTITY, "size"], keep="last")
    rows = []
    for own, sizes in latest.groupby(IDENTITY, sort=False):
        for name in QUANTITIES if len(sizes) > 1 else ():
            line = sizes.nlargest(2, "size") if name == "peak_mb" else sizes
            slope, fixed = np.polyfit(line["size"], line[name], 1)
            errors = (fixed + slope * sizes["size"] - sizes[name]).abs() / sizes[name].where(sizes[name] > 0, 1)
            rows.append((*own, name, fixed, slope, errors.max()))
    return pd.DataFrame(rows, columns=[*IDENTITY, "quantity", "fixed", "slope", "off"])


def totals(trials: Sequence[Trial], measured: pd.DataFrame) -> pd.DataFrame:
    """A row for each trial and part of it, see `Share`.

    measured : as `report.measurements("hours")`.
    Columns: the fields of a trial, checkpoint, part, convolution and product (PFLOP), hours (of one core of the machine
    that measured), gb (the most at one time); all NaN where a piece was not measured.

    >>> import pandas as pd
    >>> from bilp_core.studies.hours import IDENTITY, QUANTITIES, totals
    >>> from bilp_core.trials import Trial
    >>> dm = Trial("imagenet-64", "dm", splits=4, options={"iterations": 1000})
    >>> piece = ["round", "imagenet-64", "dm", 1, "convnet", ""]
    >>> rows = [[*piece, size, 100 * size, size, 1 + 2 * size, 500 + size] for size in (1, 2, 4)]
    >>> found = totals([dm], pd.DataFrame(rows, columns=[*IDENTITY, "size", *QUANTITIES])).set_index("part")
    >>> [round(float(found[name]["rounds"]), 3) for name in ("convolution", "product", "hours", "gb")]
    [100.0, 1.0, 556.667, 0.787]
    """
    known = {(*row[:-4], row[-4]): row[-3:-1] for row in fitted(measured).itertuples(index=False, name=None)}
    rows = []
    for trial in trials:
        for share in shares(trial):

            def at(name: str, size: float, piece: Piece = share.piece) -> float:
                fixed, slope = known.get((*astuple(piece), name), (math.nan, math.nan))
                return fixed + slope * size

            one = [at(name, share.size) for name in ("convolution_gflop", "product_gflop", "seconds")]
            convolution, product, seconds = (share.times * value for value in one)
            rows.append(
                {
                    **asdict(trial), "checkpoint": bool(trial.options.get("checkpoint")), "part": share.part,
                    "convolution": convolution / 1e6, "product": product / 1e6, "hours": seconds / 3600,
                    "gb": share.together * at("peak_mb", share.largest) / 1e3 + share.besides / 1e9,
                }
            )  # fmt: skip
    return named(pd.DataFrame(rows))


def least_hours(card: Card, convolution: float, product: float, tf32: bool) -> float:
    """Hours on a card at its published peak: no run can be shorter, unless its convolutions are not computed as they
    are written (Winograd's need fewer multiplications). Products never use TF32, see `bilp_core.nets.speed`.

    convolution, product : PFLOP. tf32 : in convolutions.

    >>> from bilp_core.studies.hours import Card, least_hours
    >>> card = Card("fast", memory=24, float32=10.0, tf32=100.0)
    >>> least_hours(card, 3600.0, 36.0, tf32=False), least_hours(card, 3600.0, 36.0, tf32=True)
    (101.0, 11.0)
    """
    return (convolution / (card.tf32 if tf32 else card.float32) + product / card.float32) * 1e3 / 3600


AMOUNTS = ["convolution", "product", "hours"]
STAGES = {"first (PFLOP)": ("scores", "experts"), "rounds (PFLOP)": ("rounds",), "judges (PFLOP)": ("training", "test")}


def work(found: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """What `totals` found, as a table of a page: a row for each set, for the scores of each data set, and for all.

    seeds : sets of each kind in the last row; they share scores and experts.
    """
    sets, scores = found[found["part"] != "scores"], found[found["part"] == "scores"].drop_duplicates("data")
    rows = []
    for _, parts in sets.groupby([*SAME, "version", "checkpoint"], sort=False):
        own = parts.iloc[0]
        rows.append(_worked(_cell(*own[SAME]), own["version"] + ", checkpoint" * int(own["checkpoint"]), parts))
    rows += [_worked(f"{data}, scores", "for all", parts) for data, parts in scores.groupby("data", sort=False)]
    plain = sets[~sets["checkpoint"]]
    times = plain["part"].map({"experts": 1}).fillna(seeds)
    every = pd.concat([scores, plain.assign(**plain[AMOUNTS].mul(times, axis=0))])
    return pd.DataFrame([*rows, _worked("all of these", f"{seeds} seeds", every)])


def _cell(data: str, method: str, ipc: int) -> str:
    return f"{data}, {method.upper()}, IPC {ipc}"


def _worked(cell: str, version: str, parts: pd.DataFrame) -> dict[str, str]:
    row = {"set": cell, "version": version}
    for stage, names in STAGES.items():
        own = parts[parts["part"].isin(names)]
        row[stage] = "" if own.empty else _number((own["convolution"] + own["product"]).sum(skipna=False))
    convolution, product, hours = (float(parts[name].sum(skipna=False)) for name in AMOUNTS)
    row["one core (h)"] = _number(hours)
    for cards, card in _peaks().items():
        kinds = {"": False} if card.tf32 == card.float32 else {", float32": False, ", TF32": True}
        for kind, tf32 in kinds.items():
            row[f"{cards}{kind}: at least (h)"] = _number(least_hours(card, convolution, product, tf32))
    return row


def _peaks() -> dict[str, Card]:
    """A card of each speed, by the names of all that have it."""
    speeds = {(card.float32, card.tf32): card for card in CARDS}
    return {", ".join(c.name for c in CARDS if (c.float32, c.tf32) == own): card for own, card in speeds.items()}


def _number(value: float) -> str:
    return report.ABSENT if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def memory(found: pd.DataFrame) -> pd.DataFrame:
    """What `totals` found of memory, as a table of a page: a row for each cell, of the version with most samples."""
    rows = []
    for _, cell in found.groupby([*SAME, "checkpoint"], sort=False):
        own = cell[cell["ratio"] == cell["ratio"].min()]
        trial, gb = own.iloc[0], dict(zip(own["part"], own["gb"], strict=True))
        whole = samples(trial["data"])[0] * math.prod(shaped(trial["data"]).shape) / 1e9
        copies = whole * (1 - trial["ratio"])
        if distillers.METHODS[trial["method"]].parts == "task" and trial["splits"] > 1:
            copies *= 1 + 1 / trial["splits"]
        expert, repeats = gb.get("experts", 0.0), trial["repeats"]
        most, judges = np.maximum(gb["rounds"], expert), np.maximum(gb["training"], gb["test"])  # which keep a NaN
        row = {"set": _cell(*trial[SAME]) + ", checkpoint" * int(trial["checkpoint"])}
        row |= {"round (GB)": _number(gb["rounds"]), "expert (GB)": _number(expert) if expert else ""}
        row |= {f"{repeats} judges (GB)": _number(judges), "images (GB)": _number(whole)}
        for card in CARDS:
            row[f"{card.memory} GB, {card.name}"] = fits(card, most, judges, repeats, whole, copies)
        rows.append(row)
    return pd.DataFrame(rows)


def fits(card: Card, distil: float, judges: float, repeats: int, whole: float, copies: float) -> str:
    """What of a set fits on a card, in words.

    distil, judges : the most tensors of a round or an expert, and of the `repeats` networks that judge, trained or
    tested side by side. whole, copies : of all images, and of those that are left, which are taken from them. All in
    GB. Images stay on the card where they take no more than `GPU_SHARE` of it, see `bilp_core.data.Stored`.

    >>> from bilp_core.studies.hours import Card, fits
    >>> card = Card("small", memory=24, float32=80.0, tf32=80.0)
    >>> fits(card, 2.0, 5.0, 5, whole=6.0, copies=6.0), fits(card, 2.0, 5.0, 5, whole=16.0, copies=16.0)
    ('resident', 'streamed')
    >>> fits(card, 2.0, 50.0, 5, whole=16.0, copies=16.0), fits(card, 30.0, 5.0, 5, whole=16.0, copies=16.0)
    ('streamed; 2 of 5 judges', 'no round')
    """
    if math.isnan(distil + judges):
        return report.ABSENT
    stays = whole <= GPU_SHARE * card.memory
    images, left = (whole, copies) if stays else (0.0, 0.0)
    if images + left + distil > card.memory:
        return "no round beside the images" if stays and distil <= card.memory else "no round"
    found = "resident" if stays else "streamed"
    most = int((card.memory - images) / (judges / repeats))
    return found if most >= repeats else f"{found}; {f'{most} of {repeats} judges' if most else 'no judge'}"


def measured_said(measured: pd.DataFrame, steps: pd.DataFrame) -> str:
    """How the pieces were measured, and how far above such a floor rounds are here, in words.

    measured, steps : as `report.measurements("hours")` and `report.measurements("steps")`.
    """
    found = fitted(measured)
    off = found.groupby("quantity")["off"].max()
    counted = off[["convolution_gflop", "product_gflop"]].max()
    made, load = f"{report.ran_on(measured)}; commit {', '.join(measured['commit'].unique())}", measured["load"]
    said = (
        f"Pieces were measured on one core, beside other work (load {load.min():g} to {load.max():g}): {made}. Their "
        f"sizes are on a straight line to {counted:.1%} in operations, {off['peak_mb']:.1%} in memory and "
        f"{off['seconds']:.0%} in seconds."
    )
    kinds = [*measured["method"].dropna().unique(), "evaluation"]
    alike = steps[(steps["threads"] == 1) & steps["method"].isin(kinds)] if len(steps) else steps
    if len(alike):
        said += (
            f" On a CPU and CIFAR-10's shapes, rounds and judges of these methods take {alike['ratio'].min():.2g} to "
            f"{alike['ratio'].max():.2g} times the least that their operations could, by the speed of its products; "
            "nobody has measured here what it is on a GPU."
        )
    return said
