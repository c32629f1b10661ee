"""Every chapter gets to its end with the shortest lists, and on somebody's own folder; its cells run right here."""

import ast
import re
from pathlib import Path

import IPython.display
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from PIL import Image

from bilp_core import book
from bilp_core.cli.main import main
from bilp_core.errors import InputError
from bilp_core.utils import paths

NET = "convnet:depth=1,width=4"
SCORE = {"trials": 1, "epochs": 2, "network": NET}
JUDGED = {"repeats": 1, "evaluation": {"epochs": 2}, "seeds": 1}
ONCE = {"dm": {"iterations": 2}}
SHORTEST = {
    "loss-derivative": {"epochs": [1], "classes": [2], "hidden": 4},
    "ite": {
        "ipc": 1, "network": NET, "methods": {"dm": {"batch": 16}}, "ages": [0], "classes": 1, "decisions": 1,
        "lazies": [2], "iterations": 2, **JUDGED,
    },
    "redundancy": {
        "inits": {"dm": ["noise"]}, "networks": {"dm": [NET]}, "networks_ipc1": {}, "criteria": ["random"],
        "ratios": [0.9], "methods": ONCE, "evaluations": {}, "light": {}, "score": SCORE, **JUDGED,
    },
    "coresets": {
        "network": NET, "ratios": {1: [0.9]}, "iterations": {1: 2}, "main": ["random"], "others": [], "own": {},
        "probe": SCORE, "fullest": {**SCORE, "trials": 2}, "fewer": {"trials": [1], "epochs": [1]}, **JUDGED,
    },
    "overfitting": {
        "method": "dm", "network": NET, "ratios": [0.9], "iterations": 2, "score": SCORE, **JUDGED,
        "evaluation": {"epochs": 2, "test_every": 2},
    },
    "strata": {"network": NET, "feature_network": NET, "shown": 1, "iterations": 2, "score": SCORE, **JUDGED},
    "rankings": {
        "score": {**SCORE, "trials": 2}, "early": 1, "other_network": "mlp", "mixed": False, "shares": [0.1],
        "splits": 1, "indicators": ["random"], "removed_by": ["random"], "removals": [0.5], "own": {},
        "retrained": 1, "repeats": 1,
    },
    "methods": {
        "methods": ONCE, "network": NET, "networks": {}, "criteria": ["random"], "ratio": 0.5, "score": SCORE,
        "evaluation": {"epochs": 1}, "evaluations": {}, "repeats": 1,
    },
    "bilp": {"network": NET, "methods": ONCE, "score": SCORE, **JUDGED},
    "cross-architecture": {
        "methods": ONCE, "networks": [NET], "network": NET, "larger": {}, "both": {}, "score": SCORE, **JUDGED,
    },
    "large-data": {
        "network": NET, "score": SCORE, "versions": ["all data"], **JUDGED,
        "cells": [{"method": "dm", "splits": 2, "ratio": 0.5, "stop": 1, "plateau": 1, "options": {"iterations": 2}}],
    },
}  # fmt: skip
# What else there may be one of, in place of the above.
OTHERS = [
    ("redundancy", {"criteria": ["loss"], "ipcs": [2], "inits": {"dc": ["real"]}, "networks": {"dc": ["mlp"]},
                    "methods": {"dc": {"iterations": 1}}}),
    ("redundancy", {"networks": {"dm": ["mlp", NET], "dc": [NET]}, "inits": {"dm": ["noise"], "dc": ["noise"]},
                    "ratios": [1 / 3], "methods": {"dm": {"iterations": 1}, "dc": {"iterations": 1}}}),
    ("redundancy", {"inits": {"mtt": ["real"]}, "networks": {"mtt": [NET]}, "methods": {"mtt": {
        "iterations": 1, "experts": 1, "epochs": 8, "steps": 3, "expert_batch": 128,
    }}}),
    ("redundancy", {"light": {"tesla": ["mlp"], "linba": []}, "networks": {"dm": [NET], "tesla": [NET], "linba": [NET]},
                    "methods": {**ONCE, "linba": {"iterations": 1, "steps": 2}, "tesla": {
        "iterations": 1, "experts": 1, "epochs": 8, "steps": 3, "expert_batch": 512,
    }}}),
    ("coresets", {"main": ["craig"], "compared": 2 / 3}),
    ("coresets", {"main": ["loss"], "others": ["random"], "fewer": {"trials": [1], "epochs": [1, 2]}}),
    ("overfitting", {"criterion": "random", "ratios": [1 / 3]}),
    ("rankings", {"mixed": True, "indicators": ["loss", "el2n"], "removed_by": ["el2n", "loss"], "shares": [0.5]}),
    ("ite", {"lazies": [1], "beta": 0.01}),
    ("methods", {"methods": {"dm": {"iterations": 1}, "frepo": {"iterations": 1, "batch": 16}}, "ipcs": {"dm": 2}}),
    ("cross-architecture", {"methods": {"dm": {"iterations": 1}, "dc": {"iterations": 2}}, "networks": [NET, "mlp"],
                            "own": {"dc": {"mlp": {"iterations": 1}}}, "seeds": 2, "crossed": ["dm", "dc"]}),
    ("cross-architecture", {"larger": {"dm": ["mlp"]}, "larger_ipcs": {"dm": 2}, "larger_ratios": {"dm": [1 / 3]},
                            "both": {"dm": ["mlp"]}, "both_ipcs": [1], "settings": {
        1: {"alpha": 0.5, "beta": 0.3, "lazy": 1},
    }}),
    ("large-data", {"versions": ["all data", "by loss, stopped", "all data, stopped"], "seeds": 2}),
    ("large-data", {"versions": ["by loss"], "cells": [{"method": "mtt", "ratio": 0.5, "options": {
        "iterations": 1, "experts": 1, "epochs": 8, "steps": 3, "expert_batch": 512,
    }}]}),
    ("bilp", {"ipcs": [2], "settings": {2: {"alpha": 0.0, "beta": 0.3, "lazy": 1}}}),
]  # fmt: skip
CHAPTERS = {chapter.name: chapter for chapter in book.chapters() if chapter.defaults}
# Lists without which there is nothing to do.
NEEDED = [
    ("loss-derivative", "epochs"), ("loss-derivative", "classes"), ("ite", "methods"), ("ite", "ages"),
    ("ite", "lazies"), ("redundancy", "ipcs"), ("redundancy", "inits"), ("redundancy", "networks"),
    ("redundancy", "criteria"), ("redundancy", "ratios"), ("coresets", "ratios"), ("coresets", "main"),
    ("coresets", "fewer"), ("overfitting", "ratios"), ("bilp", "methods"), ("bilp", "ipcs"),
    ("methods", "methods"), ("methods", "criteria"), ("cross-architecture", "crossed"),
    ("cross-architecture", "networks"), ("cross-architecture", "ratios"),
    ("rankings", "shares"), ("rankings", "indicators"), ("rankings", "removed_by"), ("rankings", "removals"),
    ("large-data", "cells"), ("large-data", "versions"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("ENGINE", "inline"), ("STORE", tmp_path / "records"), ("CACHE", tmp_path / "cache")):
        monkeypatch.setenv(f"BILP_{name}", str(value))
    yield
    plt.close("all")


def read(chapter: str, values: dict, monkeypatch, cells: int | None = None) -> str:
    """The text of all that a chapter's code cells show, or the first ones, tags of HTML left out."""
    seen = []

    def show(*things):
        for thing in things:
            form = next((f for f in ("_repr_html_", "_repr_markdown_") if hasattr(thing, f)), None)
            seen.append(getattr(thing, form)() if form else "" if thing is None else repr(thing))

    monkeypatch.setattr(IPython.display, "display", show)
    notebook = CHAPTERS[chapter].notebook(book.settings(CHAPTERS[chapter], "quick", values))
    names = {"__name__": "__main__", "In": [""]}
    for cell in [cell for cell in notebook.cells if cell.cell_type == "code"][:cells]:
        names["In"].append(cell.source)
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, chapter, "exec"), names)
        if last is not None:
            show(eval(compile(ast.Expression(last.value), chapter, "eval"), names))
    return re.sub(r"<style.*?</style>|src=\"data:[^\"]*\"|<(?!img)[^>]*>", " ", "\n".join(seen), flags=re.S)


def test_every_chapter_has_a_shortest_run():
    assert SHORTEST.keys() == CHAPTERS.keys()
    lists = {"methods", "settings", "own", "probe", "score", "evaluation", "evaluations", "iterations"}
    for name, chapter in CHAPTERS.items():
        for parameter, value in chapter.defaults.items():
            if isinstance(value, list | dict) and len(value) > 1 and parameter not in lists:
                assert parameter in SHORTEST[name], f"{name}: {parameter} is a list"


@pytest.mark.parametrize(
    ("chapter", "values"),
    [*((name, {}) for name in SHORTEST), *OTHERS],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_the_shortest_lists_make_a_page(chapter, values, monkeypatch):
    page = read(chapter, SHORTEST[chapter] | values, monkeypatch)
    assert not re.search(r"\bnan\b|\bNone\b(?! yet)|\binf\b", page.partition("Provenance of the numbers")[0])
    assert "Provenance of the numbers on this page" in page


def test_full_size_without_a_measurement(monkeypatch):
    monkeypatch.setattr("bilp_core.report.measurements", lambda name: pd.DataFrame())
    page = read("large-data", SHORTEST["large-data"], monkeypatch)
    assert "Not run yet." in page
    assert "Memory at the least" not in page


@pytest.mark.parametrize(("chapter", "name"), NEEDED)
def test_an_empty_list_is_refused_by_name_before_anything_runs(chapter, name, monkeypatch):
    like = type(CHAPTERS[chapter].defaults[name])
    monkeypatch.setattr("bilp_core.trials.run", lambda *_: pytest.fail("trials were run"))
    with pytest.raises(InputError, match=rf"parameter {name} = .* of {chapter}: there must be at least one"):
        read(chapter, SHORTEST[chapter] | {name: like()}, monkeypatch)


@pytest.mark.parametrize(
    ("chapter", "values", "said"),
    [
        ("redundancy", {"ratios": [0.5, 1.0]}, r"ratios = \[0.5, 1.0\] of redundancy: shares are above 0 and below 1"),
        ("redundancy", {"criteria": ["loss", "loss"]}, "criteria = .* of redundancy: the same stands there twice"),
        ("redundancy", {"seeds": 0}, "seeds = 0 of redundancy: must be at least 1"),
        ("redundancy", {"inits": {"dm": []}}, "inits = {'dm': \\[\\]} of redundancy: there must be at least one"),
        ("redundancy", {"inits": {"idc": ["real"]}}, "networks = .*: must name one for idc of inits and light"),
        ("coresets", {"ratios": {1: [0.9], 50: [0.5]}}, "iterations = .*: must have some for IPC 50"),
        ("coresets", {"own": {"el2n": {"epohcs": 3}}, "main": ["el2n"]}, "no option 'epohcs'. Did you mean 'epochs'"),
        ("coresets", {"fewer": {"trials": [1]}}, "fewer = .*: must have trials and epochs"),
        (
            "overfitting",
            {"evaluation": {"epochs": 2}},
            "test_every = 0 of the evaluation: must be from 1 to its 2 epochs",
        ),
        ("ite", {"methods": {"mtt": {}}}, "that of 'mtt' is not"),
        ("rankings", {"score": {"trials": 1}}, "two halves need at least two trials"),
        ("rankings", {"removed_by": ["loss"]}, "removed_by = .*: loss is not among the indicators"),
        ("rankings", {"flips": 1.0}, "flips = 1.0 of rankings: shares are above 0 and below 1"),
        ("bilp", {"ipcs": [1, 10]}, "settings = .*: must have alpha, beta and lazy for IPC 10"),
        ("bilp", {"size": 16}, "size = 16: digits has"),
        ("large-data", {"cells": [{"method": "dm", "split": 2}]}, "split in .* is unknown; allowed: data, method"),
        ("large-data", {"cells": [{"ipc": 2}]}, "cells: {'ipc': 2} names no method"),
        ("large-data", {"versions": ["stopped"]}, "versions: stopped unknown; there are: all data, unsplit"),
        ("large-data", {"versions": ["by loss"], "cells": [{"method": "dm"}]}, "no cell has the settings"),
        ("large-data", {"cells": [{"method": "dm", "splits": 9}]}, "10 classes in 9 parts"),
        ("cross-architecture", {"crossed": ["dc"]}, "methods = .*: must have dc"),
        ("cross-architecture", {"larger": {"dm": []}, "larger_ipcs": {}}, "larger_ipcs and larger_ratios: .* for dm"),
        ("cross-architecture", {"both": {"dm": []}, "both_ipcs": [2]}, "must have alpha, beta and lazy for IPC 2"),
        (
            "cross-architecture",
            {"networks": ["vgg11"]},
            "'vgg11' needs images of 28x28 or at least 32x32 pixels, got 8x8",
        ),
    ],
)
def test_what_a_chapter_cannot_do_is_said_before_anything_runs(chapter, values, said, monkeypatch):
    monkeypatch.setattr("bilp_core.trials.running._gather", lambda *_: pytest.fail("trials were run"))
    with pytest.raises(InputError, match=said):
        read(chapter, SHORTEST[chapter] | values, monkeypatch)


@pytest.fixture
def shapes(tmp_path) -> str:
    """4 classes x 16 drawn images of 16 x 16 to learn from, 8 to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 8)):
        for number, name in enumerate(("bars", "dots", "frames", "waves")):
            folder = tmp_path / "cifar10" / split / name  # the name of one of ours, which it is not
            folder.mkdir(parents=True)
            for k in range(count):
                picture = rng.integers(0, 90, (16, 16, 3), dtype=np.uint8)
                picture[number :: number + 2, 2 : 14 - number] += 120
                Image.fromarray(picture).save(folder / f"{k}.png")
    return str(tmp_path / "cifar10")


@pytest.mark.parametrize(("chapter", "values"), [("loss-derivative", {}), ("bilp", {"size": 8}), ("coresets", {})])
def test_a_folder_of_ones_own_makes_a_page(chapter, values, shapes, monkeypatch):
    page = read(chapter, SHORTEST[chapter] | {"data": shapes, "size": None} | values, monkeypatch)
    assert "Provenance of the numbers on this page" in page
    assert page.count(shapes) == 1, "captions have the folder's name, the provenance where it lies"


def test_a_folder_is_meant_from_where_the_user_stands(shapes, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(book, "run_chapter", lambda _, __, values: given.append(values["data"]))
    monkeypatch.setattr(book, "sweep", lambda _, axes, *__: given.extend(axes["data"]) or [])
    monkeypatch.setenv("HOME", str(Path(shapes).parent))
    for typed in ("./cifar10", "~/cifar10", shapes, "cifar10"):
        assert main(["run", "bilp", "-p", "data", typed]) == 0
    assert main(["run", "bilp", "--sweep", "data", "digits", "./cifar10"]) == 0
    assert given == [shapes, shapes, shapes, "cifar10", "digits", shapes], "our own names are ours"
    assert main(["run", "bilp", "-p", "data", "cifra10"]) == 2
    assert "Did you mean 'cifar10'" in capsys.readouterr().err


def test_a_folder_too_small_for_strata_is_refused_by_number(shapes, monkeypatch):
    with pytest.raises(InputError, match="a class has only 16 images; ten strata, .* need 20"):
        read("strata", SHORTEST["strata"] | {"data": shapes}, monkeypatch)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_papermill_reads_every_parameter_without_a_warning(chapter, tmp_path, caplog):
    import nbformat
    from papermill import inspect_notebook

    nbformat.write(CHAPTERS[chapter].notebook(), tmp_path / "chapter.ipynb")
    assert inspect_notebook(tmp_path / "chapter.ipynb").keys() == CHAPTERS[chapter].defaults.keys()
    assert not caplog.records


@pytest.mark.parametrize("preset", ["quick", "photos", "paper"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_papermill_and_we_read_the_same_in_a_preset(chapter, preset):
    file = paths.root() / "params" / preset / f"{chapter}.yaml"
    given = yaml.safe_load(file.read_text("utf-8"))  # as papermill does
    ours = book.settings(CHAPTERS[chapter], preset)
    assert given == {name: ours[name] for name in given}


def test_papermill_by_hand_stops_at_a_misspelt_parameter(tmp_path):
    import nbformat
    from papermill import PapermillExecutionError, execute_notebook

    nbformat.write(CHAPTERS["loss-derivative"].notebook(), tmp_path / "chapter.ipynb")
    source, out = str(tmp_path / "chapter.ipynb"), str(tmp_path / "out.ipynb")
    with pytest.raises(PapermillExecutionError, match="loss-derivative has no parameter 'sedes'. Did you mean 'seed'"):
        execute_notebook(source, out, {"epochs": "[1]", "sedes": 1}, progress_bar=False)
