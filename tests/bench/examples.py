"""Real images that the loss keeps and drops, and that adaptive pruning drops, as pictures for the pages.

    .venv/bin/python tests/bench/examples.py DATA --name "CIFAR-10 (JPEG)"

A picture NAME.png is made of whole images, side by side without a gap: a row a class, the panels from left to right,
the same number of images in each. What is there is not made again.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from rows import origin, read, write
from torch import Tensor

from bilp_core.book import planned
from bilp_core.data import ImageData, load
from bilp_core.distillers import make
from bilp_core.pruning import stratum
from bilp_core.studies import ite_variants
from bilp_core.trials import Store
from bilp_core.trials.work import kept_indices

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "book/measurements/examples.csv"
EACH = 4  # images a class in a panel
LABELS, AGE = (0, 3, 5, 8), 100  # of the batches of adaptive pruning

Picks = dict[str, list[Tensor]]  # a panel's title -> indices of the images of each class


def by_loss(train: ImageData, data: str) -> tuple[Picks, list[str], str]:
    trial = next(t for t in planned("strata", "photos", {"data": data}) if t.stratum is not None)
    store = Store()
    kept_indices(trial, train, store)  # computes the scores
    found = store.scores(trial.score_key)
    assert found is not None
    losses, rng = torch.from_numpy(found[0]), torch.Generator().manual_seed(0)
    panels = {}
    for title, number in (("smallest tenth of losses", 0), ("largest tenth", 9)):
        layer = stratum(losses, train.labels, number)
        layer = layer[torch.randperm(len(layer), generator=rng)]
        panels[title] = [layer[train.labels[layer] == c][:EACH] for c in range(train.num_classes)]
    text = "Random draws from the tenth of each class that has the smallest loss, and from that with the largest."
    return panels, list(train.classes), text


def by_effect(train: ImageData, data: str) -> tuple[Picks, list[str], str]:
    (trial, *_) = planned("ite", "photos", {"data": data})
    method = make("dc", iterations=1, batch=256)
    effects = ite_variants.measure(
        method, train, 1, network=trial.network, ages=[AGE], labels=LABELS, variants=["exact"]
    )
    panels: Picks = {"smallest effect": [], "in the middle": [], "largest effect": []}
    for label in LABELS:
        batch = effects[effects["class"] == train.classes[label]].sort_values("effect")
        samples, half = torch.tensor(batch["sample"].to_numpy()), (len(batch) - EACH) // 2
        for picks, part in zip(panels.values(), (samples[:EACH], samples[half:][:EACH], samples[-EACH:]), strict=True):
            picks.append(part)
    text = (
        f"One batch of {method.batch} images a class, DC at IPC 1, synthetic images as they start, a network "
        f"`{trial.network}` after {AGE} steps on real data: the images whose exact ITE is smallest and largest, which "
        "adaptive pruning drops, and those in the middle."
    )
    return panels, [train.classes[label] for label in LABELS], text


PICTURES = {"loss": by_loss, "ite": by_effect}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10, or a folder of the same images")
    parser.add_argument("--name", help="what to call the data on the page")
    args = parser.parse_args()
    train, rows = load(args.data, need="train").train, read(TABLE)
    for name, pick in PICTURES.items():
        if name in {row["name"] for row in rows}:
            continue
        panels, labels, text = pick(train, args.data)
        lines = [torch.cat([picks[k] for picks in panels.values()]) for k in range(len(labels))]
        sheet = torch.cat([torch.cat(list(train.images[line]), dim=2) for line in lines], dim=1)
        path = ROOT / f"book/results/photos/examples/{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(path, optimize=True)
        about = {"name": name, "panels": "; ".join(panels), "rows": "; ".join(labels), "text": text}
        rows.append(
            {**about, "data": args.name or Path(args.data).name, **{k: str(v) for k, v in origin("cpu").items()}}
        )
        write(TABLE, rows)
        print(path, flush=True)


if __name__ == "__main__":
    main()
