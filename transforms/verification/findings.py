"""What a second look at an output finds: rows by name, kept for each shard beside the audit trail, and their totals."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceveil.transforms import storage
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import FACES, face_structs, read_faces

_STAMP_KEY = b"faceveil.verify"
_ROWS_HELD = 4096
_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        ("shard", pa.string()),
        ("index", pa.int32()),
        ("feature", pa.string()),
        ("image", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        pa.field("faces", FACES, nullable=False),
        ("problem", pa.string()),
        ("detail", pa.string()),
    ]
)


class Problem(StrEnum):
    """What may be wrong with an output beside a face; for a record that cannot be read there are the quarantine's
    reasons."""

    MISSING_FILE = "missing_file"
    """A file that the manifest or the audit trail names is not there, or cannot be read."""
    CHANGED_FILE = "changed_file"
    """A file is not the one that was written, by its size or checksum."""
    WRONG_COUNT = "wrong_count"
    """A shard holds another number of records or faces than the manifest or its rows say."""
    MISSING_ROWS = "missing_rows"
    """A shard has no file of the audit trail, or none that can be read, so nobody knows its masks."""
    WRONG_ROW = "wrong_row"
    """A row speaks of another image: of another size, with other faces, or there are more or fewer of them."""
    METADATA = "metadata"
    """An image holds metadata, or bytes after its end, that a job would have dropped."""
    HIDDEN_DATA = "hidden_data"
    """An image's compressed data hold more than its picture, or pixels that it does not show."""
    HIDDEN_FIELDS = "hidden_fields"
    """An Example holds bytes that no reader of Examples sees."""
    LEFT_OUT_FEATURE = "left_out_feature"
    """An Example holds a feature that the job's options leave out, or that no job writes."""
    UNACCOUNTED_FILE = "unaccounted_file"
    """A file lies in the output that no job has written there."""
    UNCHECKED = "unchecked"
    """Checking the record failed."""


@dataclass(frozen=True)
class OutputFinding:
    """One thing that was found: faces of an image outside its masks, or a problem.

    Attributes:
        key: the record's; None of a shard as a whole.
        file: where the record is; None where its shard is no file.
        index: its place in that file.
        problem: one of ``Problem`` or of the quarantine's reasons; None of faces.
        detail: more about it.
        feature: of the image, where its record is an Example.
        image: which of the record's images it is, from 0.
        width: of the upright image, px.
        height: of the same.
        faces: outside the masks, in pixels of the upright image.
    """

    key: str | None
    file: str | None = None
    index: int | None = None
    problem: str | None = None
    detail: str | None = None
    feature: str | None = None
    image: int | None = None
    width: int | None = None
    height: int | None = None
    faces: Faces = field(default_factory=Faces.none)


@dataclass
class ShardFindings:
    """What was found in one shard.

    Attributes:
        name: the shard's name without an ending.
        split: it belongs to.
        records: that were looked at.
        images: in these.
        residual_records: with faces outside their masks.
        residual_faces: such faces.
        problems: of records and of the shard, how often each was found.
        problem_records: with problems of their own.
        engine: what ran the detector; empty where none did.
        precision: the number format it computed in.
        device: the kind of CPU or accelerator it ran on.
    """

    name: str
    split: str
    records: int = 0
    images: int = 0
    residual_records: int = 0
    residual_faces: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    problem_records: int = 0
    engine: str = ""
    precision: str = ""
    device: str = ""

    def count(self, findings: list[OutputFinding]) -> None:
        """Adds what was found in one record, or of the shard as a whole."""
        faces = sum(len(finding.faces) for finding in findings)
        self.residual_records += faces > 0
        self.residual_faces += faces
        self.problem_records += any(finding.problem and finding.key is not None for finding in findings)
        for finding in findings:
            if finding.problem:
                self.problems[finding.problem] = self.problems.get(finding.problem, 0) + 1


class FindingsFile:
    """Collects the findings of a shard.

    Args:
        split: the shard's.
    """

    def __init__(self, split: str) -> None:
        self._split = split
        self._rows: list[dict[str, Any]] = []
        self._buffer = io.BytesIO()
        self._writer = pq.ParquetWriter(self._buffer, _COLUMNS, compression="zstd")

    def add(self, finding: OutputFinding) -> None:
        """Adds a row."""
        row = {**vars(finding), "split": self._split, "shard": finding.file, "faces": list(face_structs(finding.faces))}
        del row["file"]
        self._rows.append(row)
        if len(self._rows) >= _ROWS_HELD:
            self._flush()

    def publish(self, path: str, identity: str, result: ShardFindings) -> None:
        """Writes the file.

        Args:
            path: where.
            identity: of what was looked at, and how.
            result: the totals.

        Raises:
            AccessError: it cannot be written.
        """
        self._flush()
        stamp = {"identity": identity, "result": asdict(result)}
        self._writer.add_key_value_metadata({_STAMP_KEY: json.dumps(stamp, sort_keys=True).encode()})
        self._writer.close()
        storage.write_bytes(path, self._buffer.getvalue())

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, _COLUMNS))
            self._rows.clear()


def read_findings_stamp(path: str) -> tuple[str, ShardFindings] | None:
    """What was looked at, and its totals; None where there is no such file, or it is damaged.

    Raises:
        AccessError: storage cannot be reached.
    """
    if not storage.exists(path):
        return None
    try:
        metadata = pq.read_metadata(io.BytesIO(storage.read_bytes(path))).metadata or {}
        stamp = json.loads(metadata[_STAMP_KEY])
        return stamp["identity"], ShardFindings(**stamp["result"])
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError):
        return None


def read_outside(path: str) -> dict[str, dict[int, Faces]]:
    """The faces outside masks that a file of findings tells of: by the record's key, those of each of its images.

    Raises:
        OSError: it cannot be read.
    """
    outside: dict[str, dict[int, Faces]] = {}
    for row in pq.read_table(io.BytesIO(storage.read_bytes(path)), columns=["key", "image", "faces"]).to_pylist():
        if row["faces"]:
            outside.setdefault(row["key"], {})[row["image"]] = read_faces(row["faces"])
    return outside
