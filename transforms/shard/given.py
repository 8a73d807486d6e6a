"""Annotated boxes: found by a record's key or in its Example, checked, and put together with what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import mask_extent
from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.codecs import ImageInfo, reoriented
from faceveil.transforms.detectors.merge import NMS_IOU
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.box_table import BoxTable
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import BoxFeatures
from faceveil.transforms.quarantine import Quarantine, Reason

_OVERSHOOT = 0.01
"""Share of an image's side by which a box may reach beyond it and is cut, since annotations are rounded. What reaches
further was drawn on an image of another size."""


@dataclass(frozen=True)
class BoxSource:
    """Where annotated boxes come from.

    Attributes:
        replace: whether they are anonymized instead of detected faces, or besides them.
        prefix: of the features that hold them; empty where a table does.
        classes: of the features' boxes, those that are wanted, by name or number; none for all.
        table: the folder of a ``BoxTable``; empty where features hold the boxes.
    """

    replace: bool
    prefix: str = ""
    classes: tuple[str, ...] = ()
    table: str = ""


class GivenBoxes:
    """Finds the annotated boxes of records. May be called from several threads at once.

    Args:
        source: where they come from.

    Raises:
        AccessError: the table cannot be fetched.
    """

    def __init__(self, source: BoxSource) -> None:
        self._source = source
        self._table = BoxTable.open(source.table) if source.table else None

    @property
    def replace(self) -> bool:
        """Whether they are anonymized instead of detected faces."""
        return self._source.replace

    def find(self, key: str, example: Example | None, info: ImageInfo) -> Faces | None:
        """The boxes of a record's main image, in pixels of the upright image, with scores of 1.

        Args:
            key: the record's.
            example: what the image came in; None of an image file.
            info: the image's size and orientation.

        Returns:
            None where nothing is known of the record and it is left to the detector.

        Raises:
            Quarantine: MISSING_BOXES, nothing is known and no detector would look; INVALID_BOXES.
        """
        if self._table is not None:
            boxes, missing = self._table.find(key), "the file of --boxes does not name it"
        elif example is None:
            boxes, missing = None, "an image file has no features"
        else:
            boxes, missing = self._in_example(example, info), f"the Example has no features {self._source.prefix}/…"
        if boxes is None:
            if self.replace:
                raise Quarantine(Reason.MISSING_BOXES, f"{missing}; --boxes_mode replace needs boxes, or none, of each")
            return None
        drawn_on = self._table.size(key) if self._table and len(boxes) else None
        if drawn_on and drawn_on != (info.width, info.height):
            stored = f"the stored image has {info.width} x {info.height} px"
            raise _invalid(f"they were drawn on an image of {drawn_on[0]} x {drawn_on[1]} px, {stored}")
        if len(boxes) and info.format == "heif" and info.orientation != 1:
            raise _invalid("of a HEIC that is turned nobody knows whether they were drawn before; convert it first")
        checked = _checked(boxes, info.width, info.height)
        # In float64, so that whole pixels stay whole when they are turned.
        faces = Faces(checked.astype(np.float64), np.ones(len(boxes), np.float32))
        turned = reoriented(faces, 1, info.orientation, info.width, info.height)
        return Faces(turned.boxes.astype(np.float32), turned.scores)

    def _in_example(self, example: Example, info: ImageInfo) -> FloatArray | None:
        try:
            shares = _shares(example, BoxFeatures(self._source.prefix), self._source.classes)
        except InvalidExampleError as error:
            raise Quarantine(Reason.INVALID_EXAMPLE, str(error)) from error
        with np.errstate(over="ignore"):  # what is infinite then is no box
            return None if shares is None else shares * np.array([info.width, info.height] * 2, np.float32)


def _invalid(detail: str) -> Quarantine:
    return Quarantine(Reason.INVALID_BOXES, f"--boxes: {detail}")


def _shares(example: Example, features: BoxFeatures, classes: Sequence[str]) -> FloatArray | None:
    """The boxes of some classes, as shares of the stored image's sides; None where the Example has no such lists."""
    sides = [example.values(name) for name in features.sides]
    if all(values is None for values in sides):
        return None
    for name, values in zip(features.sides, sides, strict=True):
        if values is None:
            raise _invalid(f"there is no {name} beside the others")
        if len(values) and not (isinstance(values, np.ndarray) and values.dtype == np.float32):
            raise _invalid(f"{name} holds no floats")
    counts = {name: len(values) for name, values in zip(features.sides, sides, strict=True) if values is not None}
    if len(set(counts.values())) > 1:
        raise _invalid(f"lists of different lengths: {counts}")
    boxes = np.stack([np.asarray(values, np.float32) for values in sides], axis=1)
    return boxes[_of_classes(example, features, classes, len(boxes))] if classes else boxes


def _of_classes(example: Example, features: BoxFeatures, classes: Sequence[str], count: int) -> BoolMask:
    """Which of an Example's boxes are of some classes, by name or number."""
    wanted = np.zeros(count, np.bool_)
    labelled = False
    for name in features.labels:
        values = example.values(name)
        if values is None or not len(values):
            continue
        if len(values) != count:
            raise _invalid(f"{count} boxes and {len(values)} values of {name}")
        labelled = True
        wanted |= np.array([label_text(value) in classes for value in values])
    if count and not labelled:
        raise _invalid(f"{count} boxes without labels ({' or '.join(features.labels)}), so nobody knows which to take")
    return wanted


def label_text(value: bytes | np.integer | np.floating) -> str:
    """A label as ``--box_classes`` has it.

    Example usage::

        >>> label_text(b"plate"), label_text(np.int64(2))
        ('plate', '2')
    """
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _checked(boxes: FloatArray, width: int, height: int) -> FloatArray:
    """Boxes in pixels of an image, cut to it.

    Raises:
        Quarantine: INVALID_BOXES, one is none, or lies where the image is not.
    """
    size = np.array([width, height] * 2, np.float32)
    shares = boxes / size
    wrong = ~(
        np.isfinite(boxes).all(axis=1)
        & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
        & ((shares >= -_OVERSHOOT) & (shares <= 1 + _OVERSHOOT)).all(axis=1)
        & ((boxes[:, :2] < size[2:]) & (boxes[:, 2:] > 0)).all(axis=1)
    )
    if wrong.any():
        box = ", ".join(f"{side:g}" for side in boxes[np.argmax(wrong)])
        raise _invalid(f"xmin, ymin, xmax, ymax of {box} px are no box in the stored image of {width} x {height} px")
    return np.clip(boxes, 0, size)


def with_given(found: Faces, given: Faces, geometry: MaskGeometry) -> Faces:
    """Given boxes and detected faces together, the given ones first.

    A face that overlaps a given box as boxes of one face do is the same: its box becomes that around both, and it has
    the detector's keypoints, NaN where there is no such face. Where a mask of that box would not cover both, since it
    ends at a share of the box's height, both stay.

    Args:
        found: the detector's.
        given: with scores of 1.
        geometry: of the masks.

    Example usage::

        >>> given = Faces(np.array([[0, 0, 8, 8]], np.float32), np.ones(1, np.float32))
        >>> found = Faces(np.array([[1, 0, 9, 8], [50, 0, 60, 9]], np.float32), np.array([0.9, 0.5], np.float32))
        >>> with_given(found, given, MaskGeometry()).boxes.tolist()
        [[0.0, 0.0, 9.0, 8.0], [50.0, 0.0, 60.0, 9.0]]
    """
    if not len(given) or not len(found):
        return given if len(given) else found
    boxes = given.boxes.copy()
    keypoints = None
    if found.keypoints is not None:
        keypoints = np.full((len(given), *found.keypoints.shape[1:]), np.nan, np.float32)
    alone = np.ones(len(found), np.bool_)
    for number, face in enumerate(found.boxes):
        overlaps = iou(face[np.newaxis], given.boxes)[0]  # one at a time: nobody knows how many are given
        match = int(np.argmax(overlaps))
        both = _around(boxes[match], face)
        if overlaps[match] < NMS_IOU or not _covers(both, (boxes[match], face), geometry):
            continue
        alone[number] = False
        boxes[match] = both
        if keypoints is not None and found.keypoints is not None and np.isnan(keypoints[match]).all():
            keypoints[match] = found.keypoints[number]
    rest = found.take(alone)
    return Faces(
        np.concatenate([boxes, rest.boxes]),
        np.concatenate([given.scores, rest.scores]),
        None if keypoints is None or rest.keypoints is None else np.concatenate([keypoints, rest.keypoints]),
    )


def _around(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _covers(whole: FloatArray, parts: Sequence[FloatArray], geometry: MaskGeometry) -> bool:
    """Whether a mask of a box that holds others reaches down as far as theirs; up and aside it does."""
    return all(mask_extent(whole, geometry).bottom >= mask_extent(part, geometry).bottom for part in parts)
