"""The documentation as a site: `make site`, by Sphinx, which reads the pages as they lie here.

``index.md`` lists all pages; its lists become the site's navigation. Pages are plain Markdown, so that Git hosts show
them as well; ``offered.py`` makes the API's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_REPOSITORY = "https://github.com/faceveil/faceveil/blob/main"
sys.path.insert(0, str(Path(__file__).parent))

project = "faceveil"
author = "The faceveil authors"
project_copyright = "The faceveil authors, Apache License 2.0"
[release] = re.findall(r'^__version__ = "(.+)"$', (_ROOT / "faceveil" / "__init__.py").read_text(), re.MULTILINE)

extensions = ["myst_parser", "sphinx.ext.napoleon", "offered"]
myst_heading_anchors = 4
highlight_language = "none"
default_role = "code"
smartquotes = False  # they make dashes of the two before an option
add_module_names = False
exclude_patterns = ["notebooks"]

html_theme = "furo"
html_title = f"faceveil {release}"
html_use_index = False
html_copy_source = False
html_show_sourcelink = False

_LIST = re.compile(r"^## (?P<caption>.+)\n+(?P<items>(?:\* .*\n)+)", re.MULTILINE)
_PAGE = re.compile(r"^\* \[(?P<title>[^\]]+)\]\((?P<page>[\w/-]+)\.(?:md|rst)\)", re.MULTILINE)
_OUTSIDE = re.compile(r"\]\((?:\.\./)+(?P<path>[^)#\s]+)")


def setup(app: Any) -> None:
    """Has each page changed on its way into the site."""
    app.connect("source-read", _read)


def _read(_: Any, name: str, source: list[str]) -> None:
    # What is not in the site is in the repository.
    depth = name.count("/")
    source[0] = _OUTSIDE.sub(lambda found: _outside(found, depth), source[0])
    if name == "index":
        source[0] += "".join(_navigation(found["caption"], found["items"]) for found in _LIST.finditer(source[0]))


def _outside(found: re.Match[str], depth: int) -> str:
    return f"]({_REPOSITORY}/{found['path']}" if found[0].count("../") > depth else found[0]


def _navigation(caption: str, items: str) -> str:
    pages = "\n".join(f"{found['title']} <{found['page']}>" for found in _PAGE.finditer(items))
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"
