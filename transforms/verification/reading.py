"""Reading the records of a shard that a job has written, each with its row, and telling what the files are."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Place, Row, Status, read_placed_rows
from faceveil.transforms.formats.columns import arrow_schema, with_main_image
from faceveil.transforms.formats.container import CorruptRecordError, FilePart, NumberedRecord
from faceveil.transforms.formats.example import InvalidExampleError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputFormat, OutputLayout
from faceveil.transforms.formats.parquet_extent import hidden_in_footer, hidden_in_pages
from faceveil.transforms.formats.parquet_files import PARQUET_FILES, footer_bytes, read_footer
from faceveil.transforms.formats.sample_tars import read_samples
from faceveil.transforms.formats.samples import example_of_sample
from faceveil.transforms.formats.tfrecord import (
    OversizedRecord,
    read_limited_records,
    read_plain_records,
    record_offsets,
    single_gzip,
)
from faceveil.transforms.quarantine import Quarantine, Reason, too_large
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Worker
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE, StoredFile
from faceveil.transforms.verification.findings import OutputFinding, Problem
from faceveil.transforms.verification.records import UncheckedRecord

_PIECE = 2**20
_MAX_DETAIL = 500
_GZIP_FLAGS, _GZIP_SYSTEM = 3, 8
"""Where flags and time begin in gzip's header (RFC 1952, 2.3), and what follows them."""
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
        hidden: the first thing that its file holds beside them; empty where nothing was found.
        hidden_count: how many such there are.
    """

    sha256: str = ""
    bytes: int = 0
    records: int = 0
    problems: list[OutputFinding] = field(default_factory=list)
    hidden: str = ""
    hidden_count: int = 0

    def note_hidden(self, what: str) -> None:
        """Counts what the file holds beside records; of a tar that was packed anew there is some for each of them."""
        self.hidden = self.hidden or what
        self.hidden_count += 1

    def say_hidden(self, file: str) -> None:
        """Adds all of that as one problem."""
        if self.hidden:
            more = f"; and {self.hidden_count - 1} more of the kind" if self.hidden_count > 1 else ""
            self.say(Problem.HIDDEN_DATA, self.hidden + more, file)

    def say(self, problem: str, detail: str, file: str | None = None) -> None:
        """Adds a problem of the shard."""
        self.problems.append(OutputFinding(None, file, problem=problem, detail=detail))


def _read_file(
    shard: WrittenShard, output: OutputLayout, with_rows: bool, reading: ShardReading, worker: Worker
) -> Iterator[UncheckedRecord]:
    """The records of a shard that is one file, as Examples, with their rows."""
    file, path = output.shard_file(shard.name), output.shard_path(shard.name)
    read, as_example = _FILES[output.format]
    features = worker.config.features
    # The job's own features are allowed here, its images among them.
    roles = FeatureRoles(features.images, allowed=tuple(set(features.allowed) - set(features.images)))
    rows = _written_rows(shard.name, output) if with_rows else iter(())
    following = 0
    try:
        for place, record in read(shard, output, reading, worker.config.limits.max_image_bytes):
            if isinstance(record, Quarantine) and record.reason is Reason.CORRUPT_RECORD:
                reading.say(Reason.CORRUPT_RECORD, record.detail, file)
                continue
            reading.records += 1
            row = next(itertools.islice(rows, place - following, None), None)
            following = place + 1
            key = row.key if row else f"{file}#{place}"
            if row is None and with_rows:
                detail = "no row of the audit trail tells of it"
                reading.problems.append(OutputFinding(key, file, place, Problem.WRONG_ROW, detail))
            try:
                if isinstance(record, Quarantine):
                    raise record
                example = as_example(record, roles)
            except (Quarantine, InvalidExampleError) as error:
                told = error if isinstance(error, Quarantine) else Quarantine(Reason.INVALID_EXAMPLE, str(error))
                reading.problems.append(OutputFinding(key, file, place, told.reason, told.detail))
                continue
            yield UncheckedRecord(key, row, file, place, example, is_file=False)
    except CorruptRecordError as error:
        reading.say(Reason.CORRUPT_RECORD, f"record {following} and what follows: {error}", file)
    except OSError as error:
        reading.say(Problem.MISSING_FILE, error.strerror or type(error).__name__, file)
    reading.say_hidden(file)
    if shard.chosen is None and not reading.sha256:
        reading.sha256, reading.bytes = file_sha256(path), _size(path)


def _written_rows(name: str, output: OutputLayout) -> Iterator[Row]:
    return (row for row, place in read_placed_rows(output.audit_path(name)) if place is not None)


def _read_tfrecords(
    shard: WrittenShard, output: OutputLayout, reading: ShardReading, max_bytes: int
) -> Iterator[NumberedRecord]:
    """The records of a TFRecord file, with their numbers; of chosen ones in a plain file only these are read."""
    path, chosen = output.shard_path(shard.name), shard.chosen
    wanted = set(chosen or ())
    with storage.open_to_read(path) as opened, _plain(opened, output, reading, chosen is None) as plain:
        records: Iterable[tuple[int, bytes | OversizedRecord]]
        if chosen is None or output.compression != "none":
            records = enumerate(read_limited_records(plain, max_bytes))
        else:
            records = zip(chosen, _chosen_records(opened, _size(path), chosen, max_bytes), strict=False)
        for number, record in records:
            if chosen is not None and number not in wanted:
                continue
            if isinstance(record, OversizedRecord):
                yield number, too_large(f"it has {record.length} bytes")
            else:
                yield number, record


def _chosen_records(
    opened: BinaryIO, size: int, chosen: tuple[int, ...], max_bytes: int
) -> Iterator[bytes | OversizedRecord]:
    """Some records of a TFRecord file; the others are passed over by their lengths."""
    wanted = set(chosen)
    starts = [place for number, place in enumerate(record_offsets(opened, size)) if number in wanted]
    for start in starts:
        yield next(read_plain_records(opened, max_bytes, start, size))


def _read_samples(
    shard: WrittenShard, output: OutputLayout, reading: ShardReading, max_bytes: int
) -> Iterator[NumberedRecord]:
    """The samples of a tar, with their numbers."""
    chosen = None if shard.chosen is None else set(shard.chosen)
    with (
        storage.open_to_read(output.shard_path(shard.name)) as opened,
        _plain(opened, output, reading, chosen is None) as plain,
    ):
        yield from read_samples(plain, max_bytes, reading.note_hidden, chosen)


@contextmanager
def _plain(opened: BinaryIO, output: OutputLayout, reading: ShardReading, is_whole: bool) -> Iterator[BinaryIO]:
    """A file, decompressed, whose checksum is told at the end where it is read as a whole."""
    hashed = _HashedFile(opened)
    file = cast("BinaryIO", hashed) if is_whole else opened
    if output.compression == "none":
        yield file
    else:
        start = opened.read(_GZIP_SYSTEM)
        opened.seek(0)
        if start[_GZIP_FLAGS:].strip(b"\0"):
            reading.note_hidden("gzip's header tells a name, a time or more")
        try:
            yield single_gzip(file)
        except (EOFError, zlib.error) as error:
            raise CorruptRecordError(f"the compressed data are damaged: {error}") from error
    if is_whole:
        reading.sha256, reading.bytes = hashed.finish()


def _read_rows(
    shard: WrittenShard, output: OutputLayout, reading: ShardReading, max_bytes: int
) -> Iterator[NumberedRecord]:
    """The rows of a Parquet file as Examples, with their numbers; of chosen ones only their row groups are read."""
    stored = _stat(output.shard_path(shard.name))
    footer = read_footer(stored)
    told = footer_bytes(stored)
    schema = footer.schema.to_arrow_schema()
    expected = arrow_schema(output.columns)
    if unknown := [name for name in schema.names if name not in expected.names]:
        detail = f"columns {', '.join(unknown)}"[:_MAX_DETAIL]
        reading.say(Problem.LEFT_OUT_FEATURE, detail, output.shard_file(shard.name))
    elif not schema.equals(expected):
        detail = "its columns are not those that the manifest tells"
        reading.say(Problem.CHANGED_FILE, detail, output.shard_file(shard.name))
    found = list(hidden_in_footer(told, expected.metadata or {}))
    if shard.chosen is None:
        with storage.open_to_read(stored.path) as opened:
            hashed = _HashedFile(opened)
            found += hidden_in_pages(cast("BinaryIO", hashed), stored.size, told)
            reading.sha256, reading.bytes = hashed.finish()
    for what in found:
        reading.note_hidden(what)
    refused = tuple(column.name for column in PARQUET_FILES.declared(stored) if column.refusal)
    chosen = None if shard.chosen is None else set(shard.chosen)
    for part in _parts_with(chosen, stored, footer):
        for number, record in PARQUET_FILES.read(stored, part, max_bytes, FeatureRoles((), refused)):
            if chosen is None or number in chosen or isinstance(record, Quarantine):
                yield number, record


def _parts_with(chosen: Collection[int] | None, stored: StoredFile, footer: Any) -> Iterator[FilePart | None]:
    """The row groups that hold chosen rows; None for the whole file."""
    if chosen is None:
        yield None
        return
    first, groups = 0, footer.num_row_groups
    for group in range(groups):
        rows = footer.row_group(group).num_rows
        if any(first <= number < first + rows for number in chosen):
            yield FilePart(group, groups, 0, stored.size, first, rows)
        first += rows


def _as_it_is(record: bytes, _roles: FeatureRoles) -> bytes:
    return record


def _from_row(row: bytes, roles: FeatureRoles) -> bytes:
    return with_main_image(row, roles.images, roles.allowed)


def _from_sample(sample: bytes, roles: FeatureRoles) -> bytes:
    return example_of_sample(sample, roles.images, roles.allowed)


_Read = Callable[[WrittenShard, OutputLayout, ShardReading, int], Iterator[NumberedRecord]]
_FILES: dict[OutputFormat, tuple[_Read, Callable[[bytes, FeatureRoles], bytes]]] = {
    "tfrecord": (_read_tfrecords, _as_it_is),
    "parquet": (_read_rows, _from_row),
    "webdataset": (_read_samples, _from_sample),
}
"""How the records of each kind of file are read, and made Examples that a job has made them of."""


def _size(path: str) -> int:
    found = storage.stat(path)
    return found.size if found else 0


def _stat(path: str) -> StoredFile:
    found = storage.stat(path)
    if found is None:
        raise FileNotFoundError(2, "No such file")
    return found


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


READERS = {**dict.fromkeys(_FILES, _read_file), "images": _read_images}
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
