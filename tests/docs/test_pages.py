"""The pages hang together: every one is in the index, every link leads to a file and a heading that are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import DOCS, INDEX, PAGES, READ, anchors, blocks, links, spans, transcripts


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


def test_what_a_page_holds_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    run, listed = blocks(page, "sh")
    assert (run.line, run.text, run.not_run) == (10, "faceveil run\n", None)
    assert (listed.text, listed.not_run) == ("make demo  # [no](link.md)\n", "takes hours")
    assert transcripts(page) == "faceveil models\nmake demo"
    assert links(page) == ["a.md#b", "x.png"]
    assert spans(page) == ["two", "code", "--a b", "faceveil run --input x", "[no](link.md)"]
    assert anchors(page) == {"one--two-three", "again", "again-1", "maße"}


PAGE = """\
# One & `two`: three

## Again
## Again

A [link](a.md#b), ![a picture](x.png), [elsewhere](https://example.org) and `code`, `--a
b`, ``faceveil run
--input x``, `[no](link.md)`.

```sh
faceveil run
```

* An item:

  <!-- not run: takes hours -->
  ```sh
  make demo  # [no](link.md)
  ```

```python
# Not a heading
```

```
$ faceveil models
yunet-s
$ make demo
```

### Maße
"""
