"""Chapters are checked, executed when something changed, staged when they succeeded, and rendered."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil  # comes with ipykernel
import pytest
from PIL import Image

from bilp_core import book, engines
from bilp_core.book import building, execution, render, sweeping
from bilp_core.book.chapter import pages
from bilp_core.engines import choice
from bilp_core.errors import InputError
from bilp_core.utils import paths
from tests.waiting import wait_until

TEXT = "book/chapters/first.md"


@pytest.fixture
def dry(monkeypatch) -> list[str]:
    """Executing and rendering replaced by a note of what would have been executed or rendered."""
    done: list[str] = []

    def execute(notebook: Path, out: Path, *, cwd: Path) -> None:
        assert cwd.is_dir()
        done.append(notebook.stem)
        node = nbformat.read(notebook, as_version=4)
        for cell in node.cells:
            if cell.cell_type == "code":
                cell.outputs = [nbformat.v4.new_output("stream", text=f"run {len(done)}\n")]
        nbformat.write(node, out)

    def sphinx(root: Path, _source: Path, out: Path, *, strict: bool) -> None:
        done.append("pages" if strict else "draft pages")
        for page in pages(root):
            file = out / "_build/html" / f"{page}.html"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("<title>Tiny</title>")

    monkeypatch.setattr(building, "execute", execute)
    monkeypatch.setattr(render, "_sphinx", sphinx)
    return done


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def outputs(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(output.text for cell in cells if cell.cell_type == "code" for output in cell.outputs)


def test_the_books_own_chapters_and_presets_agree():
    """Every preset of every chapter passes the checks, and the quick one is what the parameters cell says."""
    for chapter in book.chapters():
        for preset in ("quick", "paper"):
            values = book.settings(chapter, preset)
            assert values.keys() == chapter.defaults.keys()
        assert book.settings(chapter, "quick") == chapter.defaults, chapter.name


@pytest.mark.parametrize("chapter", book.chapters(), ids=lambda chapter: chapter.name)
def test_no_cell_changes_a_parameter(chapter):
    # A name given a second value would change what the cells below it run.
    cells = [cell for cell in chapter.notebook().cells if cell.cell_type == "code"]
    later = [cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", [])]
    names = [node for source in later for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert names, "cells without any name"
    assert not stored & set(chapter.defaults)


def test_nothing_changed_means_nothing_done(project, dry):
    page = book.build(root=project)
    assert dry == ["first", "second", "pages"]
    assert page == project / "_build/quick/_build/html/index.html"
    book.build(root=project)
    assert dry == ["first", "second", "pages"]


@pytest.mark.parametrize(
    ("file", "old", "new", "executed"),
    [
        (TEXT, "# first", "# First", ["first"]),
        ("params/quick/second.yaml", "2", "4", ["second"]),
        ("book/published/table.csv", "1", "2", ["first", "second"]),
        ("requirements.lock", "", "x", ["first", "second"]),
        ("book/intro.md", "Text", "Words", []),
    ],
)
def test_what_a_change_brings_about(project, dry, file, old, new, executed):
    book.build(root=project)
    dry.clear()
    edit(project / file, old, new)
    book.build(root=project)
    assert dry == [*executed, "pages"]


def test_a_change_in_the_library_executes_everything(project, dry):
    book.build(root=project)
    dry.clear()
    (project / "bilp_core/distill").mkdir(parents=True)
    (project / "bilp_core/distill/new.py").write_text("x = 1\n")
    book.build(root=project)
    assert dry == ["first", "second", "pages"]


@pytest.mark.parametrize("lost", ["", "intro.html", "chapters/second.html"])
def test_a_lost_page_is_rendered_again(project, dry, lost):
    folder = book.build(root=project).parent
    if lost:
        (folder / lost).unlink()
    else:
        shutil.rmtree(folder)
    dry.clear()
    book.build(root=project)
    assert dry == ["pages"]


@pytest.mark.usefixtures("dry")
def test_staged_pages_hold_the_results_and_the_values(project):
    book.build(root=project)
    source = project / "_build/quick/src"
    assert sorted(path.name for path in (source / "chapters").iterdir()) == ["first.ipynb", "second.ipynb"]
    assert not (source / "published").exists()
    assert outputs(source / "chapters/first.ipynb") == "run 1\nrun 1\n"
    assert "seeds = 2  # runs" in (source / "chapters/first.ipynb").read_text()


def test_one_failed_chapter_stops_the_pages_not_the_other_chapters(project, dry, monkeypatch):
    succeed = building.execute

    def execute(notebook: Path, out: Path, *, cwd: Path) -> None:
        if notebook.stem == "first":
            shutil.copy(notebook, out)
            raise execution.ExecutionFailed("first stopped")
        succeed(notebook, out, cwd=cwd)

    monkeypatch.setattr(building, "execute", execute)
    with pytest.raises(book.BuildFailed, match="first stopped"):
        book.build(root=project)
    assert dry == ["second"]
    built = project / "_build/quick"
    assert [path.name for path in (built / "executed").glob("*.ipynb")] == ["second.ipynb"]
    assert (built / "unfinished/first.executed.ipynb").is_file(), "kept for a look at it"
    assert not (built / "src").exists()
    monkeypatch.setattr(building, "execute", succeed)
    book.build(root=project)
    assert dry == ["second", "first", "pages"]


def test_all_parameters_are_checked_before_any_chapter_runs(project, dry):
    (project / "params/quick/second.yaml").write_text("seeds: 1e-3\n")
    with pytest.raises(InputError, match="parameter seeds = '1e-3' of second: must be a whole number, such as 3"):
        book.build(root=project)
    (project / "params/quick/second.yaml").write_text("sedes: 1\n")
    with pytest.raises(InputError, match=r"second has no parameter 'sedes'\. Did you mean 'seeds'"):
        book.build(root=project)
    assert dry == []


def test_wrong_names_are_named_with_the_right_ones(project, dry):
    with pytest.raises(InputError, match="no preset 'fast'; there are: quick"):
        book.build("fast", root=project)
    with pytest.raises(InputError, match="no chapter 'frist'; there are: first, second"):
        book.run_chapter("frist", root=project)
    with pytest.raises(InputError, match="no chapter 'third'"):
        book.build(only=["third"], root=project)
    (project / "params/quick/first.yaml").unlink()
    with pytest.raises(InputError, match=r"no params/quick/first\.yaml"):
        book.build(root=project)
    (project / TEXT).unlink()
    with pytest.raises(InputError, match=r"lists chapters/first.*no book/chapters/first\.md"):
        book.chapters(project)
    assert dry == []


def test_a_draft_executes_nothing_and_shows_what_there_is(project, dry, capsys):
    book.build(draft=True, root=project)
    assert dry == ["draft pages"]
    assert "first: not executed as it stands now" in capsys.readouterr().out
    book.build(root=project)
    dry.clear()
    edit(project / TEXT, "# first", "# A better title")
    book.build(draft=True, root=project)
    assert dry == ["draft pages"]
    staged = project / "_build/quick/src/chapters/first.ipynb"
    assert "A better title" in staged.read_text()
    assert outputs(staged) == "run 2\nrun 2\n", "cells that did not change keep their results"


def test_a_run_with_other_parameters_leaves_the_book_alone(project, dry):
    book.build(root=project)
    dry.clear()
    notebook = book.run_chapter("first", overrides={"seeds": "7"}, root=project)
    assert dry == ["first", "draft pages"]
    assert notebook.is_relative_to(project / "_build/runs")
    assert "seeds = 7  # runs" in notebook.read_text()
    assert "seeds = 2  # runs" in (project / "_build/quick/executed/first.ipynb").read_text()
    assert outputs(notebook.parents[1] / "src/chapters/second.ipynb"), "other chapters are shown as they are"
    assert book.run_chapter("first", overrides={"seeds": "7"}, root=project) == notebook
    assert dry == ["first", "draft pages"], "the same run again does nothing"
    book.build(root=project)
    assert dry == ["first", "draft pages"]


def test_a_folder_whose_images_changed_executes_its_chapter(project, dry):
    edit(project / TEXT, "seeds = 3  # runs", 'seeds = 3  # runs\ndata = "digits"')
    images = project / "pets"
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (images / name).mkdir(parents=True)
        Image.new("L", (8, 8), 50).save(images / name / "0.png")
    for _ in range(2):
        book.run_chapter("first", overrides={"data": str(images)}, root=project)
        assert dry == ["first", "draft pages"]
    Image.new("L", (8, 8), 51).save(images / "train/dog/0.png")
    book.run_chapter("first", overrides={"data": str(images)}, root=project)
    assert dry[2:] == ["first", "draft pages"]


def test_notebooks_are_filled_in_and_nobodys_work_is_overwritten(project, capsys):
    first, second = book.notebooks(root=project)
    assert first == project / "notebooks/first.ipynb"
    assert "seeds = 2  # runs" in first.read_text()
    assert outputs(second) == ""
    assert len(book.notebooks(root=project)) == 2, "the same text is no change"
    edit(first, "seeds + 1", "seeds + 2")
    assert book.notebooks(root=project) == [second]
    assert "seeds + 2" in first.read_text()
    assert f"kept {first}" in capsys.readouterr().out


def test_a_kernel_that_does_not_start_is_tried_once_more(monkeypatch, tmp_path):
    statuses = [execution.KERNEL_DID_NOT_START, 0]
    monkeypatch.setenv("BILP_DEVICE", "cpu")  # no nvidia-smi is asked
    monkeypatch.setattr(
        execution.subprocess,
        "run",
        lambda *_, **__: execution.subprocess.CompletedProcess([], statuses.pop(0)),
    )
    execution.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", cwd=tmp_path)
    for status in (execution.KERNEL_DID_NOT_START, 1, -9):
        statuses[:] = [status, status]
        with pytest.raises(execution.ExecutionFailed, match=f"a stopped .exit status {status}."):
            execution.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", cwd=tmp_path)
        assert len(statuses) == (0 if status == execution.KERNEL_DID_NOT_START else 1), "failures are not retried"


def test_real_kernels_success_error_and_death(project, capfd, monkeypatch):
    """One chapter that succeeds, one whose cell raises, then one whose kernel dies."""
    monkeypatch.setattr(render, "_sphinx", lambda *_, **__: pytest.fail("a failed chapter was rendered"))
    edit(
        project / TEXT,
        "print(seeds + 1)",
        "import sys, os\nprint(os.getcwd())\nprint('half', file=sys.stderr)",
    )
    edit(project / "book/chapters/second.md", "print(seeds + 1)", "1 / 0")
    with pytest.raises(book.BuildFailed, match="second stopped"):
        book.build(root=project)
    said = capfd.readouterr()
    assert "half" in said.err, "what a chapter says while it runs is seen while it runs"
    assert "second: cell 3 of 3 failed" in said.err
    assert "ZeroDivisionError" in said.err
    assert "without encryption" not in said.err
    executed = project / "_build/quick/executed/first.ipynb"
    assert str(project) in outputs(executed)
    assert "papermill" not in json.loads(executed.read_text())["metadata"]

    edit(project / "book/chapters/second.md", "1 / 0", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(book.BuildFailed, match="second stopped"):
        book.build(root=project)
    assert "the kernel died in cell 3 of 3" in capfd.readouterr().err
    assert not (project / "_build/quick/executed/second.ipynb").exists()


def test_a_sweep_runs_every_combination_once(project, dry, monkeypatch, capsys):
    monkeypatch.setenv("BILP_ENGINE", "inline")
    made = book.sweep("first", {"seeds": ["3", "4", "3"]}, overrides={}, root=project)
    assert [outputs(notebook) for notebook in made] == ["run 1\nrun 1\n", "run 3\nrun 3\n"]
    assert len({notebook.parent for notebook in made}) == 2
    said = capsys.readouterr().out
    assert "/2 done: first seeds=3\n" in said
    assert "/2 done: first seeds=4\n" in said
    assert os.environ["BILP_ENGINE"] == "inline"
    assert "BILP_SLOTS" not in os.environ
    with pytest.raises(InputError, match="parameter seeds = 'many'"):
        book.sweep("first", {"seeds": ["5", "many"]}, root=project)
    assert dry == ["first", "draft pages"] * 2, "nothing ran before all was checked"


def test_a_sweep_on_workers_tells_of_the_run_that_failed(project, monkeypatch, capsys):
    edit(project / TEXT, "print(seeds + 1)", "print(12 // (seeds - 3))")
    monkeypatch.setenv("BILP_SLOTS", "2")
    monkeypatch.setattr(choice, "_engines", {})
    try:
        with pytest.raises(book.BuildFailed, match=r"1 of 2 runs failed\nfirst seeds=3: .*first stopped"):
            book.sweep("first", {"seeds": [3, 5]}, root=project)
    finally:
        engines.engine().close()
    done = list((project / "_build/runs").glob("first-*/executed/first.ipynb"))
    assert [outputs(notebook) for notebook in done] == ["6\n"]


def test_a_machine_without_the_project_is_told(project):
    chapter = book.chapters(project)[0]
    sweeping._same_project(str(project), chapter.page, chapter.text)
    for root, text in ((project, "older"), (project / "nowhere", chapter.text)):
        with pytest.raises(InputError, match="is not the same on .* all machines share"):
            sweeping._same_project(str(root), chapter.page, text)


def test_a_killed_command_leaves_no_kernel_behind(tmp_path):
    note = tmp_path / "pid"
    cell = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(300)"
    notebook = tmp_path / "long.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), notebook)
    program = (
        "import sys; from pathlib import Path; from bilp_core.book.execution import execute;"
        "execute(Path(sys.argv[1]), Path(sys.argv[1] + '.out'), cwd=Path(sys.argv[2]))"
    )
    command = subprocess.Popen([sys.executable, "-c", program, notebook, tmp_path], cwd=paths.root())
    wait_until(lambda: note.is_file() and note.read_text())
    kernel = int(note.read_text())
    assert runs(kernel)
    command.kill()
    command.wait()
    wait_until(lambda: not runs(kernel))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_sphinx_complaints_stop_the_book(project, monkeypatch, capsys):
    monkeypatch.setattr(building, "execute", lambda notebook, out, **_: shutil.copy(notebook, out))
    edit(project / "book/intro.md", "Text.", "See {doc}`nowhere`.")
    with pytest.raises(book.BuildFailed, match=r"sphinx\.log"):
        book.build(root=project)
    assert "nowhere" in capsys.readouterr().out
    edit(project / "book/intro.md", "nowhere", "chapters/first")
    page = book.build(root=project)
    assert "<title>Tiny" in (page.parent / "intro.html").read_text(), "_config.yml was used"


def test_the_root_has_what_the_book_needs():
    for name in (*building.INGREDIENTS, render.CONFIG):
        assert list(paths.root().glob(name)), name
