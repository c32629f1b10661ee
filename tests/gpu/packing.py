"""One file for a machine that has PyTorch and nothing else: source, data, trials, wheels, each with its checksum."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DATA_MB, PACK_MB = 40, 60
SOURCE = ("bilp_core", "tests/gpu", "tests/bench", "tests/distillers", "tests/indicators")  # folders of Python files
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
ABOUT = "pack.json"


def sources(root: Path, preset: str) -> list[Path]:
    found = [root / name for name in ("_config.yml", "pyproject.toml", "tests/__init__.py")]
    for folder in SOURCE:
        found += sorted((root / folder).rglob("*.py"))
    return found + sorted((root / "book/results" / preset).rglob("*.csv"))


def pack(
    out: Path, root: Path, data: Path, trials: list, wheels: list[str], about: dict[str, str], python: str = "3.12"
) -> float:
    """Write the file and return its size in MB. data : an archive of an ImageFolder. about : preset, data, commit.

    python : the version that the wheels are for.
    Raises SystemExit where data or all of it is larger than a machine should be asked to take.
    """
    with tempfile.TemporaryDirectory() as folder:
        members = {f"source/{path.relative_to(root)}": path.read_bytes() for path in sources(root, about["preset"])}
        members["source/COMMIT"] = about["commit"].encode()
        members["data.archive"] = data.read_bytes()
        members["trials.json"] = json.dumps(trials).encode()
        if wheels:
            places = [f"--platform={name}_x86_64" for name in PLATFORMS]
            those = ["--only-binary=:all:", "--no-deps", f"--python-version={python}", "--implementation=cp", *places]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", *those, "-d", folder, *wheels], check=True)
            members |= {f"wheels/{path.name}": path.read_bytes() for path in sorted(Path(folder).iterdir())}
    size, of_data = (sum(map(len, part)) / 1e6 for part in (members.values(), [members["data.archive"]]))
    if of_data > DATA_MB or size > PACK_MB:
        large = sorted(members, key=lambda name: -len(members[name]))[:4]
        told = ", ".join(f"{name} {len(members[name]) / 1e6:.1f}" for name in large)
        raise SystemExit(f"{size:.1f} MB, allowed {PACK_MB} ({DATA_MB} of data); the largest: {told}")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members = {ABOUT: json.dumps({**about, "sha256": sums}, indent=1).encode(), **members}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return size


def unpack(file: Path, home: Path) -> dict:
    """Into `home`, unless it is there already; what the pack says about itself. SystemExit for a damaged one."""
    with tarfile.open(file) as tar:
        about = json.load(tar.extractfile(ABOUT))
        there = home / ABOUT
        if there.is_file() and json.loads(there.read_text()) == about:
            return about
        for name, expected in about["sha256"].items():
            if hashlib.sha256(tar.extractfile(name).read()).hexdigest() != expected:
                raise SystemExit(f"{file}: {name} is damaged (another checksum)")
            tar.extract(name, home, filter="data")
    folder = home / "data" / about["data"]
    with tarfile.open(home / "data.archive") as tar:
        tar.extractall(folder, filter="data")
    (home / ABOUT).write_text(json.dumps(about))  # the last, so that what was cut is done again
    return about
