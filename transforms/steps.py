"""What happens to one record between reading and writing: decode, detect, anonymize.

Each step takes what the one before made. A record that fails becomes ``Failed`` and passes through the rest, so one bad
image costs one record and never its batch or its shard.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from transforms.anonymizers import METHODS, painted_pixels
from transforms.anonymizers.style import Style
from transforms.codecs import (
    ImageInfo,
    Pixels,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    is_lossy,
    probe,
    splice,
    stored,
    stored_boxes,
    strip_metadata,
    upright,
)
from transforms.detectors.detector import Detector
from transforms.detectors.views import View
from transforms.errors import AccessError
from transforms.example import Example
from transforms.faces import Faces
from transforms.limits import Limits
from transforms.quarantine import Quarantine, Reason
from transforms.read import Loaded, Source, load
from transforms.records import Row, Status

# Decoded pixels that wait for detection; a larger image is decoded again if a face was found, so that memory stays
# bounded whatever the images' sizes.
_LARGEST_KEPT = 32 * 2**20
_LONGEST_DETAIL = 500


@dataclass(frozen=True)
class Failed:
    """A record that is held back, and why."""

    key: str
    error: Quarantine
    nbytes: int = 0


@dataclass(frozen=True)
class Decoded:
    """A record ready for the detector.

    Attributes:
        record: the compressed image and what it came in.
        info: the image's format, size and orientation.
        views: what the detector is shown.
        pixels: the image's stored pixels, if they had to be decoded whole anyway and are not too large to keep.
    """

    record: Loaded
    info: ImageInfo
    views: tuple[View, ...]
    pixels: Pixels | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        pixels = self.pixels.values.nbytes if self.pixels else 0
        return len(self.record.data) + sum(int(view.pixels.nbytes) for view in self.views) + pixels


@dataclass(frozen=True)
class Detected:
    """A record whose faces are known; the views are no longer held."""

    record: Loaded
    info: ImageInfo
    pixels: Pixels | None
    faces: Faces

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.record.data) + (self.pixels.values.nbytes if self.pixels else 0)


@dataclass(frozen=True)
class Finished:
    """A record as it will be written: its row of the audit trail, and its Example unless it is held back."""

    row: Row
    serialized: bytes | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.serialized or b"")


In = TypeVar("In")
Out = TypeVar("Out")


# Nothing more is to be done: it was held back, or it is as an earlier run has left it.
Settled = Failed | Finished


def guarded(
    step: Callable[[In], Out], key_of: Callable[[In], str], reason: Reason
) -> Callable[[In | Settled], Out | Settled]:
    """A step that turns what it raises into ``Failed``, and lets through what is settled.

    Args:
        step: the step.
        key_of: how to name the record.
        reason: what an error that is no Quarantine is called; an AccessError is raised, for it ends the job.
    """
    return functools.partial(_guarded, step, key_of, reason)


def _guarded(
    step: Callable[[In], Out], key_of: Callable[[In], str], reason: Reason, item: In | Settled
) -> Out | Settled:
    if isinstance(item, (Failed, Finished)):
        return item
    try:
        return step(item)
    except Quarantine as error:
        return Failed(key_of(item), error)
    except AccessError:  # not this record's fault
        raise
    except Exception as error:  # noqa: BLE001  whatever goes wrong, nothing of this record may be written
        return Failed(key_of(item), Quarantine(reason, f"{type(error).__name__}: {error}"))


def decode(
    source: Source, image_feature: str, detector: Detector, limits: Limits, keep_metadata: Collection[str] = ()
) -> Decoded:
    """Reads a record's image and prepares it for the detector.

    Raises:
        Quarantine: it cannot be read or decoded.
    """
    record = load(source, image_feature, limits.max_image_bytes)
    info = probe(record.data, keep_metadata, limits.max_pixels)
    preview = decode_for_detection(record.data, info, detector.side_needed(info.upright_width, info.upright_height))
    views = detector.prepare(preview.rgb, info.upright_width, info.upright_height)
    kept = preview.pixels if preview.pixels and preview.pixels.values.nbytes <= _LARGEST_KEPT else None
    return Decoded(record, info, views, kept)


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
        shape = tuple(view.pixels.shape for view in item.views) if isinstance(item, Decoded) else ()
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


def _batch(group: Sequence[tuple[int, Decoded | Settled]]) -> Batch:
    places, items = zip(*group, strict=True)
    return Batch(places, items)


def detect_batch(batch: Batch, detector: Detector) -> DetectedBatch:
    """Finds the faces of a batch; when that fails, of each image alone, so that only the culprit is held back."""
    decoded = [item for item in batch.items if isinstance(item, Decoded)]
    try:
        faces = iter(detector.detect([item.views for item in decoded]) if decoded else [])
        return DetectedBatch(
            batch.places,
            [
                Detected(item.record, item.info, item.pixels, next(faces)) if isinstance(item, Decoded) else item
                for item in batch.items
            ],
        )
    except Exception as error:  # noqa: BLE001  whatever the model raises is this batch's, not the job's
        if len(batch.items) > 1:
            alone = [detect_batch(Batch([0], [item]), detector) for item in batch.items]
            return DetectedBatch(batch.places, [single.items[0] for single in alone])
        [item] = decoded
        cause = Quarantine(Reason.DETECTION_FAILED, f"{type(error).__name__}: {error}")
        return DetectedBatch(batch.places, [Failed(item.record.key, cause)])


def in_order(batches: Iterable[DetectedBatch]) -> Iterator[Detected | Settled]:
    """The records of the batches in the order they had before batching."""
    early: dict[int, Detected | Settled] = {}
    place = 0
    for batch in batches:
        early.update(zip(batch.places, batch.items, strict=True))
        while place in early:
            yield early.pop(place)
            place += 1


def anonymize(detected: Detected, method: str, style: Style, image_feature: str) -> Finished:
    """Masks the faces of a record and makes its Example; an image without faces keeps its compressed data."""
    record, info, faces = detected.record, detected.info, detected.faces
    reencoded = False
    if len(faces):
        pixels = detected.pixels or decode_pixels(record.data, info)
        masked = METHODS[method](upright(pixels.values, info.orientation), faces, style, pixels.black)
        painted = painted_pixels(method, faces, style, *masked.shape[:2])
        data, reencoded = _encode(
            replace(pixels, values=stored(masked, info.orientation)),
            stored(painted, info.orientation),
            record.data,
            info,
        )
        status = Status.ANONYMIZED
    else:
        data = strip_metadata(record.data, info)
        status = Status.NO_FACES
    row = Row(record.key, status, None, info.upright_width, info.upright_height, faces, reencoded)
    return Finished(row, _serialize(record, info, data, faces, image_feature))


def _encode(pixels: Pixels, painted: NDArray[np.bool_], original: bytes, info: ImageInfo) -> tuple[bytes, bool]:
    """The masked image in its own format, and whether pixels outside the masks may have changed."""
    spliced = splice(pixels, painted, original, info) if info.format == "jpeg" else None
    if spliced is not None:
        return spliced, False
    return encode_pixels(pixels, original, info), is_lossy(original, info)


def _serialize(record: Loaded, info: ImageInfo, data: bytes, faces: Faces, image_feature: str) -> bytes:
    size = np.array([info.upright_width, info.upright_height] * 2, np.float32)
    boxes = np.clip(stored_boxes(faces.boxes / size, info.orientation), 0, 1)
    xmin, ymin, xmax, ymax = boxes.T.tolist()
    found = {
        "image/face/count": [len(faces)],
        "image/face/bbox/xmin": xmin,
        "image/face/bbox/ymin": ymin,
        "image/face/bbox/xmax": xmax,
        "image/face/bbox/ymax": ymax,
        "image/face/score": faces.scores.tolist(),
    }
    if record.example:
        return record.example.with_features({image_feature: data, **found})
    described = {
        "image/encoded": data,
        "image/format": info.format.encode(),
        "image/filename": record.key.encode(),
        "image/height": [info.height],
        "image/width": [info.width],
    }
    return Example.empty().with_features({**described, **found})


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
