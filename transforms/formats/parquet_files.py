"""Parquet files as containers of records: each row is an Example; divided by row groups.

Columns become features of the same names, fields of structs features such as ``objects/id``, of structs in a list too:
then each is a list. Of a struct of ``bytes`` and ``path``, as Hugging Face's data sets hold images
(https://huggingface.co/docs/datasets/about_dataset_features#image-feature), the bytes are the feature itself.
What is null is a feature that is not there.

The layout of files: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.container import (
    Container,
    CorruptRecordError,
    Declared,
    FilePart,
    NumberedRecord,
    parts_between,
    rest_from,
)
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.parquet_columns import Column, RowValues, columns_of, example_of, rows_of
from faceveil.transforms.quarantine import Quarantine, Reason, too_large
from faceveil.transforms.runtime.memory import is_out_of_memory
from faceveil.transforms.storage.base import StoredFile, one_line

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_END_BYTES = 8  # the footer's length, and the magic number
_TAIL_BYTES = 2**16
_MAX_FOOTER_BYTES = 2**26
_BUFFER = 2**20
# Of a value that rows share a file has one copy, of which each row read makes another; so few are read at once. One by
# one, reading takes twice as long; more than four at once do not make it faster.
_BATCH_ROWS = 4
_BATCH_BYTES = 2**24

NO_IMAGES = "a Parquet table without a column of bytes"


def begins_as_parquet(start: bytes) -> bool:
    """Whether a file that begins so is a Parquet file: behind the magic number there is a field of a header in Thrift's
    compact encoding, or in encrypted files a length of four bytes.

    Example usage::

        >>> begins_as_parquet(b"PAR1" + bytes([0x15])), begins_as_parquet(b"PAR10 is a text")
        (True, False)
    """
    return start[:5] == _MAGIC + b"\x15" or (start[:4] == _ENCRYPTED and start[7:8] == b"\0")


def read_footer(file: StoredFile) -> Any:
    """The footer of a file, which tells columns and row groups (pyarrow's FileMetaData); nothing else is fetched.

    Raises:
        CorruptRecordError: it is damaged, encrypted, or larger than 64 MiB.
        OSError: the file cannot be read.
        AccessError: storage cannot be reached, or the file is not the one that was listed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    tail = storage.read_range(file, max(0, file.size - _TAIL_BYTES), file.size)
    if tail[-4:] == _ENCRYPTED:
        raise CorruptRecordError("the file is encrypted")
    length = int.from_bytes(tail[-_END_BYTES:-4], "little")
    if tail[-4:] != _MAGIC or not 0 < length <= file.size - _END_BYTES - len(_MAGIC):
        raise CorruptRecordError("the file does not end as a Parquet file does: it is cut off, or something else")
    if length > _MAX_FOOTER_BYTES:
        raise CorruptRecordError(f"its footer has {length} bytes, {_MAX_FOOTER_BYTES} are the most that is read")
    if length + _END_BYTES > len(tail):
        tail = storage.read_range(file, file.size - length - _END_BYTES, file.size)
    try:
        footer = parquet.ParquetFile(pa.BufferReader(tail)).metadata
        counts = _row_counts(footer)
        if min(counts, default=0) < 0 or sum(counts) != footer.num_rows:
            raise CorruptRecordError(f"its footer says {footer.num_rows} rows, and {counts[:5]} in its row groups")
        columns_of(footer.schema.to_arrow_schema())  # whose names may be no texts
    except Exception as error:
        raise _damage(error) from error
    return footer


def footer_bytes(file: StoredFile) -> bytes:
    """The footer of a file that ``read_footer`` reads, as it lies there.

    Raises:
        OSError: the file cannot be read.
        AccessError: as ``read_footer``.
    """
    end = file.size - _END_BYTES
    length = int.from_bytes(storage.read_range(file, end, file.size)[:4], "little")
    return storage.read_range(file, end - length, end)


def _damage(error: Exception) -> CorruptRecordError:
    """What a failure of pyarrow means, unless it is none of the file's.

    Raises:
        Exception: the error, if it says that storage has failed or memory has run out.
    """
    is_of_storage = isinstance(error, AccessError) or (isinstance(error, OSError) and error.errno)
    if is_of_storage or is_out_of_memory(error):
        raise error
    return error if isinstance(error, CorruptRecordError) else CorruptRecordError(one_line(error))


def _row_counts(footer: Any) -> list[int]:
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def _groups_of(part: FilePart | None, count: int) -> range:
    """Which of the row groups of a file belong to a part: as many to each, whatever their sizes."""
    return range(count * part.number // part.count, count * (part.number + 1) // part.count) if part else range(count)


def _why_ignored(file: StoredFile) -> str:
    """A table that cannot hold images is no input, such as lists of labels or boxes beside images."""
    try:
        schema = read_footer(file).schema
    except CorruptRecordError:
        return ""  # which its reader will say
    columns = (schema.column(number) for number in range(len(schema)))
    holds_bytes = any(
        column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") and column.logical_type.type == "NONE"
        for column in columns
    )
    return "" if holds_bytes else NO_IMAGES


def _max_parts(file: StoredFile) -> int:
    try:
        return max(1, int(read_footer(file).num_row_groups))
    except CorruptRecordError:
        return 1


def _divide(file: StoredFile, count: int) -> list[FilePart]:
    rows = _row_counts(read_footer(file))
    firsts = [0, *accumulate(rows)]
    return parts_between([(file.size * n // count, firsts[len(rows) * n // count]) for n in range(count + 1)])


def _declared(file: StoredFile) -> Sequence[Declared]:
    try:
        schema = read_footer(file).schema.to_arrow_schema()
    except CorruptRecordError:
        return ()
    return columns_of(schema)


def _read(file: StoredFile, part: FilePart | None, max_bytes: int, roles: FeatureRoles) -> Iterator[NumberedRecord]:
    """A row group that is damaged loses the rows from there on, and no other does.

    Of a batch of rows that cannot be read, all are lost.
    """
    first = part.first if part else 0
    try:
        footer = read_footer(file)
    except CorruptRecordError as error:
        yield first, Quarantine(Reason.CORRUPT_RECORD, f"{rest_from(first, part)}: {error}")
        return
    counts = _row_counts(footer)
    with storage.open_to_read(file.path, file.version, file.size) as opened:
        for group in _groups_of(part, len(counts)):
            number = first
            try:
                for features in _rows(opened, footer, group, counts[group], roles):
                    yield number, _as_record(number, features, max_bytes)
                    number += 1
                if number < first + counts[group]:
                    raise CorruptRecordError("there are fewer rows than its footer says")
            except CorruptRecordError as error:
                rest = f"record {number} up to record {first + counts[group] - 1}, in row group {group}"
                yield number, Quarantine(Reason.CORRUPT_RECORD, f"{rest}: {error}")
            first += counts[group]


def _as_record(number: int, row: RowValues, max_bytes: int) -> bytes | Quarantine:
    if isinstance(row, Quarantine):
        return row
    size = sum(values.nbytes for values in row.values())
    if size <= max_bytes:
        record = example_of(row)
        size = len(record)
    return record if size <= max_bytes else too_large(f"record {number} has {size} bytes")


def _rows(opened: Any, footer: Any, group: int, count: int, roles: FeatureRoles) -> Iterator[RowValues]:
    """The rows of a row group.

    Raises:
        CorruptRecordError: the rows that follow cannot be read.
    """
    from pyarrow import parquet

    schema = footer.schema.to_arrow_schema()
    wanted = [column for column in columns_of(schema) if not roles.is_left_out(column.name)]
    refused = [Quarantine(Reason.INVALID_EXAMPLE, column.advice) for column in wanted if column.refusal]
    # Without any, nobody would know how many rows there are in truth.
    places = {column.place[0] for column in wanted if not column.refusal} or range(len(schema))
    names = list(dict.fromkeys(schema.field(place).name for place in sorted(places)))
    read: list[Column] = []
    rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * count // max(1, footer.row_group(group).total_byte_size)))
    try:
        with parquet.ParquetFile(
            opened, metadata=footer, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
        ) as file:
            for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
                count -= batch.num_rows
                if count < 0:
                    raise CorruptRecordError("there are more rows than its footer says")
                read = read or [column for column in columns_of(batch.schema) if not roles.is_left_out(column.name)]
                yield from refused[:1] * batch.num_rows or rows_of(batch, read)
    except Exception as error:
        raise _damage(error) from error


PARQUET_FILES = Container(
    begins=begins_as_parquet,
    why_ignored=_why_ignored,
    max_parts=_max_parts,
    divide=_divide,
    declared=_declared,
    read=_read,
)
