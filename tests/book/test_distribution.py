"""What is handed on: an archive that is always the same, a PDF whose links and bookmarks lead somewhere, checksums."""

import hashlib
import os
import tarfile
import zipfile

import pytest
import yaml

from bilp_core import __version__, book
from bilp_core.book import browser, chapter, distribution, pdf
from bilp_core.errors import InputError
from bilp_core.utils import paths

CONTENTS = """
root: intro
parts:
- chapters:
  - file: alpha
- caption: More
  chapters:
  - file: deep/beta
    sections:
    - file: gamma
"""
PAGE = """<!DOCTYPE html><html><head><style>h2 {{ margin-top: 2000px }}</style></head>
<body><article class="bd-article"><section id="top"><h1>{title}<a class="headerlink" href="#top">#</a></h1>
{body}</section></article></body></html>"""


@pytest.fixture
def site(project):
    """Four small pages that lead to each other."""
    (project / "book/_toc.yml").write_text(CONTENTS)
    (project / "_config.yml").write_text("title: Tiny\nauthor: Nobody\n")
    bodies = {
        "intro": '<a href="deep/beta.html#aim">there</a> <a href="https://a.example/b#c">outside</a>',
        "alpha": '<a href="_sources/alpha.ipynb">download</a> <a href="#own">below</a>'
        '<section id="own"><h2>Own  part</h2></section>',
        "deep/beta": '<details><summary>folded</summary>hidden words</details><section id="aim"><h2>Aim</h2></section>',
        "gamma": '<a href="deep/beta.html">whole page</a>',
    }
    folder = project / "site"
    for name, body in bodies.items():
        file = folder / f"{name}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGE.format(title=f"Title of {name}", body=body))
    return folder


def test_the_contents_in_order_with_their_depths():
    assert list(pdf.contents(yaml.safe_load(CONTENTS))) == [
        (0, "intro", True),
        (0, "alpha", True),
        (0, "More", False),
        (1, "deep/beta", True),
        (2, "gamma", True),
    ]
    pages = [
        name
        for _, name, is_page in pdf.contents(yaml.safe_load((paths.root() / "book/_toc.yml").read_text()))
        if is_page
    ]
    assert pages == chapter.pages(paths.root())


def test_the_pdf_of_a_book(project, site):
    """Printed by a real browser, read with pypdf: order, bookmarks, links, nothing of this machine."""
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    try:
        browser.program()
    except InputError as error:
        pytest.skip(str(error))
    out = pdf.write_pdf(project, site, project / "book.pdf")
    read = pypdf.PdfReader(out)
    texts = [sheet.extract_text() for sheet in read.pages]
    starts = {name: next(n for n, text in enumerate(texts) if f"Title of {name}" in text) for name in
              ("intro", "alpha", "deep/beta", "gamma")}  # fmt: skip
    assert list(starts.values()) == sorted(starts.values())
    assert "hidden words" in texts[starts["deep/beta"]]
    assert (read.metadata.title, read.metadata.author) == ("Tiny", "Nobody")

    def tree(entries):
        return [
            tree(each) if isinstance(each, list) else (each.title, read.get_destination_page_number(each))
            for each in entries
        ]

    own, aim = (next(n for n, text in enumerate(texts) if words in text) for words in ("Own part", "Aim"))
    assert own > starts["alpha"]
    assert aim > starts["deep/beta"]
    assert tree(read.outline) == [
        ("Title of intro", starts["intro"]),
        ("Title of alpha", starts["alpha"]),
        [("Own part", own)],
        ("More", starts["deep/beta"]),
        [
            ("Title of deep/beta", starts["deep/beta"]),
            [("Aim", aim), ("Title of gamma", starts["gamma"])],
        ],
    ]

    def links(sheet):
        """Numbers of the sheets that links lead to, or addresses."""
        found = (annotation.get_object() for annotation in sheet.get("/Annots", []))
        return [
            each["/A"]["/URI"] if "/A" in each else read.get_page_number(each["/Dest"][0].get_object())
            for each in found
        ]

    assert links(read.pages[starts["intro"]]) == [aim, "https://a.example/b#c"]
    assert links(read.pages[starts["alpha"]]) == [own]
    assert links(read.pages[starts["gamma"]]) == [starts["deep/beta"]]
    assert str(project).encode() not in out.read_bytes()


def test_the_same_files_give_the_same_archive(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = []
    for order in (
        ("b/c.html", "a.html", ".buildinfo", ".doctrees/x"),
        (".buildinfo", ".doctrees/x", "a.html", "b/c.html"),
    ):
        folder = tmp_path / f"site{len(made)}"
        for name in order:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"text of {name}")
            os.utime(file, (len(made), 1000 + len(made)))
            file.chmod(0o600 if made else 0o755)
        made.append(distribution.archive(folder, tmp_path / f"{len(made)}.tar.gz", "top"))
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as tar:
        assert tar.getnames() == ["top/a.html", "top/b/c.html"]
        assert tar.extractfile("top/b/c.html").read() == b"text of b/c.html"
        assert {(each.uid, each.uname, each.mode, each.mtime) for each in tar} == {(0, "", 0o644, distribution.EPOCH)}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert distribution.archive(folder, tmp_path / "later.tar.gz", "top").read_bytes() != made[0].read_bytes()


def test_what_is_missing_is_said_before_anything_runs(project, monkeypatch):
    monkeypatch.setattr(distribution, "build", lambda *_, **__: pytest.fail("the book was built"))
    for absent in ("hatchling", "pypdf"):
        with monkeypatch.context() as patch:
            patch.setattr(distribution, "find_spec", lambda name, absent=absent: None if name == absent else name)
            with pytest.raises(
                InputError, match=rf"{absent}, which .* is not installed: pip install 'bilp-book\[dev\]'"
            ):
                book.distribute(root=project)
    monkeypatch.setattr(distribution, "find_spec", lambda name: name)
    monkeypatch.setattr(browser, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="playwright, which .* is not installed"):
        book.distribute(root=project)
    monkeypatch.setattr(browser, "find_spec", lambda name: name)
    monkeypatch.setattr(browser.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="no Chromium on this machine; on Debian: apt-get install chromium"):
        book.distribute(root=project)
    monkeypatch.setattr(browser.shutil, "which", lambda name: name)
    with pytest.raises(InputError, match=r"no pyproject\.toml in .*: the wheel is made in a clone"):
        book.distribute(root=project)
    assert not (project / "dist").exists()


def test_all_that_is_made_has_its_checksum(project, monkeypatch):
    def write(file, text):
        file.write_text(text)
        return file

    site = project / "html"
    site.mkdir()
    page = write(site / "index.html", "page")
    monkeypatch.setattr(distribution, "check", lambda root: None)
    monkeypatch.setattr(distribution, "build", lambda preset, *, draft, root: page)
    monkeypatch.setattr(distribution, "wheel", lambda root, out: write(out / "a.whl", "wheel"))
    monkeypatch.setattr(distribution, "write_pdf", lambda root, site, out: write(out, "pages"))
    *made, sums = book.distribute("quick", root=project)
    name = f"bilp-book-{__version__}-quick"
    assert [file.name for file in made] == ["a.whl", f"{name}-site.tar.gz", f"{name}.pdf"]
    lines = sums.read_text().splitlines()
    assert lines == [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in made]
    assert sums == project / "dist/SHA256SUMS"


def test_the_wheel_is_made_with_what_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = distribution.wheel(paths.root(), tmp_path)
    assert file.parent == tmp_path
    with zipfile.ZipFile(file) as wheel:
        assert "bilp_core/__init__.py" in wheel.namelist()
    with pytest.raises(book.BuildFailed, match="the wheel could not be built: "):
        distribution.wheel(tmp_path, tmp_path)
