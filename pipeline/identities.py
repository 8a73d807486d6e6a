"""Photos with their persons: a folder for each, or Examples with a feature that names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceveil.pipeline.option_values import OptionError
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.container import CorruptRecordError
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.tfrecord import read_records
from faceveil.transforms.inputs.match import Input, InputFile, list_inputs
from faceveil.transforms.inputs.paths import as_path


@dataclass(frozen=True)
class IdentityPhoto:
    """A photo: its name, whose it is, and the compressed image."""

    key: str
    person: str
    data: bytes


def read_identities(pattern: str, identity_feature: str | None, image_feature: str) -> Iterator[IdentityPhoto]:
    """The photos that ``--identities`` names, by name.

    Args:
        pattern: a folder or a glob, as users write it.
        identity_feature: of Examples, the feature that says whose photo it is; None for image files, whose first
            folder does.
        image_feature: of Examples, the feature with the image.

    Raises:
        OptionError: there are no such photos, or they name nobody.
        AccessError: a file cannot be read.
    """
    kind = "image" if identity_feature is None else "tfrecord"
    files = [file for file in list_inputs([Input("data", as_path(pattern, glob=True))]) if file.kind == kind]
    if not files:
        what = "image" if kind == "image" else "TFRecord file"
        hint = "; Examples need --identity_feature" if kind == "image" else ""
        raise OptionError(f"--identities {pattern}: holds no {what}{hint}")
    for file in sorted(files, key=lambda file: file.key):
        try:
            if identity_feature is None:
                yield _photo_in_folder(file, pattern)
            else:
                yield from _photos_in_examples(file, identity_feature, image_feature)
        except (OSError, CorruptRecordError, InvalidExampleError) as error:
            raise AccessError(f"--identities: {file.path}: cannot be read: {error}") from error


def _photo_in_folder(file: InputFile, pattern: str) -> IdentityPhoto:
    person, slash, _ = file.key.partition("/")
    if not slash:
        raise OptionError(f"--identities {pattern}: {file.key} is in no person's folder")
    return IdentityPhoto(file.key, person, storage.read_bytes(file.path))


def _photos_in_examples(file: InputFile, identity_feature: str, image_feature: str) -> Iterator[IdentityPhoto]:
    with storage.open_to_read(file.path) as opened:
        for number, record in enumerate(read_records(opened)):
            example, key = Example.parse(record), f"{file.key}#{number}"
            person = _only_value(example, identity_feature)
            if person is None:
                raise OptionError(f"--identity_feature {identity_feature}: {key} has no single value of it")
            image = _only_value(example, image_feature)
            if not isinstance(image, bytes):
                raise OptionError(f"--image_feature {image_feature}: {key} has no single image in it")
            name = person.decode(errors="backslashreplace") if isinstance(person, bytes) else str(person)
            yield IdentityPhoto(key, name, image)


def _only_value(example: Example, feature: str) -> bytes | int | None:
    values = example.values(feature)
    if values is None or len(values) != 1 or isinstance(values[0], np.floating):
        return None
    return values[0] if isinstance(values[0], bytes) else int(values[0])
