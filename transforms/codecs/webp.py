"""WebP's chunks (WebP container, RFC 9649, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from faceveil.transforms.codecs import icc
from faceveil.transforms.quarantine import Quarantine, Reason

_ICC_FLAG, _EXIF_FLAG, _XMP_FLAG = 0x20, 0x08, 0x04  # bits of VP8X's first byte
_KEPT = {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"}


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


def strip(data: bytes, exif: bytes) -> bytes:
    """The same WebP with its picture, alpha and ICC profile, and with this EXIF, if any.

    A file that has EXIF has the header chunk that must announce it, so there is somewhere to put it.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its chunks cannot be followed to the end.
    """
    kept: dict[bytes, bytes] = {}
    for name, content in chunks(data):
        if name in _KEPT:
            kept.setdefault(name, content)  # decoders use the first of each
    if not kept.keys() & {b"VP8 ", b"VP8L"}:
        raise Quarantine(Reason.CORRUPT_IMAGE, "webp: ends without a picture")
    profile = icc.clean(kept.pop(b"ICCP", b""))
    if extended := kept.pop(b"VP8X", None):
        kept = {b"VP8X": extended, **({b"ICCP": profile} if profile else {}), **kept}
        flags = extended[0] & ~(_EXIF_FLAG | _XMP_FLAG | (0 if profile else _ICC_FLAG))
        if exif:
            flags |= _EXIF_FLAG
            kept[b"EXIF"] = exif
        kept[b"VP8X"] = bytes((flags,)) + extended[1:]
    return join(list(kept.items()))
