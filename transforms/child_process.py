"""Python processes that this one starts: they find the same modules, and no others."""

from __future__ import annotations

import os
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m`` does, but never takes one from the working folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child, with some variables set.

    The child finds modules where this process does: a worker's path need not be in its environment.
    """
    path = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"} | variables
