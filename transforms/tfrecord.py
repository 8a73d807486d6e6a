"""The TFRecord format: records framed by their length and two masked CRC-32C checksums.

Layout of a record: uint64 length, uint32 checksum of the length, the bytes, uint32 checksum of the bytes, all
little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import google_crc32c

_HEADER = struct.Struct("<QI")
_GZIP_MAGIC = b"\x1f\x8b"
_MASK_DELTA = 0xA282EAD8
# A length whose checksum holds is trusted, but a single record is never larger than protobuf allows (2 GiB).
_LONGEST_RECORD = 2**31


class CorruptRecordError(Exception):
    """The file is damaged or cut off; nothing after this place can be found."""


def masked_crc32c(data: bytes) -> int:
    """The checksum of the format: CRC-32C, rotated by 15 bits and shifted by a constant.

    Example usage::

        >>> hex(masked_crc32c(b""))
        '0xa282ead8'
    """
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """One record as it stands in a file.

    Example usage::

        >>> import io
        >>> list(read_records(io.BytesIO(frame(b"a") + frame(b"bc"))))
        [b'a', b'bc']
    """
    length = struct.pack("<Q", len(record))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc32c(length)),
            record,
            struct.pack("<I", masked_crc32c(record)),
        )
    )


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a TFRecord file, plain or gzip, told apart by the first bytes and not by the name.

    Args:
        file: open at its start.

    Raises:
        CorruptRecordError: a checksum is wrong or the file ends inside a record; says at which byte.
        OSError: the file cannot be read.
    """
    start = file.read(_HEADER.size)
    whole = cast("BinaryIO", _Prefixed(start, file))
    # A plain file may begin with gzip's magic number by chance, as the length of its first record; then the
    # checksum of that length holds.
    if start.startswith(_GZIP_MAGIC) and not _is_header(start):
        whole = cast("BinaryIO", gzip.GzipFile(fileobj=whole))
    yield from _read_plain(whole)


def _is_header(data: bytes) -> bool:
    return len(data) == _HEADER.size and masked_crc32c(data[:8]) == _HEADER.unpack(data)[1]


class _Prefixed:
    """A stream whose first bytes were read already; object stores need not be able to seek back."""

    def __init__(self, prefix: bytes, file: BinaryIO) -> None:
        self._prefix = prefix
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not self._prefix:
            return self._file.read(size)
        if size < 0:
            prefix, self._prefix = self._prefix, b""
            return prefix + self._file.read()
        prefix, self._prefix = self._prefix[:size], self._prefix[size:]
        return prefix + self._file.read(size - len(prefix))


def _read_plain(file: BinaryIO) -> Iterator[bytes]:
    offset = 0
    while True:
        header = _read_exactly(file, _HEADER.size, offset, may_end=True)
        if not header:
            return
        length, _ = _HEADER.unpack(header)
        if not _is_header(header) or length > _LONGEST_RECORD:
            raise CorruptRecordError(f"the length at byte {offset} does not match its checksum")
        body = _read_exactly(file, length + 4, offset)
        if masked_crc32c(body[:length]) != struct.unpack("<I", body[length:])[0]:
            raise CorruptRecordError(f"the record at byte {offset} does not match its checksum")
        yield body[:length]
        offset += _HEADER.size + length + 4


def _read_exactly(file: BinaryIO, size: int, offset: int, may_end: bool = False) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        try:
            part = file.read(missing)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorruptRecordError(f"the compressed data after byte {offset} is damaged: {error}") from error
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    if missing and not (may_end and missing == size):
        raise CorruptRecordError(f"the file ends inside the record at byte {offset}")
    return b"".join(parts)
