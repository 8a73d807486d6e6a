"""The names of Apache Beam's options, without importing Beam: what is no option is refused at once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def beam_option_names() -> frozenset[str]:
    """The long flags that Beam declares, without their dashes, read from its source."""
    beam = find_spec("apache_beam")
    assert beam
    assert beam.submodule_search_locations
    source = Path(beam.submodule_search_locations[0], "options", "pipeline_options.py").read_text(encoding="utf-8")
    return frozenset(_declared_flags(ast.parse(source)))


def _declared_flags(module: ast.Module) -> Iterator[str]:
    """What ``add_argument("--name", …)`` and Beam's like of it declare."""
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_argument"):
            for given in call.args:
                if isinstance(given, ast.Constant) and isinstance(given.value, str) and given.value.startswith("--"):
                    yield given.value.removeprefix("--")
