"""What is written of a record: an Example with anonymized images, their faces and the other features, or the image.

Rows of tables and WebDataset's samples are made of that Example.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import ImageInfo, stored_boxes
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.checksums import renewed_checksums
from faceveil.transforms.formats.columns import Columns, arrow_schema, read_row, row_of, with_main_image
from faceveil.transforms.formats.example import Example, FeatureValue
from faceveil.transforms.formats.features import FACE_INDEX, FeatureRoles
from faceveil.transforms.formats.layout import OutputFormat
from faceveil.transforms.formats.parquet_columns import example_of_row
from faceveil.transforms.formats.samples import example_of_sample, file_sample_name, sample_of
from faceveil.transforms.shard.read import image_names

OWN_IMAGE = "image/encoded"  # of an Example that is made for an image file
OWN_FEATURES = ("image/format", "image/filename", "image/height", "image/width")
"""What such an Example says of the file beside its faces; these can be left out."""


@dataclass(frozen=True)
class AnonymizedImage:
    """One image of a record as it will be written.

    Attributes:
        data: the compressed image.
        info: its format, size and orientation.
        faces: found in it and masked, in pixels of the upright image.
        reencoded: whether it is lossy and was encoded again as a whole.
    """

    data: bytes
    info: ImageInfo
    faces: Faces
    reencoded: bool


def compose_example(
    key: str,
    example: Example | None,
    originals: Sequence[bytes],
    images: Sequence[AnonymizedImage],
    roles: FeatureRoles,
) -> bytes:
    """The serialised Example of a record.

    Args:
        key: the record's.
        example: as it was read; None of an image file.
        originals: the images as they were.
        images: its anonymized images, as ``image_names`` tells their features.
        roles: what its features are.
    """
    found: dict[str, FeatureValue] = {}
    named: dict[str, list[AnonymizedImage]] = {}
    for name, image in zip(image_names(example, roles), images, strict=True):
        named.setdefault(name, []).append(image)
    for prefix, alike in zip(roles.prefixes(), named.values(), strict=False):  # an image file is one, whatever is named
        found |= face_features(prefix, alike)
    if example:
        replaced = {name: [image.data for image in alike] for name, alike in named.items()}
        changed = [(before, image.data) for before, image in zip(originals, images, strict=True)]
        names = example.names()
        checksums = renewed_checksums(example, set(filter(roles.keeps_checksums, names)), changed)
        formats = _renewed_formats(example, dict(zip(roles.prefixes(), named.values(), strict=False)))
        written = {**replaced, **checksums, **formats, **found}
        left_out = {*roles.dropped, *(name for name in names if name not in written and roles.is_left_out(name))}
        return example.with_features(written, left_out)
    [image] = images
    info = image.info
    values = (info.format.encode(), key.encode(), [info.height], [info.width])
    described: dict[str, FeatureValue] = {OWN_IMAGE: image.data, **dict(zip(OWN_FEATURES, values, strict=True))}
    return Example.empty().with_features({**described, **found}, set(roles.dropped) - {OWN_IMAGE})


def _renewed_formats(example: Example, named: Mapping[str, Sequence[AnonymizedImage]]) -> dict[str, FeatureValue]:
    """The features that name the format of images, of those that are written in another one."""
    renewed: dict[str, FeatureValue] = {}
    for prefix, images in named.items():
        before = example.bytes_values(f"{prefix}/format") or ()
        if len(before) == len(images) and any(image.info.source for image in images):
            pairs = zip(before, images, strict=True)
            renewed[f"{prefix}/format"] = [
                image.info.format.encode() if image.info.source else old for old, image in pairs
            ]
    return renewed


def compose_image(
    key: str,
    example: Example | None,
    originals: Sequence[bytes],
    images: Sequence[AnonymizedImage],
    roles: FeatureRoles,
) -> bytes:
    """The image of a record that is an image file; takes what ``compose_example`` does."""
    del key, example, originals, roles
    [image] = images
    return image.data


Compose = Callable[[str, Example | None, Sequence[bytes], Sequence[AnonymizedImage], FeatureRoles], bytes]
"""Makes what is written of a record; see ``compose_example``. May raise a Quarantine."""


def composer(output_format: OutputFormat, columns: Columns) -> Compose:
    """What makes what is written of a record.

    Args:
        output_format: what the job writes.
        columns: the types of features, where that needs any.
    """
    if output_format == "images":
        return compose_image
    if output_format == "parquet":
        return functools.partial(_compose_row, columns=columns)
    return functools.partial(_compose_sample, columns=columns) if output_format == "webdataset" else compose_example


Decompose = Callable[[bytes], bytes]
"""Gives of what was written of a record the Example that it was made of. May raise a Quarantine or InvalidExampleError.
"""


def decomposer(output_format: OutputFormat, columns: Columns, roles: FeatureRoles) -> Decompose:
    """What makes Examples again of records, by what ``composer`` does, undone; takes what that does.

    Args:
        output_format: what the job has written; of image files there are no Examples.
        columns: the types of features, where that needs any.
        roles: what the features of Examples are.
    """
    if output_format == "parquet":
        return functools.partial(_decompose_row, columns=columns, roles=roles)
    if output_format == "webdataset":
        return functools.partial(example_of_sample, images=roles.images, allowed=roles.allowed)
    return bytes


def _decompose_row(row: bytes, columns: Columns, roles: FeatureRoles) -> bytes:
    return with_main_image(example_of_row(read_row(row, arrow_schema(columns))), roles.images, roles.allowed)


def _compose_row(
    key: str,
    example: Example | None,
    originals: Sequence[bytes],
    images: Sequence[AnonymizedImage],
    roles: FeatureRoles,
    columns: Columns,
) -> bytes:
    return row_of(Example.parse(compose_example(key, example, originals, images, roles)), columns)


def _compose_sample(
    key: str,
    example: Example | None,
    originals: Sequence[bytes],
    images: Sequence[AnonymizedImage],
    roles: FeatureRoles,
    columns: Columns,
) -> bytes:
    made = Example.parse(compose_example(key, example, originals, images, roles))
    is_file = example is None
    # A file is called by its key, unless nobody is to see that; who has dropped it as a feature means its name, too.
    name = file_sample_name(key) if is_file and OWN_FEATURES[1] not in roles.dropped else None
    return sample_of(made, (OWN_IMAGE,) if is_file else roles.images, columns, name)


def face_features(prefix: str, images: Sequence[AnonymizedImage]) -> dict[str, FeatureValue]:
    """What an Example says of the faces of all images of a feature; of several, also in which of them each is."""
    xmin, ymin, xmax, ymax = np.concatenate([_shares(image) for image in images]).T.tolist()
    features: dict[str, FeatureValue] = {
        f"{prefix}/face/count": [sum(len(image.faces) for image in images)],
        f"{prefix}/face/bbox/xmin": xmin,
        f"{prefix}/face/bbox/ymin": ymin,
        f"{prefix}/face/bbox/xmax": xmax,
        f"{prefix}/face/bbox/ymax": ymax,
        f"{prefix}/face/score": np.concatenate([image.faces.scores for image in images]).tolist(),
    }
    if len(images) > 1:
        index = np.repeat(np.arange(len(images)), [len(image.faces) for image in images])
        features[f"{prefix}/face/{FACE_INDEX}"] = index.astype(np.int64)
    return features


def _shares(image: AnonymizedImage) -> FloatArray:
    """The boxes of an image's faces, as shares of the stored image's sides."""
    size = np.array([image.info.upright_width, image.info.upright_height] * 2, np.float32)
    return np.clip(stored_boxes(image.faces.boxes / size, image.info.orientation), 0, 1)
