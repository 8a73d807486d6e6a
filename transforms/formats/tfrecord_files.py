"""TFRecord files as containers of records: divided by bytes, unless they are compressed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from faceveil.transforms import storage
from faceveil.transforms.codecs.signatures import sniff
from faceveil.transforms.formats.container import (
    Container,
    CorruptRecordError,
    FilePart,
    NumberedRecord,
    divide_by_bytes,
    rest_from,
)
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import LOOKED_AT
from faceveil.transforms.formats.tfds import declared_beside
from faceveil.transforms.formats.tfrecord import (
    HEADER_BYTES,
    OversizedRecord,
    begins_as_tfrecords,
    is_header,
    read_limited_records,
    read_plain_records,
    record_offsets,
)
from faceveil.transforms.quarantine import Quarantine, Reason, too_large
from faceveil.transforms.storage.base import StoredFile


def _max_parts(file: StoredFile) -> int:
    """Any number, unless the file is compressed."""
    return max(1, file.size) if is_header(storage.read_range(file, 0, HEADER_BYTES)) else 1


def _divide(file: StoredFile, count: int) -> list[FilePart]:
    return divide_by_bytes(_record_starts(file), file.size, count)


def _record_starts(file: StoredFile) -> Iterator[int]:
    """Found from one length to the next."""
    with storage.open_to_read(file.path, file.version, file.size) as opened:
        yield from record_offsets(opened, file.size)


def _read(file: StoredFile, part: FilePart | None, max_bytes: int, _roles: FeatureRoles) -> Iterator[NumberedRecord]:
    number = part.first if part else 0
    try:
        until = part.stop if part else file.size
        with storage.open_to_read(file.path, file.version, file.size, until) as opened:
            for record in _records(opened, part, max_bytes):
                if isinstance(record, OversizedRecord):
                    yield number, too_large(f"record {number}, at byte {record.offset}, has {record.length} bytes")
                else:
                    yield number, record
                number += 1
    except CorruptRecordError as error:
        yield number, Quarantine(Reason.CORRUPT_RECORD, f"{rest_from(number, part)}: {error}")


def _records(opened: BinaryIO, part: FilePart | None, max_bytes: int) -> Iterator[bytes | OversizedRecord]:
    if part:
        return read_plain_records(opened, max_bytes, part.start, part.stop)
    start = cast("io.BufferedReader", opened).peek(LOOKED_AT)[:LOOKED_AT]
    if not begins_as_tfrecords(start) and (found := sniff(start)) not in (None, "gzip", "zlib"):
        raise CorruptRecordError(
            f"the file begins as {found} does; TFRecords are read plain, or compressed by gzip or zlib"
        )
    return read_limited_records(opened, max_bytes)


TFRECORD_FILES = Container(
    begins=begins_as_tfrecords,
    why_ignored=lambda _: "",
    max_parts=_max_parts,
    divide=_divide,
    declared=lambda file: declared_beside(file.path),
    read=_read,
)
