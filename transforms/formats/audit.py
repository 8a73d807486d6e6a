"""The audit trail: one row per input, kept in a file for each shard, apart from the data. Not for publication."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceveil.transforms import storage
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.kinds import Kind

_SIDES = ("x0", "y0", "x1", "y1")
FACES = pa.list_(
    pa.struct([(name, pa.float32()) for name in (*_SIDES, "score")] + [("keypoints", pa.list_(pa.float32()))])
)
_OTHER_IMAGE = pa.struct([("feature", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("faces", FACES)])
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("shard", pa.string()),
        ("index", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        pa.field("faces", FACES, nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("reencoded", pa.bool_(), nullable=False),
        pa.field("other_images", pa.list_(_OTHER_IMAGE), nullable=False),
        pa.field("fallback_faces", pa.int32(), nullable=False),
    ]
)
_GIVEN_FACES = pa.field("given_faces", pa.int32(), nullable=False)
"""A column of jobs with annotated boxes, so that the files of all others are as they were before there were any."""
_FILE = pa.field("bytes", pa.int64()), pa.field("sha256", pa.string())
"""Columns of jobs that write a file for each image: of that file."""
_STAMP_KEY = b"faceveil.shard"
_PLACED = ["shard", "index", *(field.name for field in _FILE)]
_ROWS_HELD = 4096


class Status(StrEnum):
    """What became of an input."""

    ANONYMIZED = "anonymized"
    NO_FACES = "no_faces"
    QUARANTINED = "quarantined"
    COPIED = "copied"
    """No image: a file that the user wants to have beside them."""


@dataclass(frozen=True)
class Place:
    """Where a record was written.

    Attributes:
        file: its path below the output.
        index: its place in the file.
        bytes: of the file, where it is the record's own.
        sha256: of the same.
    """

    file: str
    index: int
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class OtherImage:
    """One image of a record beside its main one: its feature, its size as the row's, and its faces."""

    feature: str
    width: int
    height: int
    faces: Faces


@dataclass(frozen=True)
class Row:
    """One input of the job and what became of it.

    Attributes:
        key: the record's key.
        status: what became of it.
        reason: why it was quarantined, else None.
        width: of the upright image, px; None where it could not be read.
        height: of the upright image, px; None where it could not be read.
        faces: the detector's, in pixels of the upright image.
        reencoded: whether a lossy image had to be encoded again as a whole, so that pixels outside the masks
            may differ.
        detail: more about the reason, such as the place of the damage; or from which format to which it was converted.
        other_images: those that were named beside the main one, which width, height and faces speak of.
        fallback_faces: how many of the faces of all its images were left to another method.
        given_faces: how many of the faces, the first ones, are annotated boxes.
    """

    key: str
    status: Status
    reason: str | None
    width: int | None
    height: int | None
    faces: Faces
    reencoded: bool = False
    detail: str | None = None
    other_images: tuple[OtherImage, ...] = ()
    fallback_faces: int = 0
    given_faces: int = 0

    @property
    def is_converted(self) -> bool:
        """Whether it is written in another format than it was read in, as its detail says."""
        return self.reason is None and self.detail is not None

    @property
    def face_count(self) -> int:
        """The faces of all its images."""
        return len(self.faces) + sum(len(image.faces) for image in self.other_images)


@dataclass
class ShardResult:
    """What one finished shard adds to the manifest.

    Attributes:
        name: the shard's name without an ending.
        split: the split it belongs to.
        records: inputs read for it, those that were quarantined included.
        anonymized: records with faces, all of them masked.
        no_faces: records in which no face was found.
        quarantined: records that are quarantined.
        faces: all faces found and masked.
        bytes: size of the shard's file.
        sha256: of the shard's file.
        faces_per_image: how many written records have so many faces, in all their images together.
        reasons: how many records are quarantined for which reason.
        engine: what ran the detector.
        precision: the number format it computed in.
        device: the kind of CPU or accelerator it ran on.
        reencoded: anonymized records whose lossy images were encoded again as a whole.
        inputs_digest: identifies the versions of the files it was made from.
        fallback_faces: faces that were left to another method.
        given_faces: faces that are annotated boxes.
        copied: files that were copied, which are no records.
        converted: records with images that are written in another format.
    """

    name: str
    split: str
    records: int = 0
    anonymized: int = 0
    no_faces: int = 0
    quarantined: int = 0
    faces: int = 0
    bytes: int = 0
    sha256: str = ""
    faces_per_image: dict[int, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    engine: str = ""
    precision: str = ""
    device: str = ""
    reencoded: int = 0
    inputs_digest: str = ""
    fallback_faces: int = 0
    given_faces: int = 0
    copied: int = 0
    converted: int = 0

    def count(self, row: Row) -> None:
        """Adds one record, or one file that was copied."""
        if row.status is Status.COPIED:
            self.copied += 1
            return
        self.records += 1
        if row.reason is not None:
            self.quarantined += 1
            self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1
            return
        faces = row.face_count
        self.faces += faces
        self.reencoded += row.reencoded
        self.converted += row.is_converted
        self.fallback_faces += row.fallback_faces
        self.given_faces += row.given_faces
        self.faces_per_image[faces] = self.faces_per_image.get(faces, 0) + 1
        if row.status is Status.ANONYMIZED:
            self.anonymized += 1
        else:
            self.no_faces += 1


class StampedFile(NamedTuple):
    """A file that a shard was made from: its key, its size in bytes, its version, and what identifies its content.

    That is empty where nothing does.
    """

    key: str
    size: int
    version: str
    content: str = ""


@dataclass(frozen=True)
class Stamp:
    """What an audit file says of its shard as a whole.

    Attributes:
        settings_digest: identifies the settings it was made with.
        result: what it adds to the manifest.
        kind: what its input files are.
        files: its input files.
        parts: in how many shards the only file is.
    """

    settings_digest: str
    result: ShardResult
    kind: Kind
    files: tuple[StampedFile, ...]
    parts: int = 1

    @property
    def as_json(self) -> bytes:
        """As an audit file holds it."""
        content = asdict(replace(self, files=()))  # which would be copied one by one
        content["files"] = [file if file.content else file[:3] for file in self.files]
        if self.parts == 1:  # as it was before files were divided
            del content["parts"]
        for later in ("given_faces", "copied", "converted"):  # as it was before there were any
            if not content["result"][later]:
                del content["result"][later]
        return json.dumps(content, sort_keys=True).encode()


class AuditFile:
    """Collects the rows of one shard; memory holds them compressed.

    Args:
        split: the shard's.
        method: the job's.
        with_given: whether the job has annotated boxes.
        with_files: whether each record has a file of its own.
    """

    def __init__(self, split: str, method: str, with_given: bool = False, with_files: bool = False) -> None:
        self._constants = {"split": split, "method": method}
        self._rows: list[dict[str, Any]] = []
        self._buffer = io.BytesIO()
        later = [*([_GIVEN_FACES] if with_given else []), *(_FILE if with_files else [])]
        self._schema = pa.schema([*SCHEMA, *later])
        self._writer = pq.ParquetWriter(self._buffer, self._schema, compression="zstd")

    def add(self, row: Row, place: Place | None) -> None:
        """Adds a row; of a record that was not written there is no place."""
        self._rows.append(
            {
                "key": row.key,
                "status": str(row.status),
                "reason": row.reason,
                "detail": row.detail,
                "shard": place and place.file,
                "index": place and place.index,
                "width": row.width,
                "height": row.height,
                "faces": list(face_structs(row.faces, row.given_faces)),
                "reencoded": row.reencoded,
                "fallback_faces": row.fallback_faces,
                _GIVEN_FACES.name: row.given_faces,  # left out where the schema has no such columns
                "bytes": place and place.bytes,
                "sha256": place and place.sha256,
                "other_images": [{**vars(i), "faces": list(face_structs(i.faces))} for i in row.other_images],
                **self._constants,
            }
        )
        if len(self._rows) >= _ROWS_HELD:
            self._flush()

    def publish(self, path: str, stamp: Stamp) -> None:
        """Writes the file, whose presence says that the shard is done.

        Raises:
            AccessError: it cannot be written.
        """
        self._flush()
        self._writer.add_key_value_metadata({_STAMP_KEY: stamp.as_json})
        self._writer.close()
        storage.write_bytes(path, self._buffer.getvalue())

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows.clear()


def face_structs(faces: Faces, given: int = 0) -> Iterator[dict[str, Any]]:
    """Faces as rows hold them; of the first ones, which are given, keypoints may be unknown."""
    for number, (box, score) in enumerate(zip(faces.boxes, faces.scores, strict=True)):
        points = None if faces.keypoints is None else np.ravel(faces.keypoints[number])
        is_known = points is not None and not (number < given and np.isnan(points).all())
        yield {
            **dict(zip(_SIDES, box, strict=True)),
            "score": score,
            "keypoints": points.tolist() if points is not None and is_known else None,
        }


def read_stamp(path: str) -> Stamp | None:
    """What an audit file says of its shard; None where there is no such file.

    Raises:
        AccessError: storage cannot be reached.
        ValueError: the file is there, but it is no audit file of faceveil.
    """
    if not storage.exists(path):
        return None
    try:
        metadata = pq.read_metadata(io.BytesIO(storage.read_bytes(path))).metadata or {}
        stamp = json.loads(metadata[_STAMP_KEY])
        result = ShardResult(**stamp["result"])
        files = tuple(StampedFile(*file) for file in stamp["files"])
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no records file of faceveil") from error
    # JSON spells the keys of an object as strings.
    result.faces_per_image = {int(faces): images for faces, images in result.faces_per_image.items()}
    return Stamp(stamp["settings_digest"], result, stamp["kind"], files, stamp.get("parts", 1))


def read_rows(path: str) -> Iterator[Row]:
    """The rows of an audit file, in their order.

    Raises:
        OSError: it cannot be read.
    """
    return (row for row, _ in read_placed_rows(path))


def read_placed_rows(path: str) -> Iterator[tuple[Row, Place | None]]:
    """The rows of an audit file, in their order, and where their records were written.

    Raises:
        OSError: it cannot be read.
    """
    for row in _read(path):
        faces = read_faces(row["faces"])
        size = row["width"], row["height"]
        # The first versions had fewer columns.
        status, reencoded = Status(row["status"]), row.get("reencoded", False)
        others = tuple(OtherImage(**{**i, "faces": read_faces(i["faces"])}) for i in row.get("other_images", ()))
        named = {"fallback_faces": row.get("fallback_faces", 0), "other_images": others, "detail": row.get("detail")}
        named["given_faces"] = row.get(_GIVEN_FACES.name, 0)
        yield Row(row["key"], status, row["reason"], *size, faces, reencoded, **named), _place(row)


def read_files(path: str) -> Iterator[Place]:
    """The files of an audit file's records, where each has one of its own; none where they have not.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no audit file of faceveil.
    """
    try:
        yield from (place for row in _read(path, _PLACED) if (place := _place(row)) and place.sha256)
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path}: is no records file of faceveil") from error


def _read(path: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(io.BytesIO(storage.read_bytes(path))) as file:
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def _place(row: dict[str, Any]) -> Place | None:
    if row["shard"] is None:
        return None
    return Place(row["shard"], row["index"], row.get("bytes"), row.get("sha256"))


def read_faces(structs: list[dict[str, Any]]) -> Faces:
    """Faces as ``face_structs`` has told them."""
    if not structs:
        return Faces.none()
    boxes = np.array([[face[side] for side in _SIDES] for face in structs], np.float32)
    scores = np.array([face["score"] for face in structs], np.float32)
    points = [face["keypoints"] for face in structs]
    known = next((each for each in points if each is not None), None)
    if known is None:
        return Faces(boxes, scores)
    rows = [each or [np.nan] * len(known) for each in points]
    return Faces(boxes, scores, np.array(rows, np.float32).reshape(len(structs), -1, 2))
