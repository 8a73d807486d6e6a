"""The pages hang together: every one is in the index, every link leads to a file and a heading that are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import DOCS, INDEX, PAGES, READ, anchors, links


def test_every_page_is_in_the_index_once() -> None:
    named = Counter(link for link in links(INDEX) if link.endswith((".md", ".rst")))
    pages = {str(page.relative_to(DOCS)) for page in [*PAGES, *DOCS.rglob("*.rst")] if page != INDEX}
    assert pages - named.keys() == set(), "add it to a list of docs/index.md, which makes the site's navigation"
    assert [name for name, times in named.items() if times > 1] == []


@pytest.mark.parametrize("page", [*READ, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), target


def test_readers_find_the_index() -> None:
    assert "docs/index.md" in links(ROOT / "README.md")
