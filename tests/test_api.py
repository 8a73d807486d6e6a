"""What ``import faceveil`` offers: at once, by type, and to every module that asks."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import apache_beam as beam
import numpy as np
import pytest

import faceveil
from tests.pipeline.test_cli import HEAVY

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_importing_it_loads_nothing_heavy() -> None:
    script = f"import faceveil, sys; print([name for name in {HEAVY} if name in sys.modules], len(sys.modules))"
    loaded, count = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.rsplit(" ", 1)
    assert loaded == "[]"
    assert int(count) < 150
    script = f"import faceveil, sys; faceveil.run; faceveil.JobOptions(); {script}"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.startswith("[] ")


def test_all_that_it_names_is_there_and_documented() -> None:
    assert dir(faceveil) == faceveil.__all__
    for name in faceveil.__all__:
        offered = getattr(faceveil, name)
        if name != "__version__":
            assert inspect.getdoc(offered)
            assert pickle.loads(pickle.dumps(offered)) is offered  # noqa: S301
    with pytest.raises(AttributeError, match="module 'faceveil' has no attribute 'annonymize'"):
        faceveil.annonymize  # type: ignore[attr-defined]  # noqa: B018


def test_all_of_its_errors_are_of_one_kind() -> None:
    errors = [value for name in faceveil.__all__ if inspect.isclass(value := getattr(faceveil, name))]
    for error in errors:
        if issubclass(error, Exception):
            assert issubclass(error, faceveil.Error)
    assert issubclass(faceveil.OptionError, ValueError)


def typed(anonymizer: faceveil.Anonymizer, encoded: bytes, array: NDArray[np.uint8]) -> None:
    """Never called; the type checker reads it."""
    assert_type(faceveil.run(input="in", output="out"), dict[str, Any])
    assert_type(anonymizer.anonymize(encoded), bytes)
    assert_type(anonymizer.anonymize(array, key="a"), "NDArray[np.uint8]")
    for made in anonymizer.anonymize_all([encoded]):
        assert_type(made, bytes | faceveil.Quarantine)
    assert_type(anonymizer.find_faces(array), faceveil.Faces)
    assert_type(faceveil.__version__, str)
    assert_type(faceveil.JobOptions().method, str)


def test_the_wheel_says_that_it_is_typed() -> None:
    assert Path(faceveil.__file__).with_name("py.typed").exists()


def test_transforms_are_beam_s() -> None:
    for transform in (faceveil.AnonymizeDataset, faceveil.AnonymizeExamples, faceveil.AnonymizeImages):
        assert issubclass(transform, beam.PTransform)
