"""WebP's chunks (WebP container, RFC 9649, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from transforms.quarantine import Quarantine, Reason

EXIF_FLAG, XMP_FLAG = 0x08, 0x04
"""Bits of VP8X's first byte."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file of the form WEBP: name and content.

    Raises:
        Quarantine: TRUNCATED when the data end before the file's stated size, CORRUPT_IMAGE when a chunk
            reaches beyond it.
    """
    if len(data) < 12:
        raise Quarantine(Reason.TRUNCATED, "webp: ends within its header")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Quarantine(Reason.TRUNCATED, f"webp: {len(data)} of {end} bytes")
    position = 12
    while position + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > end:
            raise Quarantine(Reason.CORRUPT_IMAGE, f"webp: the chunk at byte {position} is longer than the file")
        yield name, data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


def join(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in parts
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
