"""What the page shows: data is text on it, whatever it holds, and nothing is loaded or run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.pipeline.report_page.page import Run, text
from faceveil.pipeline.report_page.write import make_page
from faceveil.pipeline.written_output import open_output
from tests.made_outputs import made_failure, made_output, made_record

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=http://127.0.0.1:9/x onerror=alert(1)>',
    "'/onmouseover='alert(1)",
    "</style><style>*{background:url(http://127.0.0.1:9/y)}",
    "</title></head><body onload=alert(1)>",
    "javascript:alert(1)",
    "<!-- --><svg/onload=alert(1)>",
    "&lt;b&gt; &#x3c;script&#x3e;",
    "gpj.\u202eexe\u2028\x00\x1b[31m",
)
TAGS = set(
    """html head meta title style body main h1 h2 h3 p section dl div dt dd svg rect title ul li i b span
    figure figcaption g text input label image ellipse table thead tbody tr th td details summary""".split()  # noqa: SIM905
)


class Parsed(HTMLParser):
    """The page's elements and the text that it shows."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def evil_page(folder: Path) -> bytes:
    """The page of an output in which all that can be named is named to harm."""
    output = folder / EVIL[0].replace("/", "")
    shards = [
        [made_record(f"{evil}.png", number, faces=1 + number) for number, evil in enumerate(EVIL)],
        [made_failure(evil, "truncated", detail=evil) for evil in EVIL],
        [made_failure("a", evil) for evil in EVIL],  # as a damaged audit trail may have it
    ]
    ignored = {evil: {"files": 1, "reasons": {evil: 1}, "examples": [evil]} for evil in EVIL}
    job: dict[str, Any] = {"keep_metadata": list(EVIL), "boxes": {"feature": EVIL[1]}, "method": EVIL[1]}
    job["versions"] = {"faceveil": EVIL[0]}
    made_output(output, shards, ignored=ignored, **job)
    return make_page(open_output(str(output)), Run(EVIL[1], 1.0, 3))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return evil_page(tmp_path_factory.mktemp("evil"))


def test_whatever_data_hold_is_text(page: bytes) -> None:
    parsed = Parsed(page)
    assert {tag for tag, _ in parsed.elements} <= TAGS
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style", "srcset", "action")}
    shown = "".join(parsed.shown)
    for evil in EVIL[:8]:
        assert evil in shown
    assert "\\u202e" in shown
    assert not set("\u202e\u2028\0\x1b") & set(page.decode())


def test_it_loads_nothing_and_runs_nothing(page: bytes) -> None:
    parsed = Parsed(page)
    addresses = [value for _, attributes in parsed.elements for name, value in attributes.items() if name == "href"]
    assert addresses
    assert all(value and value.startswith("data:image/jpeg;base64,") for value in addresses)
    [policy] = [a["content"] for tag, a in parsed.elements if tag == "meta" and a.get("http-equiv")]
    style = re.search("<style>(.*?)</style>", page.decode(), re.DOTALL)
    assert style
    assert policy
    assert not re.search(r"url\(|@import|expression", style[1])
    allowed = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{allowed}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    # Nothing that the policy could forbid stands before it.
    assert page.index(b"Content-Security-Policy") < page.index(b"<style>")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_one_text(value: str) -> None:
    shown = "".join(Parsed(f"<td>{text(value)}</td>".encode()).shown)
    assert "<" not in text(value)
    assert '"' not in text(value)
    assert all(letter.isprintable() for letter in shown)
    if value.isprintable() and len(value) <= 300:
        assert shown == value


def test_it_tells_totals_and_how_long_it_took(tmp_path: Path) -> None:
    shards = [
        [made_record(f"{n}.png", n, faces=n % 3) for n in range(8)],
        [made_failure("bad.jpg", "truncated", "at 7")],
    ]
    made_output(
        tmp_path / "photos", shards, ignored={".txt": {"files": 2, "reasons": {"no image": 2}, "examples": ["a.txt"]}}
    )
    page = make_page(open_output(str(tmp_path / "photos")), Run("2026-12-01 09:04 UTC", 75.0, 9)).decode()
    for told in (
        "<dt>records</dt><dd>9</dd>",
        "<dt>faces masked</dt><dd>7</dd>",
        "9 records made in 1:15, 0.1 records/s",
    ):
        assert told in page
    for told in (
        "bad.jpg",
        "at 7",
        "a.txt",
        "the image ends before its pixels do",
        "threshold 0.21",
        "<h1>photos</h1>",
    ):
        assert told in page
