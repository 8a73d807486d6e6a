"""The directive ``offered``: one of the names that ``import faceveil`` offers, from its docstring.

The source is read, not imported: so the site needs none of the libraries that faceveil needs, and the names are those
of the package, whatever module they come from.
"""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

_PACKAGE = Path(__file__).parents[1] / "faceveil"


class Offered(SphinxDirective):
    """``.. offered:: NAME``, of a class with ``:methods:``, the names of those that are told."""

    required_arguments = 1
    option_spec: ClassVar = {"methods": str.split}

    def run(self) -> list[nodes.Node]:
        """The signature and docstring of the name, and of the methods."""
        path, node = _definition(self.arguments[0])
        self.env.note_dependency(str(path))
        lines = [".. py:currentmodule:: faceveil", "", *_documented(node, self.config)]
        for name in self.options.get("methods", ()):
            [method] = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == name]
            lines += [f"   {line}" for line in _documented(method, self.config, within=True)]
        found: list[nodes.Node] = self.parse_text_to_nodes("\n".join(lines))
        return found


@functools.cache
def _definition(name: str) -> tuple[Path, ast.FunctionDef | ast.ClassDef]:
    """Where a name comes from, by the imports that type checkers see, and how it is defined there."""
    for node in ast.walk(ast.parse((_PACKAGE / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            path = _PACKAGE.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            for defined in ast.parse(path.read_text()).body:
                if isinstance(defined, (ast.FunctionDef, ast.ClassDef)) and defined.name == name:
                    return path, defined
    raise ValueError(f"faceveil offers no {name}")


def _documented(node: ast.FunctionDef | ast.ClassDef, config: Any, within: bool = False) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        kind, signature = "class", f"({_arguments(made[0])})" if made else ""
        if any(ast.unparse(base).endswith("Error") or ast.unparse(base) == "Exception" for base in node.bases):
            kind, signature = "exception", ""
    else:
        kind = "method" if within else "function"
        signature = f"({_arguments(node)}) -> {ast.unparse(node.returns) if node.returns else 'None'}"
    yield f".. py:{kind}:: {node.name}{signature}"
    yield ""
    for line in GoogleDocstring(ast.get_docstring(node) or "", config, what=kind, name=node.name).lines():
        yield f"   {line}"
    yield ""


def _arguments(node: ast.FunctionDef) -> str:
    arguments = node.args
    if arguments.args and arguments.args[0].arg == "self":
        arguments = copy.copy(arguments)
        arguments.args = arguments.args[1:]
    return ast.unparse(arguments)


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds the directive."""
    app.add_directive("offered", Offered)
    return {"parallel_read_safe": True}
