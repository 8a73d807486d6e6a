"""The pages: README and docs, their blocks of code, what they say in code, their links and where links may lead."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
PAGES = tuple(sorted(DOCS.rglob("*.md")))
"""What is in the site."""
READ = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES)
"""What readers are told to do things by."""

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^`\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>[^>]+?) -->\s*\Z")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: the file.
        line: where it begins, from 1.
        language: what is written behind the fence.
        text: its lines.
        not_run: why it is not run, from the comment before it: ``<!-- not run: needs a bucket -->``.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        """The page and the line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The blocks of a page in these languages, in their order; in any, if none is named."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if not languages or found["language"] in languages:
            before = text[: found.start()]
            marked = _NOT_RUN.search(before)
            lines = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
            yield Block(page, before.count("\n") + 1, found["language"], lines, marked["why"] if marked else None)


def transcripts(page: Path) -> str:
    """What was typed in sessions of a terminal that a page shows: lines with ``$`` in blocks without a language."""
    shown = [line for block in blocks(page, "") for line in block.text.splitlines()]
    return "\n".join(line.removeprefix("$ ") for line in shown if line.startswith("$ "))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """What stands between backticks, on one line each."""
    return [" ".join(found[2].replace("\\|", "|").split()) for found in _CODE.finditer(prose(page))]


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, without those to other hosts."""
    targets = [found["target"] for found in _LINK.finditer(_CODE.sub("", prose(page)))]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The names of a page's headings, as Git hosts make them."""
    seen: Counter[str] = Counter()
    names = set()
    for found in _HEADING.finditer(prose(page)):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", found["title"]).lower()
        name = re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return frozenset(names)
