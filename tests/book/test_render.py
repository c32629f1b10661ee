"""Whether a book was made is judged by its pages, and a builder that cannot make them is named."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from bilp_core import book
from bilp_core.book import building, render
from bilp_core.errors import InputError


@pytest.fixture
def builder(tmp_path_factory, monkeypatch):
    """Puts a program in the place of jupyter-book: Python text, run with its arguments; `out` is where pages belong."""

    def put(text: str) -> None:
        program = tmp_path_factory.mktemp("scripts") / "jupyter-book"
        start = (
            "import sys, pathlib\nout = pathlib.Path(sys.argv[sys.argv.index('--path-output') + 1]) / '_build/html'\n"
        )
        program.write_text(f"#!{sys.executable}\n{start}{text}\n")
        program.chmod(0o755)
        monkeypatch.setattr(render, "_builder", lambda: program)

    monkeypatch.setattr(building, "execute", lambda *_, **__: pytest.fail("a chapter was executed"))
    return put


def pages(title: str, *names: str) -> str:
    """The program that writes these pages."""
    return f"""
for name in {names}:
    file = out / f"{{name}}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("<title>A page &#8212; {title}</title>")"""


ALL = ("intro", "chapters/first", "chapters/second")


def test_pages_with_the_books_title_are_a_book(project, builder):
    builder(pages("Tiny", *ALL))
    assert book.build(draft=True, root=project).parent == project / "_build/quick/_build/html"
    (project / "_config.yml").write_text("title: A & B <tiny>\n")
    builder(pages("A &amp; B &lt;tiny&gt;", *ALL))
    book.build(draft=True, root=project)


def test_a_builder_that_ends_well_and_makes_nothing_has_failed(project, builder):
    builder("print('all done')")
    with pytest.raises(book.BuildFailed, match=r"(?s)intro: .*no .*intro\.html.*second.*not rendered.*sphinx\.log"):
        book.build(draft=True, root=project)
    assert (project / "_build/quick/sphinx.log").read_text() == "all done\n"


def test_one_page_that_is_not_there_is_named(project, builder):
    builder(pages("Tiny", "intro", "chapters/second"))
    with pytest.raises(book.BuildFailed, match="^chapters/first: ") as failed:
        book.build(draft=True, root=project)
    assert "second" not in str(failed.value)
    assert not (project / "_build/quick/rendered.key").exists()


def test_pages_made_without_the_configuration_are_no_book(project, builder):
    builder(pages("My sample book", *ALL))
    with pytest.raises(book.BuildFailed, match=r"intro: its title is 'A page — My sample book', without 'Tiny'"):
        book.build(draft=True, root=project)


@pytest.mark.parametrize("draft", [True, False])
def test_another_builder_is_refused_before_a_chapter_runs(project, builder, monkeypatch, draft):
    builder(pages("Tiny", *ALL))
    monkeypatch.setattr(metadata, "version", lambda _: "2.1.0")
    with pytest.raises(InputError, match=r"version 2\.1\.0, which does not read _config\.yml; it must be 1: .*<2"):
        book.build(draft=draft, root=project)


def test_no_builder_is_said_before_a_chapter_runs(project, builder, monkeypatch):
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    builder("")
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", absent)
        with pytest.raises(InputError, match=f"not installed for {sys.executable}: run `make setup`"):
            book.build(root=project)
    monkeypatch.setattr(render, "_builder", lambda: Path("/nowhere/jupyter-book"))
    with pytest.raises(InputError, match="its command /nowhere/jupyter-book is not there"):
        book.build(root=project)
