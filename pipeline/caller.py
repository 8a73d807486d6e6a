"""What the command tells the Python program that has started it by ``faceveil.run``: the manifest, or an error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from faceveil.pipeline.option_values import OptionError
from faceveil.transforms.errors import (
    AccessError,
    AccountingError,
    Error,
    ModelError,
    OutOfMemoryError,
    OutputError,
    WorkerDiedError,
)

ANSWER = "FACEVEIL_ANSWER"
"""The environment variable that names the file for it."""

_KINDS = (AccessError, AccountingError, ModelError, OptionError, OutOfMemoryError, OutputError, WorkerDiedError)


class TooManyQuarantinedError(Error):
    """The job is complete, but more of its records were quarantined than ``max_quarantined`` allows.

    Attributes:
        manifest: the job's.
    """

    def __init__(self, message: str, manifest: dict[str, Any]) -> None:
        super().__init__(message, manifest)
        self.manifest = manifest

    def __str__(self) -> str:
        return str(self.args[0])


def answer_manifest(manifest: dict[str, Any]) -> bool:
    """Tells that the job is complete; whether there is somebody to tell."""
    return _answer({"manifest": manifest})


def answer_error(error: Error) -> bool:
    """Tells why the job is not as it should be; whether there is somebody to tell."""
    manifest = getattr(error, "manifest", None)
    return _answer({"error": type(error).__name__, "message": str(error), "manifest": manifest})


def _answer(answer: dict[str, Any]) -> bool:
    path = os.environ.get(ANSWER)
    if not path:
        return False
    with open(path, "w", encoding="ascii") as file:
        json.dump(answer, file)
    return True


def manifest_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in an answer.

    Raises:
        Error: the one that it tells of.
    """
    kind, message = answer.get("error"), answer.get("message", "")
    manifest: dict[str, Any] = answer["manifest"]
    if kind is None:
        return manifest
    if manifest:
        raise TooManyQuarantinedError(message, manifest)
    raise next((each for each in _KINDS if each.__name__ == kind), Error)(message)
