"""The rendered pages: links lead somewhere, nothing is loaded from outside, notebooks can be downloaded."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat

from bilp_core import book
from bilp_core.book import public
from bilp_core.distillers import METHODS
from bilp_core.indicators import INDICATORS

LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """What a page names: ids, links a reader follows, and addresses a browser loads by itself."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images_without_text: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get(LOADED[tag]):
            self.loaded.append(given[LOADED[tag]])
        # Where a cell gives no text, the file's name stands in for it; an empty one marks decoration.
        if tag == "img" and (given.get("alt") is None or given["alt"].endswith((".png", ".svg"))):
            self.images_without_text.append(given.get("src", ""))


def pages(html: Path) -> dict[Path, Page]:
    found = {file: Page(file) for file in sorted(html.rglob("*.html")) if "_static" not in file.parts}
    assert len(found) > len(book.chapters())
    return found


def target(file: Path, address: str) -> tuple[Path, str]:
    parts = urlsplit(address)
    return (file.parent / unquote(parts.path)).resolve() if parts.path else file, unquote(parts.fragment)


def test_links_inside_the_book_lead_somewhere(html):
    book_pages = pages(html)
    broken = []
    for file, page in book_pages.items():
        for address in page.links:
            if urlsplit(address).scheme or address == "#":
                continue
            aim, fragment = target(file, address)
            known = book_pages.get(aim)
            if not aim.exists() or (fragment and known and fragment not in known.ids):
                broken.append(f"{file.relative_to(html)}: {address}")
    assert not broken


def test_nothing_is_loaded_from_outside(html):
    outside, missing = [], []
    for file, page in pages(html).items():
        for address in page.loaded:
            if address.startswith("data:"):
                continue
            if urlsplit(address).netloc:
                outside.append(f"{file.relative_to(html)}: {address}")
            elif not target(file, address)[0].exists():
                missing.append(f"{file.relative_to(html)}: {address}")
    for sheet in html.rglob("*.css"):
        found = re.findall(r"url\(\s*['\"]?((?:https?:)?//[^)]+)", sheet.read_text("utf-8"))
        outside += [f"{sheet.relative_to(html)}: {address}" for address in found]
    assert not outside
    assert not missing


def test_every_image_has_a_text_for_those_who_do_not_see_it(html):
    silent = {str(file.relative_to(html)): page.images_without_text for file, page in pages(html).items()}
    assert not {name: images for name, images in silent.items() if images}


def test_each_chapter_can_be_downloaded_as_executed(html):
    for chapter in book.chapters():
        address = f"_sources/{chapter.page}.ipynb"
        assert address in (html / f"{chapter.page}.html").read_text("utf-8"), chapter.page
        cells = [cell for cell in nbformat.read(html / address, as_version=4).cells if cell.cell_type == "code"]
        assert cells
        assert all(cell.execution_count for cell in cells if cell.source.strip()), chapter.page


def test_every_public_name_is_documented(html):
    ids = {each for file, page in pages(html).items() if file.parent.name == "reference" for each in page.ids}
    assert not [name for name in public.names() if name not in ids]
    assert not [cls.name for cls in METHODS.values() if public.full_name(cls) not in ids]
    assert not [name for name in INDICATORS if f"indicator-{name}" not in ids]


def test_each_chapter_leads_to_what_it_uses(html):
    for chapter in book.chapters():
        page = Page(html / f"{chapter.page}.html")
        assert [link for link in page.links if "reference/" in link and "#bilp_core." in link], chapter.page


def test_the_configuration_was_used(html):
    assert "BiLP Book" in re.findall(r"<title>(.*?)</title>", (html / "intro.html").read_text("utf-8"), re.S)[0]
