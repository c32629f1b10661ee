r"""What large data take: decoding 64x64 JPEGs, and using a map as large as ImageNet's. Linux only.

    make bench ARGS="--large /big/disk --out book/measurements/large.csv"

is `tests/bench/large.py all /big/disk`, which does `decode` and `use`, says of each row whether it keeps to its bar
(`report.BARS`), and ends with status 1 where one does not. The bars are of the numbers of images taken by default.

`decode` draws JPEGs as Tiny ImageNet has them (64x64, quality 75, in folders of classes) and decodes them with one
process a core. `use` makes a map of 1,281,167 x 3 x 64 x 64, of which only every 50th image is written (the rest is a
hole, zeros when read), and opens, scores, prunes and distils it, each in a process of its own, with narrow networks:
what is measured is what the data take. Memory is the most that was resident at a time, of all processes of a job
together, shared pages counted in each. Rows are added to the file. What was drawn or made stays in the folder, to be
removed by hand.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from rows import destination, origin, read, write

COUNT, CLASSES, SHAPE = 1_281_167, 1000, (3, 64, 64)
WRITTEN = 50  # every so manieth image of the map
FIELDS = ("what", "images", "seconds", "images_a_second", "peak_mb", "settings")
NETWORK = "convnet:depth=2,width=4"  # distils
STEPS = ("open", "check", "score", "prune", "dm", "dc")


class Peak:
    """The most memory that this process and its children held together, in MB, looked at ten times a second."""

    def __enter__(self) -> "Peak":
        self.most, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:  # at least once, however short the job
            self.most = max(self.most, sum(map(_resident, _family(os.getpid()))) / 1e6)
            if self._stop.wait(0.1):
                return


def _family(root: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def drawn(home: Path, count: int, classes: int = 200) -> None:
    """JPEGs of smooth colours and noise, at train/<class>/images and val/<class>/images."""
    rng = np.random.default_rng(0)
    for number in range(count):
        c = number % classes
        half = "val" if number < classes else "train"
        path = home / half / f"n{c:08d}" / "images" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
        noisy = np.asarray(coarse, np.int16) + rng.integers(-20, 21, (64, 64, 3), dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=75)


def decode(place: Path, count: int) -> list[dict]:
    from bilp_core.data import large
    from bilp_core.data.imagenet import _walked
    from bilp_core.data.pictures import pictures

    home, folder = place / "jpegs", place / "decoded"
    if not home.exists():
        drawn(home, count)
    files, size = _walked(home)
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    with Peak() as peak:
        large.decode(folder, lambda: pictures(home, files, {}, resize=False, about={"bytes": size}))
        seconds = time.perf_counter() - start
    about = f"{size / len(files) / 1e3:.1f} kB a JPEG; processes: {os.cpu_count()}; checked at the end"
    shutil.rmtree(folder)
    return [row("decode", len(files), seconds, peak.most, about)]


def made(folder: Path, images: int) -> None:
    """A map of ImageNet's size, as `large` writes it, mostly holes."""
    from bilp_core.data import large

    if (found := large.opened(folder)) and found["shapes"]["train_images"][0] == images:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, empty = np.random.default_rng(0), zlib.crc32(bytes(int(np.prod(SHAPE))))
    shapes = {}
    for half, count in (("train", images), ("test", min(images, 50_000))):
        pixels = np.lib.format.open_memmap(folder / f"{half}_images.npy", "w+", np.uint8, (count, *SHAPE))
        prints = np.full(count, empty, np.uint32)
        for index in range(0, count, WRITTEN):
            pixels[index] = rng.integers(0, 256, SHAPE, dtype=np.uint8)
            prints[index] = zlib.crc32(pixels[index].tobytes())
        del pixels
        np.save(folder / f"{half}_prints.npy", prints)
        np.save(folder / f"{half}_labels.npy", np.arange(count) * CLASSES // count)
        np.save(folder / f"{half}_names.npy", np.array([f"made/{index}" for index in range(count)]))
        shapes[f"{half}_images"] = [count, *SHAPE]
    about = {"format": large.FORMAT, "classes": [f"n{c:08d}" for c in range(CLASSES)], "shapes": shapes, "source": {}}
    (folder / "about.json").write_text(json.dumps(about))


def use(place: Path, steps: list[str], images: int) -> list[dict]:
    from bilp_core.data.cache import place as place_of

    folder = place_of(place / ".bilp-cache", "imagenet-64")
    made(folder, images)
    rows = []
    for step in steps:
        start = time.perf_counter()
        command = [sys.executable, __file__, "job", str(place), "--job", step]
        with Peak() as peak:
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        seconds, about = said.splitlines()[-1].split(" ", 1)
        rows.append(row(step, images, float(seconds), peak.most, about))
        print(rows[-1], f"{time.perf_counter() - start:.0f} s with start", flush=True)
    return rows


def job(place: Path, name: str) -> None:
    """One step in a process of its own: prints its seconds and its settings in the last line."""
    import torch

    from bilp_core import distill, load, make, pruning, score
    from bilp_core.data import large
    from bilp_core.distillers import Part

    start = time.perf_counter()
    train = load("imagenet-64", root=place).train
    if name == "open":
        about = f"first image read: {float(train.batch(torch.tensor([0])).mean()):.2f}"
    elif name == "check":
        about = f"every image against its print; damaged: {len(large.damaged(train.images.path.parent, 'train'))}"
    elif name == "score":
        options = {"trials": 1, "epochs": 1, "batch": 512, "network": "mlp"}
        torch.save(score(train, "early-loss", **options), place / "scores.pt")
        about = f"early-loss; {options}"
    else:
        scores = torch.load(place / "scores.pt", weights_only=True)
        kept = train.subset(pruning.keep(scores, train.labels, ratio=0.5))
        about = f"half of each class; {len(kept)} stay"
        if name in ("dm", "dc"):
            method = make(name, iterations=10, batch=16)
            part = Part(1, 10) if name == "dc" else None  # as the paper does it on ImageNet
            made = distill(method, kept, ipc=1, network=NETWORK, init="real", part=part)
            finite = bool(made.images.isfinite().all())
            of = "a tenth of the classes" if part else "the data"
            about = f"10 iterations on half of {of}; IPC 1; batch 16; {NETWORK}; finite: {finite}"
    print(f"{time.perf_counter() - start:.3f}", about)


def row(what: str, images: int, seconds: float, peak: float, about: str) -> dict:
    rate = f"{images / seconds:.0f}" if what in ("decode", "check", "score") else ""  # of those that touch every image
    values = (what, images, f"{seconds:.3g}", rate, f"{peak:.0f}", about)
    return dict(zip(FIELDS, values, strict=True)) | origin("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", "decode", "use", "job"])
    parser.add_argument("place", type=Path, help="a folder on a disk with room: 2.5 GB and the JPEGs, or 0.4 GB")
    parser.add_argument("--count", type=int, default=200_000, help="JPEGs to draw")
    parser.add_argument("--images", type=int, default=COUNT, help="of the map that is used")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="of `use`, in this order (all)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=destination, help="CSV file, to which rows are added")
    args = parser.parse_args()
    if args.what == "job":
        job(args.place, args.job)
        return 0
    rows = [] if args.what == "use" else decode(args.place, args.count)
    rows += [] if args.what == "decode" else use(args.place, args.steps, args.images)
    print(*rows, sep="\n")
    if args.out:
        write(args.out, [*(old for old in read(args.out) if old["what"] not in {new["what"] for new in rows}), *rows])
    return kept(rows)


def kept(rows: list[dict]) -> int:
    """Says of each row with a bar whether it holds: 1 where one does not, else 0."""
    import pandas as pd  # once all is measured: the memory of this process counts

    from bilp_core import report

    found = report.with_bars(pd.DataFrame(rows))
    for row in found[found["bar"] != ""].to_dict("records"):
        word = "holds" if row["holds"] == "yes" else "DOES NOT HOLD"
        print(
            f"{row['what']} of {row['images']:,} images, {row['bar']}: {word} ({row['seconds']} s, {row['peak_mb']} MB)"
        )
    return int("no" in set(found["holds"]))


if __name__ == "__main__":
    sys.exit(main())
