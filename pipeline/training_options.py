"""Options that trainings of detectors share: checked values, local paths, the model's size, annotated photos."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from faceveil.evaluation.annotations import AnnotationError
from faceveil.pipeline.console import say
from faceveil.pipeline.option_values import OptionError, Range, parsed_value
from faceveil.training.architectures import ARCHITECTURES, SIZE_STEP
from faceveil.training.photos import AnnotatedPhoto, find_photos
from faceveil.transforms import storage
from faceveil.transforms.inputs.paths import as_path

_NAMED = 5
"""Photos that are left out, told by name."""


def checked_number(given: argparse.Namespace, name: str, parse: Callable[[str], Any], allowed: Range) -> Any:
    """The value of an option that is a number.

    Raises:
        OptionError: it is none, or beyond its bounds.
    """
    return parsed_value(getattr(given, name), parse, allowed, f"--{name}")


def local_path(path: str, option: str) -> str:
    """A path on this machine's disk.

    Raises:
        OptionError: it is elsewhere.
    """
    if not storage.is_local(path):
        raise OptionError(f"{option} {path}: must be on this machine's disk")
    return as_path(path)


def local_file(given: argparse.Namespace, name: str) -> str | None:
    """The local file that an option names, if it is given.

    Raises:
        OptionError: it is none.
    """
    path = getattr(given, name)
    if not path:
        return None
    found = local_path(path, f"--{name}")
    if not Path(found).is_file():
        raise OptionError(f"--{name} {path}: is no file")
    return found


def model_options(given: argparse.Namespace) -> dict[str, Any]:
    """What ``--config``, ``--image_size``, ``--epochs`` and ``--batch_size`` say, ready for ``TrainingSettings``.

    Raises:
        OptionError: a value is not allowed.
    """
    parsed_value(given.config, str, tuple(ARCHITECTURES), "--config")
    size = ARCHITECTURES[given.config].size
    if given.image_size is not None:
        size = checked_number(given, "image_size", int, Range(128, 4096))
        if size % SIZE_STEP:
            raise OptionError(f"--image_size {size}: must be a multiple of {SIZE_STEP}")
    return {
        "config": given.config,
        "image_size": size,
        "epochs": checked_number(given, "epochs", int, Range(1, 100_000)),
        "batch_size": checked_number(given, "batch_size", int, Range(1, 4096)),
    }


def annotated_photos(
    data: Sequence[str], images: str | None, option: str
) -> tuple[list[AnnotatedPhoto], dict[str, str]]:
    """The photos that an option names, and why others are left out, by name.

    Raises:
        OptionError: annotations cannot be understood, or do not belong to the images.
        AccessError: they cannot be read.
    """
    try:
        return find_photos(data, images)
    except AnnotationError as error:
        raise OptionError(f"{option} {error}") from error


def tell_left_out(left_out: dict[str, str], file: str) -> None:
    """Says which photos are left out, the first ones by name.

    Args:
        left_out: why each is, by name.
        file: which names them all.
    """
    for name, reason in list(left_out.items())[:_NAMED]:
        say(f"faceveil: {name} is left out: {reason}")
    if len(left_out) > _NAMED:
        say(f"faceveil: {len(left_out) - _NAMED} more are left out; {file} names them")
