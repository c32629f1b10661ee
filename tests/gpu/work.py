"""The parts of the plan, where the library can be imported; what was found is written after each step."""

import argparse
import json
import shutil
import signal
import statistics
import tarfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bilp_core.trials import provenance
from bilp_core.utils.files import atomic

from . import against, agree, goals
from .paper import RESERVE, Paper

KEPT = ("results", "store/records", "store/scores", "store/scoring", "store/unfinished", "summary.json")


class TimeUp(BaseException):
    """No Exception, so that nothing takes it for a failure of its own."""


class Work:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.home, self.out = args, Path(args.home), Path(args.out)
        self.last = "the beginning"
        self.out.mkdir(parents=True, exist_ok=True)
        file = self.home / "summary.json"
        self.found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        made = provenance(args.device)
        if any(self.found.get(name) != made[name] for name in ("device", "versions", "commit")):
            self.found |= {"agree": {}, "goals": {}, "against": {}}  # of another machine or another library
            self.found.get("paper", {}).pop("seconds", None)
        self.found |= made | {"skipped": {}, "calls": self.found.get("calls", 0) + 1}

    def left(self) -> float:
        return self.args.until - time.time() - RESERVE

    def say(self, line: str) -> None:
        self.last = line
        print(line, flush=True)

    def save(self) -> None:
        """Whole files, so that a call that is ended from outside leaves them sound."""
        for folder in (self.home, self.out):
            with atomic(folder / "summary.json") as path:
                path.write_text(json.dumps(self.found, indent=1))
        with atomic(self.out / "summary.txt") as path:
            path.write_text(told(self.found))
        with atomic(self.out / "kept.tar.gz") as path, tarfile.open(path, "w:gz", compresslevel=4) as tar:
            for name in KEPT:
                if (self.home / name).exists():
                    tar.add(self.home / name, name)

    def each(self, part: str, jobs: Mapping[str, Callable[[], dict[str, Any]] | str], least: float) -> None:
        """Rows by name, of functions that make them; why there is none is kept. What is there already stays."""
        rows, skipped = self.found.setdefault(part, {}), self.found["skipped"]
        for name, job in jobs.items():
            if not name.startswith(self.args.only) or name in rows:
                continue
            why = job if isinstance(job, str) else "no time was left" if self.left() < least else ""
            if isinstance(job, str) or why:
                skipped.setdefault(f"{part}: {why}", []).append(name)
            else:
                rows[name] = job()
                self.say(f"{part}: {line(rows[name])}")

    def agree(self) -> None:
        device = self.args.device
        self.each("agree", {f"{e.kind} {e.name}": partial(agree.compared, e, device) for e in agree.entries()}, 20.0)

    def goals(self) -> None:
        jobs = {goal.name: partial(goals.measured, goal, self.args.device, self.left) for goal in goals.GOALS}
        self.each("goals", jobs, goals.LEAST)

    def against(self) -> None:
        found = against.jobs(self.args.references, self.args.device, self.left, self.home / "bench.csv")
        self.each("against", found, against.LEAST)

    def paper(self) -> None:
        results = self.home / "results"
        committed = self.home / "source/book/results" / self.args.preset
        if committed.is_dir() and not results.exists():
            shutil.copytree(committed, results)
        listed = json.loads((self.home / "trials.json").read_text())
        state = self.found.setdefault("paper", {})
        Paper(listed, self.home / "data" / self.args.data, results, state, self.left, self.say).run(self.save)

    def run(self) -> None:
        signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, max(1.0, self.left() + RESERVE / 2))
        try:
            for part in self.args.parts:
                getattr(self, part)()
                self.save()
        except TimeUp:
            self.found["skipped"]["stopped at the end of the time"] = [f"{part}, after: {self.last}"]
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.save()
        print((self.out / "summary.txt").read_text())

    @staticmethod
    def _stop(*_: object) -> None:
        raise TimeUp


def line(row: dict[str, Any]) -> str:
    if "kind" in row:
        error = "no number" if row["error"] is None else f"{row['error']:.1e}"
        verdict = "agrees" if row["agrees"] else "DIFFERS"
        return f"{verdict:8} {row['kind']:13} {row['name']:24} {error} {row.get('note', '')}".rstrip()
    if "seconds" in row and "goal" in row:
        verdict = {True: "holds", False: "MISSED", None: "rehearsed"}[row["holds"]]
        return f"{verdict:9} {row['name']:26} {row['seconds']:g} s, {row['how']}; goal {row['goal']:g} s"
    if "note" in row:
        return f"{row['name']:22} {row['note']}"
    return f"{row['name']:22} ours {row['ours_seconds']} s, theirs {row['reference_seconds']} s, ratio {row['ratio']}"


def told(found: dict[str, Any]) -> str:
    """The summary as text."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [f"{found['device']}; {versions}; commit {found['commit']}; {found['date']}; call {found['calls']}"]
    rows = list(found.get("agree", {}).values())
    if rows:
        good = sum(row["agrees"] for row in rows)
        lines += ["", f"Two steps, GPU against CPU, float32, TF32 only where it is named: {good} of {len(rows)} agree"]
        for kind, tolerance in agree.TOLERANCES.items():
            errors = [row["error"] for row in rows if row["kind"] == kind and row["error"] is not None]
            if errors:
                middle, most = statistics.median(errors), max(errors)
                lines.append(f"  {kind}: tolerance {tolerance:g}, errors: median {middle:.1e}, largest {most:.1e}")
        lines += [f"  {line(row)}" for row in sorted(rows, key=lambda row: row["agrees"])]
    if rows := list(found.get("goals", {}).values()):
        lines += ["", "Goals for one card such as an H100, at CIFAR-10's shapes (on a CPU: rehearsed on tiny data)"]
        lines += [f"  {line(row)}" for row in rows]
    if rows := list(found.get("against", {}).values()):
        lines += ["", "Beside the references (medians; ratio below 1: ours is faster)"]
        lines += [f"  {line(row)}" for row in rows]
    if rows := found.get("paper", {}).get("trials", []):
        lines += ["", f"{len(rows)} trials, in the tables of kept.tar.gz"]
        for row in rows:
            score = f"{100 * row['accuracy']:.2f} ± {100 * row['std']:.2f} %"
            lines.append(
                f"  {score}, {row['seconds']:.0f} s (about {row['estimate']:.0f}): {row['chapter']} {row['what']}"
            )
    skipped = {**found["skipped"], **found.get("paper", {}).get("skipped", {})}
    if skipped:
        lines += ["", "Skipped"]
        for why, names in skipped.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"  {why}: {'; '.join(names[:3])}{more}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("home", "out", "device", "data", "preset", "only", "references"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--until", type=float)
    parser.add_argument("--parts", nargs="+")
    Work(parser.parse_args()).run()


if __name__ == "__main__":
    main()
