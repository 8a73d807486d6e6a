"""Checkpoints: all that a training needs to go on, in one file that is there whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms import storage
from faceveil.transforms.errors import ModelError

_NOTE = "note"

Arrays = list[NDArray[Any]]


def take_values(variables: Sequence[Any]) -> Arrays:
    """Copies of the values of Keras' variables, whatever the backend."""
    return [np.array(variable.numpy()) for variable in variables]


def assign_values(variables: Sequence[Any], values: Sequence[NDArray[Any]], source: str) -> None:
    """Sets variables to values that ``take_values`` took of others like them.

    Raises:
        ModelError: they are of other shapes; names the source.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise ModelError(f"{source}: holds the weights of another model: of another --config, or with other labels")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write_checkpoint(path: Path, values: Sequence[NDArray[Any]], note: Mapping[str, Any]) -> None:
    """Writes values and a note that JSON can hold.

    Raises:
        AccessError: the file cannot be written.
    """
    named: dict[str, Any] = {f"{place:05d}": value for place, value in enumerate(values)}
    named[_NOTE] = np.array(json.dumps(note))
    with storage.atomic_write(str(path)) as file:
        np.savez(file, **named)


def read_checkpoint(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The values and the note of a checkpoint.

    Raises:
        ModelError: it cannot be read, or is none.
    """
    try:
        with np.load(path) as file:
            note = json.loads(str(file[_NOTE]))
            return [file[name] for name in sorted(set(file.files) - {_NOTE})], note
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: is no checkpoint of faceveil train-detector: {error}") from error
