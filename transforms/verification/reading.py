"""Reading the records of a shard that a job has written, each with its row, and telling what the files are."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Place, Row, Status, read_placed_rows
from faceveil.transforms.formats.container import CorruptRecordError
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import (
    OversizedRecord,
    read_limited_records,
    read_plain_records,
    record_offsets,
)
from faceveil.transforms.quarantine import Reason
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Worker
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE
from faceveil.transforms.verification.findings import OutputFinding, Problem
from faceveil.transforms.verification.records import UncheckedRecord

_PIECE = 2**20
_DECODED = 8
"""Pixels and views take a multiple of the compressed bytes; counted before a file is read."""


@dataclass(frozen=True)
class WrittenShard:
    """A shard as the manifest tells it.

    Attributes:
        name: without an ending.
        split: it belongs to.
        records: written.
        faces: masked.
        bytes: of its files.
        sha256: of them.
        chosen: which of its records are looked at, in their order; None for all.
    """

    name: str
    split: str
    records: int
    faces: int
    bytes: int
    sha256: str
    chosen: tuple[int, ...] | None = None


@dataclass
class ShardReading:
    """What is found while the records of a shard are read.

    Attributes:
        sha256: of what was read.
        bytes: how many.
        records: how many.
        problems: of the shard, not of one of its records.
    """

    sha256: str = ""
    bytes: int = 0
    records: int = 0
    problems: list[OutputFinding] = field(default_factory=list)

    def say(self, problem: str, detail: str, file: str | None = None) -> None:
        """Adds a problem of the shard."""
        self.problems.append(OutputFinding(None, file, problem=problem, detail=detail))


def _read_tfrecords(
    shard: WrittenShard, output: OutputLayout, with_rows: bool, reading: ShardReading, worker: Worker
) -> Iterator[UncheckedRecord]:
    """The records of a shard that is a TFRecord file, with their rows."""
    file, path = output.shard_file(shard.name), output.shard_path(shard.name)
    max_bytes = worker.config.limits.max_image_bytes
    rows = _written_rows(shard.name, output) if with_rows else iter(())
    number = -1
    try:
        with storage.open_to_read(path) as opened:
            hashed = _HashedFile(opened)
            records: Iterator[bytes | OversizedRecord]
            if shard.chosen is None:
                records = read_limited_records(cast("BinaryIO", hashed), max_bytes)
            elif output.compression == "none":
                records = _chosen_records(opened, _size(path), shard.chosen, max_bytes)
            else:  # of compressed ones nobody knows where they are
                chosen, every = set(shard.chosen), enumerate(read_limited_records(opened, max_bytes))
                records = (record for number, record in every if number in chosen)
            for number, record in enumerate(records):
                place = number if shard.chosen is None else shard.chosen[number]
                row = next(rows, None) if shard.chosen is None else _advance(rows, shard.chosen, number)
                key = row.key if row else f"{file}#{place}"
                if isinstance(record, OversizedRecord):
                    detail = f"it has {record.length} bytes"
                    reading.problems.append(OutputFinding(key, file, place, Reason.TOO_LARGE, detail))
                    continue
                if row is None and with_rows:
                    detail = "no row of the audit trail tells of it"
                    reading.problems.append(OutputFinding(key, file, place, Problem.WRONG_ROW, detail))
                yield UncheckedRecord(key, row, file, place, record, is_file=False)
            reading.records = number + 1
            if shard.chosen is None:
                reading.sha256, reading.bytes = hashed.finish()
    except CorruptRecordError as error:
        reading.records = number + 1
        reading.say(Reason.CORRUPT_RECORD, f"record {number + 1} and what follows: {error}", file)
        if shard.chosen is None:
            reading.sha256, reading.bytes = file_sha256(path), _size(path)
    except OSError as error:
        reading.records = number + 1
        reading.say(Problem.MISSING_FILE, error.strerror or type(error).__name__, file)


def _written_rows(name: str, output: OutputLayout) -> Iterator[Row]:
    return (row for row, place in read_placed_rows(output.audit_path(name)) if place is not None)


def _advance(rows: Iterator[Row], chosen: tuple[int, ...], number: int) -> Row | None:
    """The row of the next chosen record."""
    skipped = chosen[number] - (chosen[number - 1] + 1 if number else 0)
    return next(itertools.islice(rows, skipped, None), None)


def _chosen_records(
    opened: BinaryIO, size: int, chosen: tuple[int, ...], max_bytes: int
) -> Iterator[bytes | OversizedRecord]:
    """Some records of a TFRecord file; the others are passed over by their lengths."""
    wanted = set(chosen)
    starts = [place for number, place in enumerate(record_offsets(opened, size)) if number in wanted]
    for start in starts:
        yield next(read_plain_records(opened, max_bytes, start, size))


def _size(path: str) -> int:
    found = storage.stat(path)
    if found is None:
        raise FileNotFoundError(2, "No such file")
    return found.size


class _HashedFile:
    """A file that is read from its beginning, and its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = hashlib.sha256()
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._checksum.update(data)
        self._bytes += len(data)
        return data

    def finish(self) -> tuple[str, int]:
        """The checksum and the size of the whole file, what was not read yet included."""
        while self.read(_PIECE):
            pass
        return self._checksum.hexdigest(), self._bytes


def _read_images(
    shard: WrittenShard, output: OutputLayout, with_rows: bool, reading: ShardReading, worker: Worker
) -> Iterator[UncheckedRecord]:
    """The images of a shard that is a file for each, with their rows; files that were copied are compared alone."""
    if not with_rows:
        return
    waiting: deque[tuple[Row, Place, bool]] = deque()

    def sources() -> Iterator[Source | Outcome]:
        number = -1
        for row, place in read_placed_rows(output.audit_path(shard.name)):
            if place is None:
                continue
            is_image = row.status is not Status.COPIED
            number += is_image
            if shard.chosen is None or (is_image and number in chosen):
                waiting.append((row, place, is_image))
                path = storage.join(output.directory, place.file)
                yield Source(row.key, path, None, _DECODED * (place.bytes or 0))

    chosen = set(shard.chosen or ())
    whole = hashlib.sha256()
    for source in worker.read_ahead(sources()):
        row, place, is_image = waiting.popleft()
        assert isinstance(source, Source)
        try:
            data = storage.read_bytes(source.path) if source.content is None else source.content
        except OSError as error:
            detail = error.strerror or type(error).__name__
            reading.problems.append(OutputFinding(row.key, place.file, place.index, Problem.MISSING_FILE, detail))
            reading.records += is_image
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        whole.update(f"{sha256}  {place.file}\n".encode())
        reading.bytes += len(data)
        reading.records += is_image
        if sha256 != place.sha256:
            detail = f"its SHA-256 is {sha256[:16]}…; {len(data)} bytes, {place.bytes} were written"
            reading.problems.append(OutputFinding(row.key, place.file, place.index, Problem.CHANGED_FILE, detail))
        if is_image:
            yield UncheckedRecord(row.key, row, place.file, place.index, data, is_file=True)
    reading.sha256 = whole.hexdigest()


READERS = {"tfrecord": _read_tfrecords, "images": _read_images}
"""By what the job has written."""


def files_sha256(shard: WrittenShard, output: OutputLayout) -> str:
    """What a writer of images says of the files of a shard, as they are now; empty if one cannot be read."""
    whole = hashlib.sha256()
    try:
        places = [place for _, place in read_placed_rows(output.audit_path(shard.name)) if place]
    except (OSError, ValueError):
        return ""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        paths = (storage.join(output.directory, place.file) for place in places)
        for place, sha256 in zip(places, pool.map(file_sha256, paths), strict=True):
            whole.update(f"{sha256}  {place.file}\n".encode())
    return whole.hexdigest()


def file_sha256(path: str) -> str:
    """Of a file; empty if it cannot be read."""
    try:
        with storage.open_to_read(path) as file:
            return _HashedFile(file).finish()[0]
    except OSError:
        return ""
