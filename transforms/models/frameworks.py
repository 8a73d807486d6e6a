"""Importing OpenVINO and TensorFlow, so that neither tells anybody of it; the only place that does so.

An import of either may do more than load code. OpenVINO sends a line of usage data to an analytics service and keeps an
identifier in the user's home; TensorFlow brings Keras along, which writes its settings there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
"""Python's, in which None stands for a module that cannot be imported."""


def load_openvino() -> Any:
    """The module ``openvino``.

    It sends by the package openvino_telemetry, and does without where that is not installed, as it now seems to be in
    this process.
    """
    _modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def load_tensorflow() -> Any:
    """The module ``tensorflow``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # it tells of CPU features at every import
    # Keras asks for both at its import: for its settings' folder, and whether it can draw.
    with _keras_without_home(), _hidden("matplotlib"):
        import tensorflow
    return tensorflow


def load_tensorflow_io() -> Any:
    """The module ``tensorflow_io``; it is there where the extra ``tfio`` is installed."""
    load_tensorflow()
    import tensorflow_io

    return tensorflow_io


def load_keras() -> Any:
    """The module ``keras``, its backend TensorFlow unless ``KERAS_BACKEND`` names another."""
    load_tensorflow()  # which brings it along
    with _keras_without_home(), _hidden("matplotlib"):
        import keras
    return keras


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Prevents imports of a module while the block runs, unless it is loaded already."""
    if module in _modules:
        yield
        return
    _modules[module] = None
    try:
        yield
    finally:
        del _modules[module]


@contextlib.contextmanager
def _keras_without_home() -> Iterator[None]:
    """Has Keras find no folder for its settings while the block runs, and none that it could make."""
    if "KERAS_HOME" in os.environ:
        yield
        return
    os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
    try:
        yield
    finally:
        del os.environ["KERAS_HOME"]
