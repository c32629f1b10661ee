"""Every page of the rendered book in a real browser, from disk: as a reader without network sees it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from bilp_core.book import browser
from bilp_core.errors import InputError

RAW_TEX = re.compile(r"\$\$|\\\(|\\\[|\\(?:frac|sum|mathcal|mathbf|lVert|partial|begin|left|sigma|nabla)\b|\$[^$\n]+\$")

# What a reader sees of the text, without code and without what MathJax has set.
VISIBLE_TEXT = """() => {
    const article = document.querySelector('article.bd-article').cloneNode(true);
    article.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());
    return article.textContent;
}"""
# Contrast (WCAG) of text against the first opaque background behind it, where it is below 3:1.
FAINT_TEXT = """() => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const context = canvas.getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => [r, g, b]
        .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = rgba(getComputedStyle(e).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255];
    };
    const texts = '.bd-article :is(p, li, td, th, h1, h2, h3, summary, figcaption, caption)';
    return [...document.querySelectorAll(texts)]
        .filter(e => e.innerText && e.innerText.trim() && e.checkVisibility())
        .map(e => {
            const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(behind(e))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.innerText.trim().slice(0, 40)];
        })
        .filter(([contrast]) => contrast < 3)
        .map(([contrast, text]) => `${contrast.toFixed(1)} ${text}`);
}"""
LOST_IMAGES = """() => [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    try:
        browser.program()
    except InputError as error:
        pytest.skip(str(error))
    with browser.browser() as opened:
        yield opened


class Visit:
    """A browser window that opens pages and notes errors and requests to outside."""

    def __init__(self, browser: Any, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, file: Path) -> Any:
        self.page.goto(file.as_uri(), wait_until="load")
        self.page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; }")
        return self.page


def content_pages(html: Path) -> list[Path]:
    """Pages made from the book's text (not the index, which only redirects, nor the search page)."""
    found = [html / f"{file.relative_to(html / '_sources').with_suffix('')}.html" for file in sources(html)]
    assert len(found) > 3
    return found


def sources(html: Path) -> list[Path]:
    return sorted(file for file in (html / "_sources").rglob("*") if file.suffix in {".md", ".ipynb"})


def test_no_errors_no_requests_no_raw_tex(chromium, html):
    visit = Visit(chromium, viewport={"width": 1280, "height": 900})
    raw, lost, with_maths = {}, {}, 0
    for file in content_pages(html):
        name = str(file.relative_to(html))
        page = visit.open(file)
        raw[name] = RAW_TEX.findall(page.evaluate(VISIBLE_TEXT))
        lost[name] = page.evaluate(LOST_IMAGES)
        written = page.locator("article .math").count()
        set_ = page.locator("article .math mjx-container svg").count()
        assert set_ == written, f"{name}: {written} formulas, {set_} of them set"
        assert page.locator("article mjx-container [data-mjx-error], article mjx-merror").count() == 0, name
        with_maths += bool(set_)
    assert with_maths, "no page has a formula: the test looks at the wrong thing"
    assert not {name: found for name, found in raw.items() if found}
    assert not {name: found for name, found in lost.items() if found}
    assert not visit.errors
    assert not visit.outside


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen_and_text_can_be_read(chromium, html, scheme):
    visit = Visit(chromium, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    wide, faint = {}, {}
    for file in content_pages(html):
        name = str(file.relative_to(html))
        page = visit.open(file)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[name] = width
        faint[name] = page.evaluate(FAINT_TEXT)
    assert not wide
    assert not {name: found for name, found in faint.items() if found}


def test_search_finds_a_chapter_without_a_server(chromium, html):
    visit = Visit(chromium, viewport={"width": 1280, "height": 900})
    visit.page.goto((html / "search.html").as_uri() + "?q=redundancy")
    visit.page.wait_for_selector("ul.search li a", timeout=20_000)
    links = visit.page.locator("ul.search li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert any("redundancy" in link for link in links)
    assert not visit.errors
    assert not visit.outside


@pytest.mark.parametrize(("scheme", "rules"), [("light", []), ("dark", ["color-contrast"])])
def test_accessibility(chromium, html, scheme, rules):
    """axe-core finds nothing serious on any page; in the dark only colours differ."""
    axe, visit, found = Axe(), Visit(chromium, viewport={"width": 1280, "height": 900}, color_scheme=scheme), {}
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    for file in content_pages(html):
        result = axe.run(visit.open(file), options=options)
        serious = [one for one in result.response["violations"] if one["impact"] in ("serious", "critical")]
        found |= {
            f"{file.relative_to(html)}: {one['id']}": [node["html"][:200] for node in one["nodes"][:3]]
            for one in serious
        }
    assert not found, "\n".join(f"{where}\n    {nodes}" for where, nodes in found.items())
