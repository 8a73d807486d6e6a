"""Annotated photos to train on: where each lies, what is annotated in it, and which are held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.annotation_files import list_images, read_annotations
from faceveil.evaluation.annotations import FACE, AnnotatedImage, AnnotationError, locate_images
from faceveil.evaluation.detect import check_size
from faceveil.transforms import storage
from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.codecs import decode_for_detection, probe, reoriented
from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.container import CorruptRecordError
from faceveil.transforms.formats.example import Example, FeatureValue, InvalidExampleError
from faceveil.transforms.formats.tfrecord import (
    HEADER_BYTES,
    OversizedRecord,
    frame,
    is_header,
    read_plain_records,
    record_offsets,
)
from faceveil.transforms.inputs.globs import escape_glob
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.paths import as_path
from faceveil.transforms.quarantine import Quarantine

IMAGE = "image/encoded"
_BOX = "image/object/bbox/{}"
_SOURCE_ID = "image/source_id"
_TEXT, _LABEL = "image/object/class/text", "image/object/class/label"
_IGNORING = ("image/object/is_crowd", "image/object/difficult")
"""Features of an Example, as TensorFlow's Object Detection API names them:
https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/using_your_own_dataset.md."""

_READERS = 16
"""Files that are looked into at once: storage is waited for."""

_MAX_RECORD = 2**30


@dataclass(frozen=True)
class AnnotatedPhoto:
    """An image and what is annotated in it.

    Attributes:
        name: for messages: its path, with the number of its record in a TFRecord file.
        path: the file that it is, or lies in.
        record: the first byte and the end of its record; None of a file of its own.
        digest: sha256 of the encoded image.
        annotated: its boxes, in pixels of the stored image, and their labels.
    """

    name: str
    path: str
    record: tuple[int, int] | None
    digest: str
    annotated: AnnotatedImage


@dataclass(frozen=True)
class Shown:
    """A decoded photo and its faces.

    Attributes:
        pixels: RGB, upright, perhaps reduced.
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels of these.
        width: of the upright image, in pixels.
    """

    pixels: RGB
    boxes: FloatArray
    width: int


def find_photos(data: Sequence[str], images: str | None) -> tuple[list[AnnotatedPhoto], dict[str, str]]:
    """Every annotated photo of some data sets, in their order, after a look at its header.

    Args:
        data: files of annotations that ``read_annotations`` reads, or TFRecords of the Object Detection API, files,
            folders or globs.
        images: a glob of the images that are annotated; None where they lie beside their annotations.

    Returns:
        The photos; and why others are left out, by name: they cannot be read or decoded.

    Raises:
        AnnotationError: annotations cannot be understood, or do not belong to the images.
        AccessError: storage cannot be reached, a file not be read, or a glob matches nothing.
    """
    photos: list[AnnotatedPhoto] = []
    left_out: dict[str, str] = {}
    for path in map(as_path, data):
        try:
            records = _tfrecord_files(path)
            for found in _of_records(records) if records else _of_annotations(path, images):
                if isinstance(found, AnnotatedPhoto):
                    photos.append(found)
                else:
                    left_out.update([found])
        except AnnotationError as error:
            raise AnnotationError(f"{path}: {error}") from error
    return photos, left_out


def _tfrecord_files(path: str) -> list[str]:
    if storage.is_local(path) and not storage.exists(path) and not any(c in path for c in "*?["):
        raise AccessError(f"{path}: does not exist")
    return sorted(file.path for file in list_inputs([Input("data", path)], 0) if file.kind == "tfrecord")


def _of_annotations(path: str, images: str | None) -> Iterator[AnnotatedPhoto | tuple[str, str]]:
    annotated = read_annotations(path)
    folder = path if _is_folder(path) else path.rpartition("/")[0]
    located = locate_images(annotated, list_images(images or escape_glob(folder) or "."))

    def look(image: AnnotatedImage, file: str) -> AnnotatedPhoto | tuple[str, str]:
        try:
            data = storage.read_bytes(file)
            check_size(image, probe(data), file)
        except OSError as error:
            raise AccessError(f"{file}: cannot be read: {error}") from error
        except Quarantine as error:
            return file, str(error)
        return AnnotatedPhoto(file, file, None, hashlib.sha256(data).hexdigest(), image)

    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(look, annotated, located)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) if storage.is_local(path) else not path.lower().endswith((".json", ".jsonl", ".txt"))


def _of_records(files: Sequence[str]) -> Iterator[AnnotatedPhoto | tuple[str, str]]:
    for path in files:
        try:
            with storage.open_to_read(path) as file:
                if not is_header(file.read(HEADER_BYTES)):
                    raise AnnotationError(f"{path} is compressed, and is read here and there; decompress it")
            stored = storage.stat(path)
            assert stored
            with storage.open_to_read(path) as file:
                starts = list(record_offsets(file, stored.size))
                for number, (start, stop) in enumerate(zip(starts, [*starts[1:], stored.size], strict=True)):
                    name = f"{path}#{number}"
                    [record] = read_plain_records(file, _MAX_RECORD, start, stop)
                    try:
                        yield _of_record(record, partial(AnnotatedPhoto, name, path, (start, stop)), name)
                    except (Quarantine, InvalidExampleError) as error:
                        yield name, str(error)
        except CorruptRecordError as error:
            raise AnnotationError(f"{path} is damaged: {error}") from error
        except OSError as error:
            raise AccessError(f"{path}: cannot be read: {error}") from error


def _of_record(record: bytes | OversizedRecord, make: partial[AnnotatedPhoto], name: str) -> AnnotatedPhoto:
    if isinstance(record, OversizedRecord):
        raise InvalidExampleError(f"has {record.length} bytes")
    example = Example.parse(record)
    data = _image_of(example)
    info = probe(data)
    sides = [_numbers(example, _BOX.format(side)) for side in ("xmin", "ymin", "xmax", "ymax")]
    count = len(sides[0])
    if any(len(side) != count for side in sides):
        raise AnnotationError(
            f"{name}: {_BOX.format('*')} have {[len(side) for side in sides]} values; one a face each"
        )
    boxes = np.stack(sides, axis=1).astype(np.float32) * np.tile(np.array([info.width, info.height], np.float32), 2)
    if not np.isfinite(boxes).all():
        raise AnnotationError(f"{name}: has a box that is no four numbers")
    ignored = np.array(~(boxes[:, 2:] > boxes[:, :2]).all(axis=1), bool)
    for feature in _IGNORING:
        values = _numbers(example, feature)
        if len(values) == count:
            ignored |= values != 0
    labels = _labels(example, count, name)
    image = AnnotatedImage(name, boxes, ignored, (info.width, info.height), labels)
    return make(hashlib.sha256(data).hexdigest(), image)


def _numbers(example: Example, name: str) -> FloatArray:
    values = example.values(name)
    return np.zeros(0, np.float32) if values is None or isinstance(values, list) else np.asarray(values, np.float32)


def _labels(example: Example, count: int, name: str) -> tuple[str, ...]:
    """The faces' labels: as text, else as numbers, else ``FACE``."""
    texts = example.bytes_values(_TEXT)
    numbers = example.values(_LABEL)
    if texts:
        labels = [text.decode("utf-8", "backslashreplace") for text in texts]
    elif numbers is not None and len(numbers):
        labels = [str(int(number)) for number in numbers]
    else:
        return (FACE,) * count
    if len(labels) != count:
        raise AnnotationError(f"{name}: has {count} boxes and {len(labels)} labels")
    return tuple(labels)


def _image_of(example: Example) -> bytes:
    images = example.bytes_values(IMAGE)
    if not images or len(images) != 1:
        raise InvalidExampleError(f"has no image in {IMAGE}")
    return images[0]


def merge_labels(photos: Sequence[AnnotatedPhoto], label: str) -> list[AnnotatedPhoto]:
    """The photos with one label for all of their faces."""
    return [
        replace(photo, annotated=replace(photo.annotated, labels=(label,) * len(photo.annotated.boxes)))
        for photo in photos
    ]


def labels_of(photos: Sequence[AnnotatedPhoto]) -> list[str]:
    """The labels of all faces that count, sorted; a detector's classes are their places from 1."""
    named = {
        label
        for photo in photos
        for label, ignored in zip(photo.annotated.labels, photo.annotated.ignored, strict=True)
        if not ignored
    }
    return sorted(named)


def hold_out(
    photos: Sequence[AnnotatedPhoto], share: float, seed: int
) -> tuple[list[AnnotatedPhoto], list[AnnotatedPhoto]]:
    """Parts photos in those to train on and a share that is held out; photos of the same bytes stay together.

    Args:
        photos: all of them.
        share: from 0 to 1; at least one is held out unless it is 0.
        seed: chooses which.
    """

    def place(digest: str) -> str:
        return hashlib.sha256(f"{seed}\0{digest}".encode()).hexdigest()

    digests = sorted({photo.digest for photo in photos}, key=place)
    held = set(digests[: max(1, round(share * len(digests)))] if share else ())
    return [p for p in photos if p.digest not in held], [p for p in photos if p.digest in held]


def without_copies(photos: Sequence[AnnotatedPhoto], of: Collection[AnnotatedPhoto]) -> list[AnnotatedPhoto]:
    """The photos that are not among others, by their bytes."""
    digests = {photo.digest for photo in of}
    return [photo for photo in photos if photo.digest not in digests]


def photos_digest(photos: Sequence[AnnotatedPhoto]) -> str:
    """Identifies photos and annotations, wherever they lie."""
    whole = hashlib.sha256()
    for photo in photos:
        annotated = photo.annotated
        whole.update(f"{photo.digest}{annotated.labels}".encode())
        whole.update(annotated.boxes.tobytes() + annotated.ignored.tobytes())
    return whole.hexdigest()


def show(photo: AnnotatedPhoto, long_side: int) -> Shown:
    """Decodes a photo, to ``long_side`` pixels or more where it has as many.

    Raises:
        Quarantine: it cannot be decoded.
        AccessError: it cannot be read, or has changed since it was found.
    """
    data = read_photo(photo)
    info = probe(data)
    rgb = next(decode_for_detection(data, info, long_side).renderings()).rgb
    boxes = photo.annotated.boxes
    upright = reoriented(Faces(boxes, np.zeros(len(boxes), np.float32)), 1, info.orientation, info.width, info.height)
    scale = np.array([rgb.shape[1] / info.upright_width, rgb.shape[0] / info.upright_height], np.float32)
    return Shown(rgb, upright.boxes * np.tile(scale, 2), info.upright_width)


def read_photo(photo: AnnotatedPhoto) -> bytes:
    """The encoded image.

    Raises:
        AccessError: it cannot be read, or has changed since it was found.
    """
    try:
        data = _image_of(_example(photo)) if photo.record else storage.read_bytes(photo.path)
    except (OSError, InvalidExampleError) as error:
        raise AccessError(f"{photo.name}: cannot be read: {error}") from error
    if photo.digest != hashlib.sha256(data).hexdigest():
        raise AccessError(f"{photo.name}: has changed while the training ran")
    return data


def _example(photo: AnnotatedPhoto) -> Example:
    assert photo.record
    try:
        with storage.open_to_read(photo.path) as file:
            [record] = read_plain_records(file, _MAX_RECORD, *photo.record)
        assert isinstance(record, bytes)
        return Example.parse(record)
    except (OSError, CorruptRecordError, InvalidExampleError) as error:
        raise AccessError(f"{photo.name}: cannot be read: {error}") from error


def write_photos(photos: Sequence[AnnotatedPhoto], path: str) -> None:
    """Copies photos into one TFRecord file that ``find_photos`` reads: byte for byte, with boxes that can be masked.

    Each photo's place among them is its ``image/source_id``. Boxes are cut to the image; those without an area then
    are left out. Faces that count neither way stay, as difficult ones.

    Raises:
        AccessError: a photo cannot be read, or the file not be written.
    """
    with storage.atomic_write(path) as file:
        for number, photo in enumerate(photos):
            data = read_photo(photo)
            info, annotated = probe(data), photo.annotated
            size = np.array([info.width, info.height] * 2, np.float32)
            shares = np.clip(annotated.boxes / size, 0, 1)
            kept = (shares[:, 2:] > shares[:, :2]).all(axis=1)
            sides = {
                _BOX.format(side): shares[kept, place].tolist()
                for place, side in enumerate(("xmin", "ymin", "xmax", "ymax"))
            }
            features: dict[str, FeatureValue] = {
                IMAGE: data,
                _SOURCE_ID: str(number).encode(),
                **sides,
                _TEXT: [
                    label.encode(errors="backslashreplace")
                    for label, keep in zip(annotated.labels, kept, strict=True)
                    if keep
                ],
                _IGNORING[1]: annotated.ignored[kept].astype(int).tolist(),
            }
            file.write(frame(Example.empty().with_features(features)))


def source_number(photo: AnnotatedPhoto) -> int:
    """The place that ``write_photos`` gave a photo, from a TFRecord made of its own.

    Raises:
        AccessError: it cannot be read.
    """
    values = _example(photo).bytes_values(_SOURCE_ID)
    if not values:
        raise AccessError(f"{photo.name}: has no {_SOURCE_ID}")
    return int(values[0])


def label_numbers(photo: AnnotatedPhoto, labels: Sequence[str]) -> NDArray[np.int64]:
    """The places of its faces' labels, from 1, int64 ``[N]``; 0 of ignored faces, whose label may be none of these."""
    return np.array([labels.index(label) + 1 if label in labels else 0 for label in photo.annotated.labels], np.int64)
