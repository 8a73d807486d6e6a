"""The site, as `make site` builds it: without a network, without a warning, and readable without a network too.

make test-docs
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import faceveil
from tests.conftest import ROOT
from tests.docs.pages import DOCS, PAGES

SITE = ROOT / "site-output"
LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """A page of the site: what it loads, where its links lead, the names in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.loads, self.links, self.names = path, set[str](), set[str](), set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in LOADED and value and dict(attrs).get("rel") not in ("next", "prev", "index", "search"):
                self.loads.add(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.add(value)
            elif name == "id" and value:
                self.names.add(value)


@pytest.fixture(scope="module")
def site() -> dict[Path, Page]:
    """Its pages, built where no network is, if this machine lets us."""
    apart = ["unshare", "--map-root-user", "--net"]
    alone = apart if subprocess.run([*apart, "true"], capture_output=True).returncode == 0 else []
    built = subprocess.run([*alone, "make", "site"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    return {path: Page(path) for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts}


def targets(page: Page) -> Iterator[tuple[Path, str]]:
    """The files that a page's links within the site lead to, and the names in them."""
    for link in page.links:
        place, name = urldefrag(link)
        if not re.match(r"[a-z]+:", place):
            yield ((page.path.parent / unquote(place)).resolve() if place else page.path), unquote(name)


def test_every_page_is_in_it(site: dict[Path, Page]) -> None:
    made = {path.relative_to(SITE).with_suffix("") for path in site}
    assert {page.relative_to(DOCS).with_suffix("") for page in PAGES} | {Path("api")} <= made


def test_every_page_is_reached_from_the_first(site: dict[Path, Page]) -> None:
    reached, ahead = set[Path](), [SITE / "index.html"]
    while ahead:
        if (path := ahead.pop()) not in reached:
            reached.add(path)
            ahead += [target for target, _ in targets(site[path]) if target in site]
    assert site.keys() - reached == {SITE / "search.html"}  # the field on every page leads there


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    broken = {
        f"{path.relative_to(SITE)} -> {target.name}#{name}"
        for path, page in site.items()
        for target, name in targets(page)
        if not target.exists() or (name and target in site and name not in site[target].names)
    }
    assert broken == set()


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    loads = {load for page in site.values() for load in page.loads}
    assert loads
    assert [load for load in loads if re.match(r"(?:[a-z]+:)?//", load)] == []
    for style in SITE.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"@import[^;]*|url\(['\"]?(?:https?:)?//[^)]*\)", text) == [], style


@pytest.mark.usefixtures("site")
def test_options_are_spelt_as_they_are_typed() -> None:
    text = (SITE / "options.html").read_text(encoding="utf-8")
    assert "with --format images" in text


def test_all_that_the_package_offers_is_in_the_reference(site: dict[Path, Page]) -> None:
    names = site[SITE / "api.html"].names
    assert {f"faceveil.{name}" for name in faceveil.__all__ if name != "__version__"} <= names


@pytest.mark.usefixtures("site")
def test_pages_are_found_by_what_they_say() -> None:
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} <= set(re.findall(r'"([\w/-]+)"', index))
