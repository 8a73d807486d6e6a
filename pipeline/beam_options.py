"""What Apache Beam has in options and runners, without importing Beam: what it has not is refused at once."""

from __future__ import annotations

import ast
import functools
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def beam_option_names() -> frozenset[str]:
    """The long flags that Beam declares by ``add_argument("--name", …)`` and its like, without their dashes."""
    calls = (node for node in ast.walk(_source()) if isinstance(node, ast.Call))
    declared = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_argument"))
    values = (given.value for call in declared for given in call.args if isinstance(given, ast.Constant))
    return frozenset(str(value).removeprefix("--") for value in values if str(value).startswith("--"))


@functools.cache
def beam_runner_names() -> tuple[str, ...]:
    """The runners that Beam knows by name, such as ``DirectRunner``."""
    for node in ast.walk(_source()):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ALL_KNOWN_RUNNERS":
            return tuple(path.rsplit(".", 1)[-1] for path in ast.literal_eval(node.value))
    raise LookupError("Apache Beam's source no longer lists its runners as ALL_KNOWN_RUNNERS")


@functools.cache
def _source() -> ast.Module:
    beam = find_spec("apache_beam")
    assert beam
    assert beam.submodule_search_locations
    file = Path(beam.submodule_search_locations[0], "options", "pipeline_options.py")
    return ast.parse(file.read_text(encoding="utf-8"))
