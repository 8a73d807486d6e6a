"""What happens to one record between reading and writing: decode, detect; `anonymize` comes after.

Each step takes what the one before made. A record that fails becomes ``Failed`` and passes through the rest, so one bad
image costs one record and never its batch or its shard.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from faceveil.transforms.codecs import (
    ImageInfo,
    Pixels,
    decode_for_detection,
    probe,
    reoriented,
)
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.views import View
from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits, memory_for
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import needs_memory
from faceveil.transforms.shard.read import HoldsRecords, Loaded, Source, load, refuse_pixels

# Decoded pixels that wait for detection; a larger image is decoded again if a face was found, so that memory stays
# bounded whatever the images' sizes.
LARGEST_KEPT = 32 * 2**20
_LONGEST_DETAIL = 500
# With so much memory to be had, it is for no lack of it that the detector fails.
_DETECTION_BYTES = 2**30


@dataclass(frozen=True)
class Failed:
    """A record that is quarantined, and why."""

    key: str
    error: Quarantine
    nbytes: int = 0


@dataclass(frozen=True)
class DecodedImage:
    """One image ready for the detector.

    Attributes:
        info: its format, size and orientation.
        renderings: for each way in which readers may show it, the views that the detector is shown.
        orientations: by which each of them is turned.
        pixels: its stored pixels, if they had to be decoded whole anyway and are not too large to keep.
        faultless: that it is a JPEG that libjpeg decoded without a complaint.
        hides_pixels: whether the compressed data hold others than what was decoded, so that they may not be copied.
    """

    info: ImageInfo
    renderings: tuple[tuple[View, ...], ...]
    orientations: tuple[int, ...]
    pixels: Pixels | None
    faultless: bool
    hides_pixels: bool

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        pixels = self.pixels.values.nbytes if self.pixels else 0
        return sum(int(view.pixels.nbytes) for views in self.renderings for view in views) + pixels


@dataclass(frozen=True)
class Decoded:
    """A record ready for the detector: its compressed images, what they came in, and what is shown of each."""

    record: Loaded
    images: tuple[DecodedImage, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.record.nbytes + sum(image.nbytes for image in self.images)


@dataclass(frozen=True)
class DetectedImage:
    """One image whose faces are known; the views are no longer held."""

    info: ImageInfo
    pixels: Pixels | None
    faces: Faces
    faultless: bool
    hides_pixels: bool


@dataclass(frozen=True)
class Detected:
    """A record with the faces of each of its images."""

    record: Loaded
    images: tuple[DetectedImage, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.record.nbytes + sum(image.pixels.values.nbytes for image in self.images if image.pixels)


@dataclass(frozen=True)
class Finished:
    """A record as it will be written: its row of the audit trail, and its Example unless it is quarantined."""

    row: Row
    serialized: bytes | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.serialized or b"")


In = TypeVar("In")
Out = TypeVar("Out")


# Nothing more is to be done: it was quarantined, or it is as an earlier run has left it.
Settled = Failed | Finished


def guarded(
    step: Callable[[In], Out], key_of: Callable[[In], str], reason: Reason
) -> Callable[[In | Settled], Out | Settled]:
    """A step that turns what it raises into ``Failed``, and lets through what is settled.

    Args:
        step: the step.
        key_of: how to name the record.
        reason: what an error that is no Quarantine is called; an AccessError is raised, for it ends the job, and so is
            an OutOfMemoryError.
    """
    return functools.partial(_guarded, step, key_of, reason)


def _guarded(
    step: Callable[[In], Out], key_of: Callable[[In], str], reason: Reason, item: In | Settled
) -> Out | Settled:
    if isinstance(item, (Failed, Finished)):
        return item
    try:
        return step(item)
    except AccessError:  # not this record's fault
        raise
    except OutOfMemoryError as error:  # nor is this
        raise OutOfMemoryError(f"{key_of(item)}: {error}") from error
    except Quarantine as error:
        return Failed(key_of(item), error)
    except Exception as error:  # noqa: BLE001  whatever goes wrong, nothing of this record may be written
        return Failed(key_of(item), Quarantine(reason, f"{type(error).__name__}: {error}"))


def decode(
    source: Source, roles: FeatureRoles, detector: Detector, limits: Limits, keep_metadata: Collection[str] = ()
) -> Decoded:
    """Reads a record's images and prepares them for the detector.

    Raises:
        Quarantine: one of them cannot be read or decoded.
        OutOfMemoryError: that may be for want of memory.
    """
    with needs_memory(memory_for(0, 0) + source.nbytes):
        record = load(source, roles, limits.max_image_bytes)
        # An image file is one image, whatever is named.
        named = list(zip(roles.images, record.images, strict=False))
        infos = []
        for name, data in named:
            with _naming(name, len(named)):
                infos.append(probe(data, keep_metadata, limits.max_pixels))
        refuse_pixels(record, [(info.width, info.height) for info in infos])
    images = []
    for (name, data), info in zip(named, infos, strict=True):
        with needs_memory(memory_for(info.width * info.height, len(data))), _naming(name, len(named)):
            images.append(_decode_image(data, info, detector))
    return Decoded(record, tuple(images))


def with_records(
    items: Iterable[Decoded | Settled], decode_records: Callable[[Source], Iterable[Decoded | Settled]]
) -> Iterator[Decoded | Settled]:
    """The decoded records, with those of TFRecord files in the place of files that were taken for images.

    Args:
        items: the decoded records.
        decode_records: reads and decodes the records of a file.
    """
    for item in items:
        if isinstance(item, Failed) and isinstance(item.error, HoldsRecords):
            yield from decode_records(item.error.source)
        else:
            yield item


@contextmanager
def _naming(feature: str, images: int) -> Iterator[None]:
    """Says of an error which of several images it is about."""
    try:
        yield
    except Quarantine as error:
        if images == 1:
            raise
        raise Quarantine(error.reason, f"feature {feature}: {error.detail}") from error


def _decode_image(data: bytes, info: ImageInfo, detector: Detector) -> DecodedImage:
    preview = decode_for_detection(data, info, detector.side_needed(info.upright_width, info.upright_height))
    views, orientations = [], []
    for rgb, orientation in preview.renderings():
        views.append(detector.prepare(rgb, *info.upright_size(orientation)))
        orientations.append(orientation)
    kept = preview.pixels if preview.pixels and preview.pixels.values.nbytes <= LARGEST_KEPT else None
    return DecodedImage(
        *(info, tuple(views), tuple(orientations), kept),
        *(preview.decoded.faultless, preview.hides_pixels),
    )


@dataclass(frozen=True)
class Batch:
    """Decoded records whose views have the same shapes, with their places in the stream."""

    places: Sequence[int]
    items: Sequence[Decoded | Settled]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in self.items)


@dataclass(frozen=True)
class DetectedBatch:
    """A batch after detection."""

    places: Sequence[int]
    items: Sequence[Detected | Settled]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in self.items)


def batch_like_shaped(items: Iterable[Decoded | Settled], size: int) -> Iterator[Batch]:
    """Groups records whose views have the same shapes into batches, within a window of a few batches.

    The batches depend on the order of the records alone, never on timing, so that a rerun forms the same ones.
    """
    waiting: dict[tuple[tuple[int, ...], ...], list[tuple[int, Decoded | Settled]]] = {}
    waiting_items = 0
    for place, item in enumerate(items):
        shape = _shapes(item) if isinstance(item, Decoded) else ()
        group = waiting.setdefault(shape, [])
        group.append((place, item))
        waiting_items += 1
        if len(group) == size:
            del waiting[shape]
            waiting_items -= size
            yield _batch(group)
        elif waiting_items >= 4 * size:
            # The oldest group goes first, so nothing waits for long.
            oldest = waiting.pop(next(iter(waiting)))
            waiting_items -= len(oldest)
            yield _batch(oldest)
    yield from map(_batch, waiting.values())


def _shapes(item: Decoded) -> tuple[tuple[int, ...], ...]:
    return tuple(view.pixels.shape for image in item.images for views in image.renderings for view in views)


def _batch(group: Sequence[tuple[int, Decoded | Settled]]) -> Batch:
    places, items = zip(*group, strict=True)
    return Batch(places, items)


def detect_batch(batch: Batch, detector: Detector) -> DetectedBatch:
    """Finds the faces of a batch; when that fails, of each image alone, so that only the culprit is quarantined."""
    decoded = [item for item in batch.items if isinstance(item, Decoded)]
    try:
        with needs_memory(_DETECTION_BYTES):
            views = [views for item in decoded for image in item.images for views in image.renderings]
            faces = iter(detector.detect(views) if views else [])
        items = [_detected(item, faces, detector) if isinstance(item, Decoded) else item for item in batch.items]
        return DetectedBatch(batch.places, items)
    except Exception as error:
        if len(batch.items) > 1:
            alone = [detect_batch(Batch([0], [item]), detector) for item in batch.items]
            return DetectedBatch(batch.places, [single.items[0] for single in alone])
        [item] = decoded
        if isinstance(error, OutOfMemoryError):
            raise OutOfMemoryError(f"{item.record.key}: {error}") from error
        # Whatever else the model raises is this record's, not the job's.
        cause = Quarantine(Reason.DETECTION_FAILED, f"{type(error).__name__}: {error}")
        return DetectedBatch(batch.places, [Failed(item.record.key, cause)])


def _detected(item: Decoded, faces: Iterator[Faces], detector: Detector) -> Detected:
    """Takes the faces of each rendering of each image of a record, in their order."""
    images = (
        DetectedImage(
            image.info,
            image.pixels,
            detector.unite([_upright(next(faces), shown, image.info) for shown in image.orientations]),
            image.faultless,
            image.hides_pixels,
        )
        for image in item.images
    )
    return Detected(item.record, tuple(images))


def _upright(faces: Faces, shown: int, info: ImageInfo) -> Faces:
    return reoriented(faces, shown, info.orientation, info.width, info.height)


def in_order(batches: Iterable[DetectedBatch]) -> Iterator[Detected | Settled]:
    """The records of the batches in the order they had before batching."""
    early: dict[int, Detected | Settled] = {}
    place = 0
    for batch in batches:
        early.update(zip(batch.places, batch.items, strict=True))
        while place in early:
            yield early.pop(place)
            place += 1


def finish(item: Settled) -> Finished:
    """What is written of a record: of one that failed, only its name and the reason."""
    if isinstance(item, Finished):
        return item
    detail = _printable(item.error.detail)
    row = Row(item.key, Status.QUARANTINED, item.error.reason, None, None, Faces.none(), detail=detail)
    return Finished(row, None)


def _printable(detail: str) -> str | None:
    """Details may quote an image's own bytes, and must fit into UTF-8."""
    return detail[:_LONGEST_DETAIL].encode("utf-8", "backslashreplace").decode() or None
