"""Groups of annotated faces: by what the annotations say of each face, or by tables of labels made later."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faceveil.evaluation.annotations import AnnotatedImage
from faceveil.evaluation.matching import MATCH_IOU
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.nms import iou

MAX_GROUPS = 20
"""More values than that are no groups but names, ages in years or scores."""

_CORNERS = ("x0", "y0", "x1", "y1")


class GroupError(ValueError):
    """Faces cannot be grouped as asked."""


@dataclass(frozen=True)
class Grouping:
    """The groups of one feature.

    Attributes:
        feature: its name.
        groups: their names, in order.
        members: for every image int ``[N]``: the group of each of its faces, -1 where nobody annotated it.
    """

    feature: str
    groups: tuple[str, ...]
    members: tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class LabelledFace:
    """A row of a table of labels: the image's file, the face's box in it, x0, y0, x1, y1, and its labels by name."""

    file: str
    box: tuple[float, ...]
    labels: Mapping[str, Any]


def group_by(images: Sequence[AnnotatedImage], feature: str) -> Grouping:
    """Groups the faces by one of their attributes; none at all, null, NaN and empty text are "not annotated".

    Args:
        images: the annotated images.
        feature: the attribute's name.

    Raises:
        GroupError: no face has it, a value is a list or the like, or there are more than ``MAX_GROUPS``.
    """
    attributes = [image.attributes or ({},) * len(image.boxes) for image in images]
    try:
        named = [[_group_name(face.get(feature)) for face in faces] for faces in attributes]
    except TypeError as error:
        raise GroupError(f"{feature}: {error}; a group is a text or a number") from None
    groups = sorted({name for faces in named for name in faces if name is not None}, key=_by_number)
    if not groups:
        known = sorted({name for faces in attributes for face in faces for name in face})
        raise GroupError(f"{feature}: no annotated face has it; they have {', '.join(known) or 'nothing but boxes'}")
    if len(groups) > MAX_GROUPS:
        raise GroupError(f"{feature}: has {len(groups)} values, such as {groups[0]}; at most {MAX_GROUPS} are groups")
    numbers = {name: number for number, name in enumerate(groups)}
    members = (np.array([-1 if name is None else numbers[name] for name in faces], np.intp) for faces in named)
    return Grouping(feature, tuple(groups), tuple(members))


def _group_name(value: Any) -> str | None:
    """A group's name.

    Example usage::

        >>> [_group_name(value) for value in (" dark ", 3, 3.0, True, "", None, math.nan)]
        ['dark', '3', '3', 'true', None, None, None]
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}"
    if not isinstance(value, str):
        raise TypeError(f"a face has {json.dumps(value, default=str)[:60]}")
    return " ".join(value.split()) or None


def _by_number(name: str) -> tuple[bool, float, str]:
    """Orders groups that are numbers by their size, and others after them by their names."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0, name


def is_label_table(name: str) -> bool:
    """Whether a name is that of a table of labels, by its ending.

    Example usage::

        >>> is_label_table("skin"), is_label_table("labels.CSV")
        (False, True)
    """
    return _ending(name) in _READERS


def read_labels(data: bytes, name: str) -> list[LabelledFace]:
    """Reads a table of labelled faces: CSV with a header, Parquet, or JSON lines, by the ending of its name.

    Columns: ``file``, the image as the annotations name it; the box in pixels of the stored image, either ``x0``,
    ``y0``, ``x1``, ``y1`` or ``box`` with a list of them; all others are labels.

    Raises:
        GroupError: it is no such table, or labels the same box twice.
    """
    try:
        rows = list(_READERS[_ending(name)](data))
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise GroupError(f"cannot be read: {error}") from error
    labelled = []
    seen: dict[tuple[str, tuple[float, ...]], int] = {}
    for number, row in enumerate(rows, 1):
        face = _labelled_face(row, number)
        if (face.file, face.box) in seen:
            raise GroupError(f"rows {seen[face.file, face.box]} and {number} label the same box of {face.file}")
        seen[face.file, face.box] = number
        labelled.append(face)
    if not labelled:
        raise GroupError("holds no row")
    return labelled


def _labelled_face(row: Any, number: int) -> LabelledFace:
    if not isinstance(row, dict) or None in row:
        raise GroupError(f"row {number} is not one value for each name")
    box = row.get("box", [row.get(name) for name in _CORNERS])
    try:
        corners = tuple(float(side) for side in box)
    except (TypeError, ValueError):
        corners = ()
    file = row.get("file")
    if not isinstance(file, str) or len(corners) != 4 or not all(map(math.isfinite, corners)):
        raise GroupError(f"row {number} lacks a file or the four numbers of a box: file, x0, y0, x1, y1")
    labels = {name: value for name, value in row.items() if name not in ("file", "box", *_CORNERS)}
    return LabelledFace(file.replace("\\", "/").removeprefix("./"), corners, labels)


def with_labels(
    images: Sequence[AnnotatedImage], labelled: Sequence[LabelledFace]
) -> tuple[list[AnnotatedImage], list[str], int]:
    """Gives annotated faces the labels of the boxes that overlap them most.

    Pairs of an intersection over union of ``MATCH_IOU`` and more are made from the best down, each face and each row
    once.

    Args:
        images: the annotated images.
        labelled: the rows; those of other images do not matter.

    Returns:
        The images with their faces' labels as attributes, the names of the labels, and how many rows are of no face.

    Raises:
        GroupError: no row is of an annotated face.
    """
    rows: dict[str, list[LabelledFace]] = {}
    for row in labelled:
        rows.setdefault(row.file, []).append(row)
    labels = list(dict.fromkeys(name for row in labelled for name in row.labels))
    left, made = len(labelled), []
    for image in images:
        candidates = rows.get(image.file, [])
        attributes = list(image.attributes or [{}] * len(image.boxes))
        boxes = np.array([row.box for row in candidates], np.float32).reshape(-1, 4)
        for face, box in _pairs(image.boxes, boxes):
            attributes[face] = {**attributes[face], **candidates[box].labels}
            left -= 1
        made.append(replace(image, attributes=tuple(attributes)))
    if left == len(labelled):
        raise GroupError(
            f"none of its {left} boxes is an annotated face: files must be named as in the annotations, such as "
            f"{images[0].file}, and boxes be in pixels of the stored image"
        )
    return made, labels, left


def _pairs(faces: FloatArray, boxes: FloatArray) -> list[tuple[int, int]]:
    overlaps = iou(faces, boxes)
    pairs = []
    while overlaps.size and overlaps.max() >= MATCH_IOU:
        face, box = (int(place) for place in np.unravel_index(overlaps.argmax(), overlaps.shape))
        pairs.append((face, box))
        overlaps[face], overlaps[:, box] = 0, 0
    return pairs


def _read_csv(data: bytes) -> Iterable[Any]:
    return csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)


def _read_json_lines(data: bytes) -> Iterable[Any]:
    return (json.loads(line) for line in data.decode("utf-8-sig").splitlines() if line.strip())


def _read_parquet(data: bytes) -> Iterable[Any]:
    rows: list[Any] = pq.read_table(io.BytesIO(data)).to_pylist()
    return rows


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


_READERS: dict[str, Callable[[bytes], Iterable[Any]]] = {
    "csv": _read_csv,
    "jsonl": _read_json_lines,
    "parquet": _read_parquet,
}
