"""The whole book as one PDF: every page printed by Chromium, in the order of the contents, and joined.

Links between pages lead to the place in the PDF, and the contents are its bookmarks: parts, pages, headings.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import yaml

from .browser import browser

PAPER = {
    "format": "A4",
    "scale": 0.8,
    "print_background": True,
    "margin": {"top": "16mm", "bottom": "16mm", "left": "12mm", "right": "12mm"},
}
# Opens what is folded, has a place noted for everything that links may lead to, and tells title and headings.
PREPARE = """async () => {
    if (window.MathJax) await MathJax.startup.promise;
    document.querySelectorAll('.bd-article details').forEach(each => { each.open = true; });
    document.querySelectorAll('.headerlink').forEach(each => each.remove());
    for (const each of document.querySelectorAll('.bd-article [id]')) {
        const link = document.createElement('a');
        link.href = '#' + each.id;
        link.hidden = true;
        document.body.append(link);
    }
    const text = each => each.textContent.trim().replace(/\\s+/g, ' ');
    return {
        title: text(document.querySelector('.bd-article h1')),
        headings: [...document.querySelectorAll('.bd-article section > h2')].map(h => [h.parentElement.id, text(h)]),
    };
}"""

Place = tuple[int, float, float]  # sheet of the whole PDF, from 0; left and top in points


@dataclass
class Printed:
    """A page as it came from the browser."""

    title: str
    headings: list[tuple[str, str]]  # id and text
    pdf: bytes


def contents(entry: dict[str, Any], depth: int = 0) -> Iterator[tuple[int, str, bool]]:
    """Depth, name and whether it is a page (or the caption of a part), for all that `_toc.yml` lists, in order."""
    if "caption" in entry:
        yield depth, entry["caption"], False
    for key in ("root", "file"):
        if key in entry:
            yield depth, entry[key], True
    inner = depth + bool({"caption", "file"} & set(entry))
    for key in ("parts", "chapters", "sections"):
        for each in entry.get(key, []):
            yield from contents(each, inner)


def write_pdf(root: Path, site: Path, out: Path) -> Path:
    """Print the pages in the folder `site`, and join them to the PDF `out`.

    Raises InputError where no browser is there.
    """
    listed = list(contents(yaml.safe_load((root / "book/_toc.yml").read_text("utf-8"))))
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    pages = [name for _, name, is_page in listed if is_page]
    with browser() as chromium:
        printed = {name: _print(chromium, site / f"{name}.html") for name in pages}
    writer = _joined(site, printed, listed)
    writer.add_metadata({"/Title": config["title"], "/Author": config.get("author", "")})
    writer.write(out)
    return out


def _print(chromium: Any, file: Path) -> Printed:
    page = chromium.new_page(color_scheme="light")
    page.goto(file.as_uri(), wait_until="load")
    told = page.evaluate(PREPARE)
    pdf = page.pdf(**PAPER)
    page.close()
    return Printed(told["title"], [(each, text) for each, text in told["headings"]], pdf)


def _joined(site: Path, printed: dict[str, Printed], listed: list[tuple[int, str, bool]]) -> Any:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter()
    links: list[tuple[int, Any, str]] = []  # sheet, rectangle, address
    places: dict[str, Place] = {}  # by address
    for name, page in printed.items():
        reader, start, address = PdfReader(io.BytesIO(page.pdf)), len(writer.pages), _address(site, name)
        places[address] = (start, 0.0, float(reader.pages[0].mediabox.top))
        for key, aim in reader.named_destinations.items():
            sheet = start + (reader.get_destination_page_number(aim) or 0)
            places[f"{address}#{key.removeprefix('/')}"] = (sheet, float(aim.left or 0), float(aim.top or 0))
        for number, each in enumerate(reader.pages, start):
            links += [(number, rectangle, aim) for rectangle, aim in _links(each, address)]
            each.pop("/Annots", None)  # made anew below: these know only their own page, or a file of this machine
        writer.append(reader, import_outline=False)
    _link(writer, links, places)
    _bookmark(writer, [(depth, name, printed.get(name) if is_page else None) for depth, name, is_page in listed],
              {name: _address(site, name) for name in printed}, places)  # fmt: skip
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    return writer


def _address(site: Path, name: str) -> str:
    return unquote((site / f"{name}.html").as_uri())


def _links(sheet: Any, address: str) -> Iterator[tuple[Any, str]]:
    """Rectangle and address of each link on a sheet of the page at `address`."""
    for annotation in sheet.get("/Annots", []):
        link = annotation.get_object()
        if "/Dest" in link:
            yield link["/Rect"], f"{address}#{str(link['/Dest']).removeprefix('/')}"
        elif "/URI" in link.get("/A", {}):
            yield link["/Rect"], unquote(link["/A"]["/URI"])


def _link(writer: Any, links: list[tuple[int, Any, str]], places: dict[str, Place]) -> None:
    from pypdf.annotations import Link

    for number, rectangle, address in links:
        place = places.get(address) or places.get(urldefrag(address)[0])
        if place:
            sheet, left, top = place
            made = Link(rect=rectangle, target_page_index=sheet, fit=_at(left, top))
        elif address.startswith("file:"):
            continue  # a download, or the index: not in the PDF
        else:
            made = Link(rect=rectangle, url=address)
        writer.add_annotation(page_number=number, annotation=made)


def _bookmark(
    writer: Any, entries: list[tuple[int, str, Printed | None]], addresses: dict[str, str], places: dict[str, Place]
) -> None:
    """A bookmark for each entry of the contents below that of its part, and for each heading below its page."""
    above: list[Any] = []  # the bookmarks that lead to the entry
    for position, (depth, name, page) in enumerate(entries):
        first = next(each for _, each, printed in entries[position:] if printed)  # a part begins with its first page
        sheet, left, top = places[addresses[first]]
        parent = above[depth - 1] if depth else None
        own = writer.add_outline_item(
            title=page.title if page else name, page_number=sheet, parent=parent, fit=_at(left, top), is_open=not page
        )
        above[depth:] = [own]
        for identifier, heading in page.headings if page else []:
            sheet, left, top = places[f"{addresses[name]}#{identifier}"]
            writer.add_outline_item(title=heading, page_number=sheet, parent=own, fit=_at(left, top))


def _at(left: float, top: float) -> Any:
    from pypdf.generic import Fit

    return Fit.xyz(left=left, top=top)
