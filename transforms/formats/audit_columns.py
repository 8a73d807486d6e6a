"""Rows of the audit trail as columns: for figures over many rows, without an object for each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faceveil.transforms import storage
from faceveil.transforms.arrays import FloatArray

_SIDES = ("x0", "y0", "x1", "y1")
_COLUMNS = ("key", "status", "reason", "detail", "width", "height", "faces", "other_images")


@dataclass(frozen=True)
class FaceColumns:
    """The faces of many images.

    Attributes:
        rows: int64 ``[F]``, of each face the number of its image's row.
        boxes: float32 ``[F, 4]``, x0, y0, x1, y1 in pixels of the upright image.
        scores: float32 ``[F]``.
    """

    rows: NDArray[np.int64]
    boxes: FloatArray
    scores: FloatArray

    @property
    def heights(self) -> FloatArray:
        """float32 ``[F]``, in pixels."""
        heights: FloatArray = np.maximum(self.boxes[:, 3] - self.boxes[:, 1], 0)
        return heights

    @property
    def areas(self) -> FloatArray:
        """float32 ``[F]``, in pixels."""
        areas: FloatArray = np.maximum(self.boxes[:, 2] - self.boxes[:, 0], 0) * self.heights
        return areas


@dataclass(frozen=True)
class AuditColumns:
    """The rows of an audit file.

    Attributes:
        keys: of the records.
        statuses: what became of them.
        reasons: why they were quarantined; None of others.
        details: more about that; None where there is nothing.
        sizes: int64 ``[N, 2]``, width and height of the upright main image in pixels; 0 where they are unknown.
        faces: of the main images.
        other_faces: of all images beside these.
    """

    keys: Sequence[str]
    statuses: Sequence[str]
    reasons: Sequence[str | None]
    details: Sequence[str | None]
    sizes: NDArray[np.int64]
    faces: FaceColumns
    other_faces: FaceColumns


def read_columns(path: str) -> AuditColumns:
    """The rows of an audit file, in their order.

    Raises:
        AccessError: storage cannot be reached.
        OSError: it cannot be read.
        ValueError: it is no audit file of faceveil.
    """
    try:
        with pq.ParquetFile(io.BytesIO(storage.read_bytes(path))) as file:
            # Files of earlier versions lack some columns.
            there = file.schema_arrow.names
            table = file.read([name for name in _COLUMNS if name in there])
        keys, statuses, reasons = (table[name].to_pylist() for name in ("key", "status", "reason"))
        details = table["detail"].to_pylist() if "detail" in there else [None] * len(table)
        sizes = np.stack([table[name].fill_null(0).to_numpy().astype(np.int64) for name in ("width", "height")], axis=1)
        faces = _faces(table["faces"])
        others = _other_faces(table["other_images"]) if "other_images" in there else _none()
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{path}: is no records file of faceveil") from error
    return AuditColumns(keys, statuses, reasons, details, sizes, faces, others)


def read_keys(path: str) -> list[str]:
    """The keys of an audit file's rows, in their order.

    Raises:
        AccessError: storage cannot be reached.
        OSError: it cannot be read.
        ValueError: it is no audit file of faceveil.
    """
    try:
        keys: list[str] = pq.read_table(io.BytesIO(storage.read_bytes(path)), columns=["key"])["key"].to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{path}: is no records file of faceveil") from error
    return keys


def _faces(column: Any) -> FaceColumns:
    lists = _whole(column)
    return _columns(lists.flatten(), _parents(lists))


def _other_faces(column: Any) -> FaceColumns:
    """Of each further image of a row, the faces."""
    images = _whole(column)
    faces = images.flatten().field("faces")
    return _columns(faces.flatten(), _parents(images)[_parents(faces)])


def _whole(column: Any) -> Any:
    """A column in one piece; that of a table without rows has none."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _parents(lists: Any) -> NDArray[np.int64]:
    """Of each value of lists the number of its list."""
    lengths = np.diff(lists.offsets.to_numpy())
    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)


def _columns(structs: Any, rows: NDArray[np.int64]) -> FaceColumns:
    sides = [structs.field(side).to_numpy(zero_copy_only=False) for side in _SIDES]
    scores = structs.field("score").to_numpy(zero_copy_only=False)
    return FaceColumns(rows, np.stack(sides, axis=1).astype(np.float32), scores.astype(np.float32))


def _none() -> FaceColumns:
    return FaceColumns(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
