"""What a Parquet file holds beside the values of its columns: bytes that no reader of the table ever sees.

Such files are read from their footer on, so whatever lies between the pieces that it names is passed over, and so is
what it says of itself beside columns and places. The layout of files, and of the headers of pages, in Thrift's compact
encoding: https://parquet.apache.org/docs/file-format/ and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

_MAGIC_BYTES, _END_BYTES = 4, 8
_PIECE = 2**20
_OF_ARROW = b"ARROW:schema"
_STOP, _TRUE, _FALSE, _INT32, _STRUCT = 0, 1, 2, 5, 12
_PAGE_TYPE, _COMPRESSED_SIZE = 1, 3
_OF_VALUES = {0: 5, 2: 7, 3: 8}
"""By the types of pages that hold values, the field of their headers that counts these: data, dictionaries, data."""
_COUNT = 1
_MAX_HEADER = 2**16

_Fields = dict[int, Any]


def hidden_in_footer(footer: Any, expected: Any) -> Iterator[str]:
    """What a footer says that a job would not write.

    Args:
        footer: pyarrow's FileMetaData.
        expected: the schema that the job wrote.
    """
    told = set(footer.metadata or {}) - {_OF_ARROW} - set(expected.metadata or {})
    if told:
        yield f"its footer tells more than a job does: {', '.join(sorted(map(repr, told)))[:200]}"
    elif footer.schema.to_arrow_schema().metadata != expected.metadata:
        yield "its footer tells something else of its columns than a job does"
    chunks = [
        footer.row_group(group).column(n) for group in range(footer.num_row_groups) for n in range(footer.num_columns)
    ]
    if names := sorted({chunk.path_in_schema for chunk in chunks if chunk.is_stats_set}):
        yield f"its footer holds values once more, as the smallest and largest of columns {', '.join(names)}"
    if any(chunk.file_path or chunk.metadata for chunk in chunks):
        yield "its footer names other files, or tells more of single pieces of columns than a job does"


def hidden_in_pages(file: BinaryIO, size: int, footer: Any) -> Iterator[str]:
    """What lies between the pages of a file, or in their headers, that is no value.

    Args:
        file: open at its start; it is only ever read forwards, up to the footer.
        size: of the file in bytes.
        footer: as for ``hidden_in_footer``.

    Raises:
        OSError: it cannot be read.
    """
    pages = _Pages(file)
    pages.skip(_MAGIC_BYTES)
    chunks = [
        footer.row_group(group).column(n) for group in range(footer.num_row_groups) for n in range(footer.num_columns)
    ]
    pieces = [(_start(chunk), chunk.total_compressed_size, chunk.num_values, chunk.path_in_schema) for chunk in chunks]
    for start, length, values, name in sorted(pieces):
        if start != pages.place:
            yield f"bytes from {pages.place} to {start} belong to no column"
            if start < pages.place:
                return
            pages.skip(start - pages.place)
        if why := pages.follow(start + length, values):
            yield f"column {name}, from byte {start}: {why}"
            pages.skip(start + length - pages.place)
        if pages.place != start + length:
            return
    if pages.place + footer.serialized_size + _END_BYTES != size:
        yield f"bytes from {pages.place} on belong neither to a column nor to the footer"


def _chunks(footer: Any) -> Iterator[Any]:
    """The pieces of columns, one for each row group (pyarrow's ColumnChunkMetaData)."""
    for group in range(footer.num_row_groups):
        yield from (footer.row_group(group).column(number) for number in range(footer.num_columns))


def _start(chunk: Any) -> int:
    return int(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)


class _Pages:
    """The pages of a file, one behind the other.

    Attributes:
        place: in the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.place = 0
        self._file = file

    def skip(self, size: int) -> None:
        while size > 0 and (data := self._read(min(size, _PIECE))):
            size -= len(data)

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.place += len(data)
        return data

    def follow(self, stop: int, values: int) -> str:
        """Goes through the pages of a piece of a column; why it holds more than its values, if it does."""
        while self.place < stop:
            try:
                header = self._header(self.place + _MAX_HEADER)
                count = header[_OF_VALUES[header[_PAGE_TYPE]]][_COUNT]
            except (ValueError, LookupError, TypeError):
                return "a page's header says more than how many values there are, and of how many bytes"
            values -= count if header[_PAGE_TYPE] != 2 else 0
            if not 0 <= header[_COMPRESSED_SIZE] <= stop - self.place:
                return "a page is longer than its column"
            self.skip(header[_COMPRESSED_SIZE])
        return "there are other pages than those of its values" if values else ""

    def _header(self, limit: int) -> _Fields:
        """The next fields of a structure, numbers and structures of numbers.

        Raises:
            ValueError: it has others, or ends nowhere.
        """
        fields: _Fields = {}
        number = 0
        while self.place < limit:
            [head] = self._read(1)
            kind = head & 0xF
            if kind == _STOP:
                return fields
            number = number + (head >> 4) if head >> 4 else self._integer(limit)
            if kind in (_TRUE, _FALSE):
                fields[number] = kind == _TRUE
            elif kind == _INT32:
                fields[number] = self._integer(limit)
            elif kind == _STRUCT:
                fields[number] = self._header(limit)
            else:
                raise ValueError("no number")
        raise ValueError("too long")

    def _integer(self, limit: int) -> int:
        value = shift = 0
        while self.place < limit and shift < 35:
            [byte] = self._read(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value >> 1 ^ -(value & 1)
            shift += 7
        raise ValueError("too long")
