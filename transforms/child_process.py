"""Python processes that this one starts: they find the same modules, and no others."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_SAFE_PATH = "PYTHONSAFEPATH"


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m`` does, but never takes one from the working folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Keeps Python processes that others start while the block runs from modules in the working folder."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child, with some variables set.

    The child finds modules where this process does: a worker's path need not be in its environment.
    """
    path = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"PYTHONPATH": path, _SAFE_PATH: "1"} | variables
