"""The tables of ``docs/options.md``, from the options as they are declared: ``make docs`` writes them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faceveil.pipeline.option_values import Range, takes_several
from faceveil.pipeline.options import FIELDS

_BEGIN, _END = "<!-- options: written by `make docs` -->", "<!-- end of options -->"
_PAGES = {
    "input": "inputs.md",
    "exclude": "inputs.md#leaving-some-out",
    "records_output": "output.md#the-audit-trail",
    "format": "folders.md",
    "copy_others": "folders.md#labels-beside-photos",
    "retry_quarantined": "faults.md",
    "hash_keys": "output.md#hiding-the-names-of-files",
    "boxes": "boxes.md",
    "strict_features": "output.md#features-of-examples",
    "method": "safe-fakes.md",
    "keep_metadata": "images.md#keeping-some-of-it",
    "allow_label_maps": "images.md#maps-of-labels-and-distances",
    "model": "onnx.md",
    "quality": "detection.md",
}


def with_tables(page: str) -> str:
    """A page with the tables between its two marks written anew.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"there is no {_BEGIN} … {_END}")
    return f"{before}{_BEGIN}\n{chr(10).join(_tables())}\n{_END}{after}"


def _tables() -> Iterator[str]:
    groups = dict.fromkeys(option.metadata["group"] for option in FIELDS.values())
    for group in groups:
        yield f"\n## {group.capitalize()}\n\n| option | values | default | |\n|---|---|---|---|"
        for name, option in FIELDS.items():
            if option.metadata["group"] == group:
                page = f" ([more]({_PAGES[name]}))" if name in _PAGES else ""
                help_text = option.metadata["help"].replace("|", "\\|").replace("*", "\\*")
                yield f"| `--{name}` | {_values(option)} | {_default(option)} | {help_text}{page} |"
    yield ""


def _values(option: dataclasses.Field[Any]) -> str:
    allowed, metavar = option.metadata["allowed"], option.metadata["metavar"]
    if option.metadata["parse"] is bool:
        return ""
    several = " …" if takes_several(option) else ""
    if isinstance(allowed, tuple):
        return ", ".join(f"`{value}`" for value in allowed)
    if isinstance(allowed, Range):
        return f"{metavar}{several}, {allowed}"
    return f"{metavar or 'NAME'}{several}"


def _default(option: dataclasses.Field[Any]) -> str:
    if option.default in (None, (), "", False):
        return ""
    return f"`{' '.join(option.default) if isinstance(option.default, tuple) else option.default}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
