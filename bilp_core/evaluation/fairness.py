"""What of an accuracy is the images', and what is labels, protocol and augmentation: the scores of DD-Ranking."""

from dataclasses import dataclass, replace
from functools import cache
from math import e, exp
from typing import Any

import torch

from ..data.images import ImageData
from ..nets.ensemble import Samples, TensorSamples
from ..synthetic.initial import initial
from ..synthetic.set import SyntheticSet
from ..utils.progress import Report
from ..utils.seeds import seeds
from .accuracies import Accuracies, seen, trained_on
from .baselines import all_real, random_real, stored
from .protocols import Protocol
from .protocols import protocol as published

HELD = 100  # real images a class, at most, that choose learning rates
RATES = (0.1, 0.5, 1.0, 5.0, 10.0)  # times the protocol's; of 0.01 these are the five that DD-Ranking tries


@dataclass(frozen=True)
class Fair:
    """Accuracies that tell a set's images from what is done with them, and the scores that follow.

    own, own_random     : of the set and of as many random real images, by the protocol of the set.
    plain, plain_random : the same without augmentation.
    hard, hard_random   : with one hard label an image, all by the same protocol.
    real                : all real images, by that protocol.

    >>> from bilp_core.evaluation import Accuracies, Fair
    >>> found = Fair(*(Accuracies([a]) for a in (0.7, 0.5, 0.6, 0.5, 0.65, 0.5, 0.9)))
    >>> round(found.hlr, 2), round(found.ior, 2), round(found.lrs, 3), round(found.ars, 3)
    (0.25, 0.2, 0.258, 0.338)
    """

    own: Accuracies
    own_random: Accuracies
    plain: Accuracies
    plain_random: Accuracies
    hard: Accuracies
    hard_random: Accuracies
    real: Accuracies

    @property
    def hlr(self) -> float:
        """Hard label recovery: what is missing to all real images with hard labels; the smaller the better."""
        return self.real.mean - self.hard.mean

    @property
    def ior(self) -> float:
        """Improvement over random: what the set gains over random real images by its own protocol."""
        return self.own.mean - self.own_random.mean

    @property
    def lrs(self) -> float:
        """Label-robust score, 0 to 1: of both in equal parts."""
        return normalised(0.5 * self.ior - 0.5 * self.hlr)

    @property
    def ars(self) -> float:
        """Augmentation-robust score, 0 to 1: the gains over random with and without augmentation, in equal parts."""
        return normalised(0.5 * self.ior + 0.5 * (self.plain.mean - self.plain_random.mean))

    def report(self) -> dict[str, Any]:
        """JSON values: accuracies as fractions, scores."""
        found = {name: {"mean": a.mean, "std": a.std, "accuracies": a.values} for name, a in vars(self).items()}
        return {**found, "hlr": self.hlr, "ior": self.ior, "lrs": self.lrs, "ars": self.ars}

    def lines(self) -> list[str]:
        """In words."""
        return [
            f"own protocol         {self.own}, random real images {self.own_random}",
            f"without augmentation {self.plain}, random real images {self.plain_random}",
            f"hard labels          {self.hard}, random real images {self.hard_random}, all of them {self.real}",
            f"HLR {100 * self.hlr:.2f}, IOR {100 * self.ior:.2f} points, LRS {self.lrs:.3f}, ARS {self.ars:.3f}",
        ]


def normalised(gain: float) -> float:
    """A gain of -1 to 1 as 0 to 1."""
    return (exp(gain) - 1 / e) / (e - 1 / e)


def fair(
    synthetic: SyntheticSet,
    own: Accuracies,
    train: ImageData,
    test: ImageData,
    *,
    network: str,
    protocol: Protocol,
    repeats: int = 5,
    epochs: int = 1000,
    seed: int = 0,
    progress: Report | None = None,
) -> Fair:
    """Evaluate the set without its labels and without augmentation, and random real images beside it.

    own : of the set, by `protocol`. `repeats` networks each; random real images are drawn anew for each of them.
    Wherever the set's own learning rate does not apply, five are tried, on real images that are not trained on (at most
    100 a class, never the test images), and the best is taken. Hard labels are the largest of soft ones and are
    evaluated as DSA does, for so many `epochs`.
    DD-Ranking takes the best accuracy of all epochs on the test images, and chooses rates by them; this does not, so
    its numbers are lower. Its teachers' labels for random images are not there either.
    Raises InputError where a class has too few images.
    Source: Li et al., DD-Ranking: Rethinking the Evaluation of Dataset Distillation, 2025, and its code.

    >>> import torch
    >>> from bilp_core import load
    >>> from bilp_core.evaluation import Protocol, evaluate, fair
    >>> from bilp_core.synthetic import initial
    >>> train, test = load("digits")
    >>> made = initial(train, ipc=2, init="real", rng=torch.Generator().manual_seed(0))
    >>> judged = dict(network="convnet:depth=1,width=8", protocol=Protocol(epochs=5, lr=0.1), repeats=2)
    >>> found = fair(made, evaluate(made, test, **judged), train, test, epochs=5, **judged)
    >>> found.hlr > 0.1, 0 < found.lrs < found.ars < 1  # two real images a class: far from all of them
    (True, True)
    """
    train, test = seen(synthetic, train), seen(synthetic, test)
    held, rest = halves(train, seed)
    images, labels = (values.to(test.device) for values in synthetic.materialise())
    as_it_is, hard = replace(protocol, test_every=0), published("dsa", test, network, epochs=epochs)
    plain = replace(as_it_is, augment="none", cutmix=0.0)
    draw = initial(rest, stored(synthetic), "real", torch.Generator(rest.device).manual_seed(seeds("rate", seed, 1)[0]))
    real = TensorSamples(draw.images, draw.labels)
    ours = TensorSamples(images, labels)
    ours_hard = TensorSamples(images, labels.argmax(1) if labels.ndim == 2 else labels)

    def of_set(samples: Samples, recipe: Protocol) -> Accuracies:
        recipe = tuned(samples, held, network, recipe, seed)
        return trained_on(samples, test, network, recipe, seeds("evaluation", seed, repeats), progress)

    @cache  # a set whose own protocol is that of hard labels, or has no augmentation, asks for the same again
    def of_random(recipe: Protocol) -> Accuracies:
        recipe = tuned(real, held, network, recipe, seed)
        return random_real(
            synthetic, rest, test, network=network, protocol=recipe, repeats=repeats, seed=seed, progress=progress
        )

    return Fair(
        own=own,
        own_random=of_random(as_it_is),
        plain=of_set(ours, plain),
        plain_random=of_random(plain),
        hard=of_set(ours_hard, hard),
        hard_random=of_random(hard),
        real=all_real(synthetic, train, test, network=network, protocol=hard, seed=seed, progress=progress)[0],
    )


def halves(train: ImageData, seed: int) -> tuple[ImageData, ImageData]:
    """Real images that choose rates, at most half of a class, and the others."""
    rng = torch.Generator().manual_seed(seeds("held out", seed, 1)[0])
    held, rest = [], []
    for label in range(train.num_classes):
        members = train.of_class(label)
        members = members[torch.randperm(len(members), generator=rng).to(members.device)]
        count = min(HELD, len(members) // 2)
        held.append(members[:count])
        rest.append(members[count:])
    return train.subset(torch.cat(held)), train.subset(torch.cat(rest))


def tuned(samples: Samples, held: ImageData, network: str, protocol: Protocol, seed: int) -> Protocol:
    """The protocol with that one of five learning rates after which a network names most of `held` right."""
    found = {}
    for rate in (protocol.lr * factor for factor in RATES):
        try:
            found[rate] = trained_on(samples, held, network, replace(protocol, lr=rate), seeds("rate", seed, 1)).mean
        except FloatingPointError:  # too large a rate
            found[rate] = -1.0
    return replace(protocol, lr=max(found, key=found.__getitem__))
