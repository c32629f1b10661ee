"""Reports as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import words

if TYPE_CHECKING:
    from ..data.images import ImageData
    from ..indicators import Scored

LINES = 10  # of a long list


def check(report: dict[str, Any]) -> None:
    """What `bilp data check` found, in words."""
    classes = report["classes"]
    width = max(map(len, classes))
    for name, counts in classes.items():
        print(f"{_safe(name):{width}}  {counts['train']:7} train  {counts['test']:7} test")
    for name in ("shape", "frames", "mean", "std", "channels_without_contrast"):
        if name in report:
            print(f"{name.replace('_', ' ')}: {report[name]}")
    print(f"chance: {100 * report['chance']:.1f} % (the largest class)")
    if report.get("depth"):
        kind = "shares of full brightness" if report["depth"] == 1 else f"{report['depth']} bits"
        print(f"deep images are taken as {kind}, all by one scale (--depth says another)")
    for note in report.get("notes", ()):
        print(note)
    for why, files in report.get("skipped", {}).items():
        _list(f"not taken, {why}", files)
    _list("cannot be read", [f"{file}: {why}" for file, why in report.get("unreadable", {}).items()])
    _list("odd metadata", [f"{file}: {why}" for file, why in report.get("odd_metadata", {}).items()])
    _list("several frames, of which the first is taken", report.get("several_frames", ()))
    sizes = report.get("sizes")
    if sizes and sizes["different"] > 1:
        a, b = ("x".join(map(str, sizes[end])) for end in ("smallest", "largest"))
        print(f"{sizes['different']} sizes, from {a} to {b}")
    _list("smaller than the size they are brought to", report.get("enlarged", ()))
    _list("the same image in one class", [" = ".join(group) for group in _harmless(report)])
    _list(
        "THE SAME IMAGE WITH TWO LABELS",
        [" = ".join(f"{file} ({label})" for file, label in group) for group in report["duplicates_with_two_labels"]],
    )
    _list("TEST IMAGES THAT ARE ALSO TRAINING IMAGES", [" = ".join(pair) for pair in report["leaks"]])
    _list("of one colour", report["constant_images"])
    if "verdict" in report:
        print(f"verdict: {report['verdict']}")
        if report["next"]:
            print(f"next: {report['next']}")


def trials(found: Scored, data: ImageData, option: str, until: float | None) -> None:
    """How far the ranking of several trials holds, and whether that was far enough."""
    from ..indicators import halves, stepped_up

    agreed = halves(found.rows, data.labels.cpu()) if found.rows is not None else None
    if agreed is not None:
        print(
            f"two halves of its {found.trials} {option} agree by {agreed:.3f} (rank correlation inside classes); all "
            f"would agree with as many new ones by about {stepped_up(agreed):.3f}"
        )
    if until is not None and (agreed is None or agreed < until):
        words.warning(
            f"{found.trials} {option}, the most there were to be, do not reach {until} between halves; "
            f"--set {option}={2 * found.trials} goes on from them"
        )


def _harmless(report: dict[str, Any]) -> list[list[str]]:
    twice = {file for group in report["duplicates_with_two_labels"] for file, _ in group}
    return [group for group in report["duplicates"] if not twice & set(group)]


def _list(title: str, items: Any) -> None:
    if not items:
        return
    print(f"{title}: {len(items)}")
    for item in list(items)[:LINES]:
        print(f"    {_safe(item)}")
    if len(items) > LINES:
        print(f"    and {len(items) - LINES} more (--json has all)")


def _safe(text: str) -> str:
    """Names that are no UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
