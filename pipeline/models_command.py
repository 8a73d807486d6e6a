"""``faceveil models``: which detectors there are, where they lie and under which terms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from faceveil.pipeline.console import say_result
from faceveil.transforms.detectors import models
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.cache import find_built
from faceveil.transforms.models.onnx_file import is_onnx


def add_models_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = commands.add_parser(
        "models",
        help="list or build detectors",
        description="Lists the detectors that --model knows by name, builds them, or tells where one lies.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="all of them, with their licences (what happens without an action)")
    known = sorted(models.KNOWN_MODELS)
    build = actions.add_parser("build", help="build one, or all, ahead of the first run that needs it")
    build.add_argument("name", nargs="?", choices=known, help="which one (default: all)")
    described = actions.add_parser("describe", help="tell what a detector of your own takes and returns, and try it")
    described.add_argument("model", metavar="PATH", help="an ONNX file: prints how it is read, as a YAML to edit")
    path = actions.add_parser("path", help="print the folder of one as a SavedModel, built if need be")
    path.add_argument("name", choices=known)


def run_models_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        ModelError: a model cannot be built, or not where it stays.
    """
    if given.action == "build":
        for name in [given.name] if given.name else sorted(models.KNOWN_MODELS):
            say_result(f"{name}: {_build_to_stay(name)}")
    elif given.action == "describe":
        say_result(_describe_onnx(given.model))
    elif given.action == "path":
        say_result(str(_build_to_stay(given.name)))
    else:
        say_result("\n\n".join(_describe(info) for info in models.describe_models()))
    return 0


def _build_to_stay(name: str) -> Path:
    """A model's folder in the cache: the temporary one that a run makes do with is gone when this command ends."""
    path = models.known_model(name)
    if find_built(models.KNOWN_MODELS[name].build) is None:
        raise ModelError(f"{name}: the cache cannot be written; FACEVEIL_CACHE names another folder for it")
    return path


def _describe_onnx(path: str) -> str:
    """How an ONNX file is read, as lines of the declaration beside it, once it has been tried."""
    if not is_onnx(path):
        raise ModelError(f"{path} is no ONNX file (*.onnx); a SavedModel needs no declaration")
    # Here, so that the other actions load nothing heavy.
    from faceveil.transforms.detectors.declaration import as_yaml
    from faceveil.transforms.detectors.detector_files import local_detector
    from faceveil.transforms.detectors.onnx_load import load_onnx_detector

    detector = load_onnx_detector(local_detector(path), threads=1)
    return "\n".join(as_yaml(detector.reading.as_declaration()))


def _describe(info: models.ModelInfo) -> str:
    size = "" if info.size is None else f" ({info.size / 1e6:.1f} MB)"
    return "\n".join(
        (
            info.model.name,
            f"  path:    {info.path or 'built when first needed'}{size}",
            f"  source:  {info.model.source}",
            f"  sha256:  {info.model.digest}",
            f"  licence: {info.model.licence}",
            f"  card:    {info.model.card}",
        )
    )
