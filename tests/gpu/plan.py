"""What to do with half an hour of a GPU: one command on a machine that has PyTorch and nothing of ours.

    make gpu ARGS="--data cifar10-jpeg.tar.xz"                 here: everything in one file, _build/gpu/pack.tar

    tar xf pack.tar source/tests                               there, where only pack.tar was brought
    python3 source/tests/gpu/plan.py run pack.tar --minutes 9 --out out

In turn: every method, start, indicator, network and protocol of the registries on the GPU against the CPU, and what
TF32 changes (`agree.py`); whether four goals hold, of seconds on one such card (`goals.py`);
our steps beside the references', where `--references` names a folder with their checkouts (`against.py`); trials of the
chapters, most telling first, each with an estimate before it, so that none is cut, and in the tables the moment it is
done (`paper.py`). `out/summary.txt` and `summary.json` say what ran, what was skipped and why. Nothing is done twice:
on the same machine what was done is in --home, for another it is in `out/kept.tar.gz`, given there as --kept.

`--device cpu` rehearses it all without a GPU. The pack is a tar of source, data, trials and wheels with checksums.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import gettempdir

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.gpu import packing  # noqa: E402

WHEELS = ("pandas", "python-dateutil", "six", "pyyaml", "safetensors", "tqdm")  # small, and not always beside PyTorch
NEEDED = ("numpy", "pandas", "PIL", "yaml", "safetensors", "scipy", "torchvision")
PARTS = ("agree", "goals", "against", "paper")


def pack(args: argparse.Namespace) -> None:
    import tempfile

    from bilp_core.trials import commit
    from tests.gpu import paper

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, args.data_name)
        with tarfile.open(args.data) as tar:
            tar.extractall(images, filter="data")
        trials = paper.asked(args.preset, args.chapters, str(images), args.score_trials)
    about = {"preset": args.preset, "data": args.data_name, "commit": commit()}
    size = packing.pack(args.out, ROOT, args.data, trials, args.wheels, about, args.python)
    print(f"{args.out}: {size:.1f} MB, {len(trials)} trials. On the machine with the GPU:")
    print(f"  tar xf {args.out.name} source/tests")
    print(f"  python3 source/tests/gpu/plan.py run {args.out.name} --minutes 9 --out out")


def check_machine(device: str) -> None:
    """Exits with a sentence where the plan could not run."""
    if not importlib.util.find_spec("torch"):
        raise SystemExit("this machine has no PyTorch, which the pack does not bring: install it first")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU on this machine; --device cpu rehearses the plan without one")


def run(args: argparse.Namespace) -> int:
    until = time.time() + 60 * args.minutes
    check_machine(args.device)
    about = packing.unpack(args.pack, args.home)
    if args.kept and not (args.home / "summary.json").exists():
        with tarfile.open(args.kept) as tar:
            tar.extractall(args.home, filter="data")
    site = args.home / "site"
    wheels = sorted(map(str, (args.home / "wheels").glob("*.whl")))
    if wheels and not site.exists() and not all(map(importlib.util.find_spec, NEEDED)):
        offline = ["--no-index", "--no-deps", "--no-compile", "--target", str(site)]
        if subprocess.run([sys.executable, "-m", "pip", "install", "-q", *offline, *wheels]).returncode:
            mine = ".".join(map(str, sys.version_info[:2]))
            raise SystemExit(
                f"the wheels could not be installed; if they are not for Python {mine}: `pack --python {mine}`"
            )
    if lacking := [name for name in NEEDED if not importlib.util.find_spec(name) and not (site / name).exists()]:
        raise SystemExit(f"this machine lacks {', '.join(lacking)}: add to what `pack --wheels` names")
    path = [str(args.home / "source"), os.environ.get("PYTHONPATH", ""), str(site)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "BILP_DEVICE": args.device}
    env |= {"BILP_STORE": str(args.home / "store"), "BILP_CACHE": str(args.home / "cache")}
    env["BILP_ROOT"] = str(args.home / "source")
    words = ["--home", args.home, "--out", args.out, "--until", until, "--device", args.device, "--data", about["data"]]
    words += ["--preset", about["preset"], "--parts", *args.parts, "--only", args.only]
    words += ["--references", args.references] if args.references else []
    work = [sys.executable, "-m", "tests.gpu.work", *map(str, words)]
    return subprocess.run(work, env=env, cwd=args.home).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("pack", help="here: all that the other machine needs, in one file")
    made.add_argument("--data", type=Path, required=True, help="archive of an ImageFolder: train/<class>/*, test/...")
    made.add_argument("--data-name", default="CIFAR-10 (JPEG)", help="what tables call the data")
    made.add_argument("--out", type=Path, default=ROOT / "_build/gpu/pack.tar")
    made.add_argument("--preset", default="paper")
    chapters = ("coresets", "redundancy", "bilp", "overfitting", "strata", "ite")  # most telling first
    made.add_argument("--chapters", nargs="+", default=chapters)
    made.add_argument("--score-trials", type=int, help="trials of an indicator; by default the published number")
    made.add_argument("--wheels", nargs="*", default=WHEELS, help="packages to bring along, without what they need")
    made.add_argument("--python", default="3.12", help="of the other machine, which the wheels are for (3.12)")
    ran = verbs.add_parser("run", help="there: N minutes of it")
    ran.add_argument("pack", type=Path)
    ran.add_argument("--minutes", type=float, default=30)
    ran.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    ran.add_argument("--out", type=Path, default=Path("gpu-out"))
    home = Path(gettempdir(), "bilp-gpu")
    ran.add_argument("--home", type=Path, default=home, help="where it works; the same in each call")
    ran.add_argument("--kept", type=Path, help="kept.tar.gz of an earlier call on another machine")
    ran.add_argument("--references", type=Path, help="folder with checkouts, named as `against.py` says")
    ran.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    ran.add_argument("--only", default="", help="of all parts but the last, what begins so")
    args = parser.parse_args()
    for name in ("out", "home", "kept", "references", "pack"):
        if isinstance(value := getattr(args, name, None), Path):
            setattr(args, name, value.absolute())
    return pack(args) or 0 if args.verb == "pack" else run(args)


if __name__ == "__main__":
    sys.exit(main())
