"""The TFRecord format: records framed by their length and two masked CRC-32C checksums.

Layout of a record: uint64 length, uint32 checksum of the length, the bytes, uint32 checksum of the bytes, all
little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import google_crc32c

from faceveil.transforms.formats.container import CorruptRecordError

_HEADER = struct.Struct("<QI")
HEADER_BYTES = _HEADER.size
"""Of a record's length and the checksum of that."""
_GZIP_MAGIC = b"\x1f\x8b"
_MASK_DELTA = 0xA282EAD8
# Protobuf allows no larger message (2 GiB), https://protobuf.dev/programming-guides/proto-limits/.
_LONGEST_RECORD = 2**31
_PIECE = 2**20
_COMPRESSED_PIECE = 2**16
_GZIP_WBITS = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class OversizedRecord:
    """A record that was skipped, since it is larger than its reader wants.

    Attributes:
        offset: of its first byte in the file, uncompressed.
        length: of its bytes.
    """

    offset: int
    length: int


def masked_crc32c(data: bytes) -> int:
    """The checksum of the format: CRC-32C, rotated by 15 bits and shifted by a constant.

    Example usage::

        >>> hex(masked_crc32c(b""))
        '0xa282ead8'
    """
    return _mask(google_crc32c.value(data))


def _mask(crc: int) -> int:
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
    """The records of a TFRecord file, however long they are; see ``read_limited_records``."""
    for record in read_limited_records(file, _LONGEST_RECORD):
        assert isinstance(record, bytes)
        yield record


def begins_as_tfrecords(start: bytes) -> bool:
    """Whether a file that begins so holds TFRecords, plain or compressed: the first length has to match its checksum.

    Example usage::

        >>> begins_as_tfrecords(frame(b"a")), begins_as_tfrecords(gzip.compress(frame(b"a"))), begins_as_tfrecords(b"a")
        (True, True, False)
    """
    if is_header(start[:HEADER_BYTES]):
        return True
    if start.startswith(_GZIP_MAGIC):
        inflater = zlib.decompressobj(_GZIP_WBITS)
    elif _may_be_zlib(start):
        inflater = zlib.decompressobj()
    else:
        return False
    try:
        return is_header(inflater.decompress(start, HEADER_BYTES))
    except zlib.error:
        return False


def read_limited_records(file: BinaryIO, max_bytes: int) -> Iterator[bytes | OversizedRecord]:
    """The records of a TFRecord file, plain, gzip or zlib, told apart by the first bytes and not by the name.

    Args:
        file: open at its start.
        max_bytes: records that are longer are checked and skipped, without ever being held in memory.

    Raises:
        CorruptRecordError: a checksum is wrong or the file ends inside a record; says at which byte of the uncompressed
            file.
        OSError: the file cannot be read.
    """
    start = file.read(HEADER_BYTES)
    whole = cast("BinaryIO", _Prefixed(start, file))
    # A plain file may begin with gzip's magic number by chance, as the length of its first record; then the
    # checksum of that length holds.
    if not is_header(start):
        if start.startswith(_GZIP_MAGIC):
            whole = cast("BinaryIO", gzip.GzipFile(fileobj=whole))
        elif _may_be_zlib(start):
            whole = io.BufferedReader(_ZlibFile(whole), _COMPRESSED_PIECE)
    yield from _read_plain(whole, max_bytes)


def single_gzip(file: BinaryIO) -> BinaryIO:
    """What one stream of gzip holds, where readers would take several, one behind the other, and zeros for the same.

    Reading raises zlib.error where it is damaged or something stands behind it, EOFError where it is cut off.

    Example usage::

        >>> single_gzip(io.BytesIO(gzip.compress(b"a"))).read()
        b'a'
    """
    return io.BufferedReader(_ZlibFile(file, _GZIP_WBITS), _COMPRESSED_PIECE)


def read_plain_records(file: BinaryIO, max_bytes: int, start: int, stop: int) -> Iterator[bytes | OversizedRecord]:
    """The records of a part of a TFRecord file that is not compressed.

    Args:
        file: open, and able to seek.
        max_bytes: as for ``read_limited_records``.
        start: the first byte of a record.
        stop: the first byte of a later one, or the file's size.

    Raises:
        CorruptRecordError: as ``read_limited_records``, or a record goes on where another should begin.
        OSError: the file cannot be read.

    Example usage::

        >>> file = io.BytesIO(frame(b"a") + frame(b"bc") + frame(b"d"))
        >>> list(read_plain_records(file, 10, 17, 35))
        [b'bc']
    """
    file.seek(start)
    yield from _read_plain(file, max_bytes, start, stop)


def record_offsets(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each record of a TFRecord file that is not compressed starts, read from the lengths alone.

    Records are not looked for by their checksums, since a record may hold a TFRecord file itself.

    Args:
        file: open at its start, and able to seek.
        size: the file's, in bytes.

    Raises:
        CorruptRecordError: the length of the record that came last does not match its checksum, or leads beyond the
            file's end.
        OSError: the file cannot be read.

    Example usage::

        >>> list(record_offsets(io.BytesIO(frame(b"a") + frame(b"bc")), 35))
        [0, 17]
    """
    offset = 0
    while offset < size:
        yield offset
        header = file.read(HEADER_BYTES)
        after = offset + HEADER_BYTES + _length(header) + 4 if is_header(header) else size + 1
        if after > size:
            raise CorruptRecordError(f"the length at byte {offset} does not lead to another record")
        offset = after
        file.seek(offset)


def _length(header: bytes) -> int:
    length: int = _HEADER.unpack(header)[0]
    return length


def is_header(data: bytes) -> bool:
    """Whether bytes are what a record begins with: its length and the checksum of that, 12 bytes."""
    return len(data) == HEADER_BYTES and masked_crc32c(data[:8]) == _HEADER.unpack(data)[1]


def _may_be_zlib(start: bytes) -> bool:
    """Whether bytes begin as a zlib stream does (RFC 1950, section 2.2), as one in a thousand others does, too."""
    is_deflate = len(start) > 1 and start[0] & 0x0F == 8 and start[0] >> 4 <= 7
    return is_deflate and not start[1] & 0x20 and (start[0] << 8 | start[1]) % 31 == 0


class _ZlibFile(io.RawIOBase):
    """What a zlib stream holds, or with other bits for zlib's window, one of gzip.

    Reading raises zlib.error where it is damaged or something stands behind it, EOFError where it is cut off.
    """

    def __init__(self, file: BinaryIO, wbits: int = zlib.MAX_WBITS) -> None:
        super().__init__()
        self._file = file
        self._inflater = zlib.decompressobj(wbits)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._inflater.eof:
            compressed = self._inflater.unconsumed_tail or self._file.read(_COMPRESSED_PIECE)
            # Even where nothing more comes, some of what came may be left to be given out.
            data = self._inflater.decompress(compressed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not compressed and not self._inflater.eof:
                raise EOFError("it is cut off")
        if self._inflater.unused_data or self._file.read(1):
            raise zlib.error("there is something behind its end")
        return 0


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


def _read_plain(
    file: BinaryIO, max_bytes: int, offset: int = 0, stop: int | None = None
) -> Iterator[bytes | OversizedRecord]:
    while stop is None or offset < stop:
        header = _read_exactly(file, HEADER_BYTES, offset, may_end=stop is None)
        if not header:
            return
        length = _length(header)
        if not is_header(header) or length > _LONGEST_RECORD:
            raise CorruptRecordError(f"the length at byte {offset} does not match its checksum")
        if length > max_bytes:
            checksum = google_crc32c.Checksum()
            for start in range(0, length, _PIECE):
                checksum.update(_read_exactly(file, min(_PIECE, length - start), offset))
            actual = _mask(int.from_bytes(checksum.digest(), "big"))
            record: bytes | OversizedRecord = OversizedRecord(offset, length)
        else:
            record = _read_exactly(file, length, offset)
            actual = masked_crc32c(record)
        if actual != struct.unpack("<I", _read_exactly(file, 4, offset))[0]:
            raise CorruptRecordError(f"the record at byte {offset} does not match its checksum")
        yield record
        offset += HEADER_BYTES + length + 4
    if offset > stop:
        raise CorruptRecordError(f"the record before byte {stop} goes on behind it")


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
