"""What a Parquet file holds beside the values of its columns: bytes that no reader of the table ever sees.

Such files are read from their footer on, so whatever lies between the pieces that it names is passed over, and so is
what it says of itself beside columns and places. It is parsed here and not by Arrow, whose C++ ends the process at
some that are damaged. The layout of files (https://parquet.apache.org/docs/file-format/), fields of structures
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift), and Thrift's compact encoding
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

_MAGIC_BYTES, _END_BYTES = 4, 8
_PIECE = 2**20
_MAX_HEADER, _DEEPEST = 2**16, 16
_OF_ARROW = b"ARROW:schema"
_WRITER = re.compile(rb"parquet-cpp-arrow version [\w.+-]{1,40}")

# Fields of structures by their numbers, and those that a job writes: all of them numbers, or names of columns.
_GROUPS, _METADATA, _CREATED_BY, _OF_FILE = 4, 5, 6, {1, 2, 3, 4, 5, 6, 7}
_CHUNKS, _OF_GROUP = 1, {1, 2, 3, 5, 6, 7}
_COLUMN, _OF_CHUNK = 3, {2, 3}
_PATH, _VALUES, _LENGTH, _DATA, _DICTIONARY, _STATISTICS = 3, 5, 7, 9, 11, 12
_OF_COLUMN = {1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16}
_KEY, _VALUE = 1, 2
_PAGE_TYPE, _PAGE_LENGTH, _COUNT, _IS_DICTIONARY = 1, 3, 1, 2
_COUNTS = {0: 5, 2: 7, 3: 8}
"""By the types of pages that hold values, the field of their headers that counts these: data, dictionaries, data."""

_Fields = dict[int, Any]


class Chunk(NamedTuple):
    """A piece of a column, of one row group.

    Attributes:
        start: its first byte in the file.
        length: bytes.
        values: how many it holds.
        column: the path of its column.
    """

    start: int
    length: int
    values: int
    column: str


def hidden_in_footer(footer: bytes, metadata: Mapping[bytes, bytes]) -> Iterator[str]:
    """What a footer says that a job would not write.

    Args:
        footer: what stands before its length and the magic number.
        metadata: of the schema that the job wrote.
    """
    try:
        told, rest = _parsed(footer)
        pairs = sorted((pair[_KEY], pair[_VALUE]) for pair in told.get(_METADATA, ()) if pair[_KEY] != _OF_ARROW)
        chunks = [chunk for group in told[_GROUPS] for chunk in group[_CHUNKS]]
        columns = [chunk[_COLUMN] for chunk in chunks]
        more = [set(told) - _OF_FILE, *(set(group) - _OF_GROUP for group in told[_GROUPS])]
        more += [*(set(chunk) - _OF_CHUNK for chunk in chunks), *(set(column) - _OF_COLUMN for column in columns)]
        by_other = not _WRITER.fullmatch(told[_CREATED_BY])
        names = sorted({_name(column) for column in columns if _STATISTICS in column})
    except _UNREADABLE:
        yield "its footer says what cannot be read"
        return
    if rest or by_other or pairs != sorted(metadata.items()):
        yield "its footer says more, or something else, than a job does"
    if any(_DICTIONARY in column for column in columns):
        yield "its columns have dictionaries, which may hold values of no row"
    if names:
        yield f"its footer holds values once more, as the smallest and largest of columns {', '.join(names)}"
    elif any(more):
        yield "its footer tells of more than columns and row groups"


def hidden_in_pages(file: BinaryIO, size: int, footer: bytes) -> Iterator[str]:
    """What lies between the pages of a file, or in their headers, that is no value.

    Args:
        file: open at its start; it is only ever read forwards, up to the footer.
        size: of the file in bytes.
        footer: as for ``hidden_in_footer``.

    Raises:
        OSError: it cannot be read.
    """
    try:
        told, _ = _parsed(footer)
        chunks = sorted(_chunk(chunk[_COLUMN]) for group in told[_GROUPS] for chunk in group[_CHUNKS])
    except _UNREADABLE:
        return  # which is told of the footer
    pages = _Reader(file)
    pages.skip(_MAGIC_BYTES)
    for chunk in chunks:
        if chunk.start != pages.place:
            yield f"bytes from {pages.place} to {chunk.start} belong to no column"
            pages.skip(chunk.start - pages.place)
        if chunk.start == pages.place and (why := _why_more(pages, chunk)):
            yield f"column {chunk.column}, from byte {chunk.start}: {why}"
            pages.skip(chunk.start + chunk.length - pages.place)
        if pages.place != chunk.start + chunk.length:
            return
    if pages.place + len(footer) + _END_BYTES != size:
        yield f"bytes from {pages.place} on belong neither to a column nor to the footer"


def _parsed(footer: bytes) -> tuple[_Fields, bytes]:
    """The fields of a footer, and what is behind them."""
    file = io.BytesIO(footer)
    return _Reader(file).fields(len(footer)), file.read()


def _chunk(column: _Fields) -> Chunk:
    start = column[_DICTIONARY if _DICTIONARY in column else _DATA]
    chunk = Chunk(start, column[_LENGTH], column[_VALUES], _name(column))
    if min(chunk.start, chunk.length, chunk.values) < 0:
        raise ValueError("a number below 0")
    return chunk


def _name(column: _Fields) -> str:
    return b".".join(column[_PATH]).decode("utf-8", "backslashreplace")


def _why_more(pages: _Reader, chunk: Chunk) -> str:
    """Goes through the pages of a piece of a column; why it holds more than its values, if it does."""
    stop, values = chunk.start + chunk.length, chunk.values
    while pages.place < stop:
        try:
            header = pages.fields(_MAX_HEADER)
            page, length = header[_PAGE_TYPE], header[_PAGE_LENGTH]
            values -= header[_COUNTS[page]][_COUNT] if page != _IS_DICTIONARY else 0
            if _holds_bytes(header) or not 0 <= length <= stop - pages.place:
                return "a page's header says more than how many values there are, and of how many bytes"
        except _UNREADABLE:
            return "a page's header says what cannot be read"
        pages.skip(length)
    return "there are other pages than those of its values" if values else ""


def _holds_bytes(told: Any) -> bool:
    if isinstance(told, dict):
        return any(map(_holds_bytes, told.values()))
    return isinstance(told, (bytes, list))


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What comes of a structure that is damaged, or is not the one that it should be."""


class _Reader:
    """Reads structures in Thrift's compact encoding, and what lies between them.

    Attributes:
        place: in the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.place = 0
        self._file = file
        self._limit = 0

    def skip(self, size: int) -> None:
        """Passes over bytes."""
        while size > 0 and (data := self._read(min(size, _PIECE))):
            size -= len(data)

    def fields(self, limit: int) -> _Fields:
        """A structure by the numbers of its fields: numbers, truth values, bytes, lists and structures.

        Raises:
            ValueError: there is none of at most so many bytes.
        """
        self._limit = self.place + limit
        return self._fields(0)

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.place += len(data)
        return data

    def _exactly(self, size: int) -> bytes:
        if self.place + size > self._limit or len(data := self._read(size)) < size:
            raise ValueError("it is longer than its place")
        return data

    def _unsigned(self) -> int:
        value = shift = 0
        while shift < 70:
            [byte] = self._exactly(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _fields(self, depth: int) -> _Fields:
        fields: _Fields = {}
        number = 0
        while head := self._exactly(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 0xF
            if number in fields or depth > _DEEPEST:
                raise ValueError("a field twice, or too deep")
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):  # truth values in lists, and bytes
            return self._exactly(1)[0]
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 8:
            return self._exactly(self._unsigned())
        if kind in (9, 10):
            [head] = self._exactly(1)
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            if count > self._limit - self.place:
                raise ValueError("a list that is longer than its place")
            return [self._value(head & 0xF, depth + 1) for _ in range(count)]
        if kind == 12:
            return self._fields(depth + 1)
        raise ValueError("of another kind than Parquet has")
