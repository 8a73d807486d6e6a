"""JPEG's segments (ITU-T T.81, annex B): following them through a file, and leaving metadata out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from faceveil.transforms.quarantine import Quarantine, Reason

SOI, EOI, SOS, COM, APP0, APP1, APP2, APP14, APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
"""Markers by their second byte (T.81, table B.1)."""

FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_FIRST_ARITHMETIC_FRAME = 0xC9
TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # DHT, DAC, DQT, DNL, DRI
# What may stand between a scan's header and the next marker: coded data (FF 00 is a coded FF), restart markers, and
# any number of FF as fill.
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JFIF_LENGTH, _ADOBE_LENGTH = 14, 12


def strip(data: bytes, exif: bytes, *, tables_only: bool = False) -> bytes:
    """The same JPEG up to its end marker, with no metadata but JFIF's density, ICC profile, Adobe's colour transform.

    Args:
        data: the JPEG.
        exif: EXIF to write, a TIFF header first; none if empty.
        tables_only: whether these are the tables of a TIFF's JPEG strips, which hold no picture.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its segments cannot be followed to the end marker.
    """
    jfif = b""  # it comes first, then EXIF
    kept, seen = [], set()
    for marker, start, end in segments(data):
        content = data[start + 4 : end]
        seen.add(marker)
        if marker == APP0 and content.startswith(b"JFIF\0") and len(content) >= _JFIF_LENGTH:
            jfif = _segment(APP0, content[: _JFIF_LENGTH - 2] + b"\0\0")  # no thumbnail: 0 x 0 pixels
        elif marker == APP2 and content.startswith(b"ICC_PROFILE\0"):
            kept.append(data[start:end])
        elif marker == APP14 and content.startswith(b"Adobe") and len(content) >= _ADOBE_LENGTH:
            kept.append(_segment(APP14, content[:_ADOBE_LENGTH]))
        elif marker in FRAMES or marker in TABLES or marker in (SOS, EOI):
            kept.append(data[start:end])
    if not tables_only and (not seen & FRAMES or SOS not in seen):
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg: ends without a picture")
    return data[:2] + jfif + (_segment(APP1, b"Exif\0\0" + exif) if exif else b"") + b"".join(kept)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end in bytes of every segment up to EOI; a scan's coded data belong to its SOS.

    What stands between segments is skipped, as libjpeg does.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when they cannot be followed to the end marker.
    """
    position, marker = 2, SOI
    while marker != EOI:
        found = _NEXT_MARKER.search(data, position)
        if found is None:
            raise Quarantine(Reason.TRUNCATED, f"jpeg: ends at byte {len(data)}, before its end marker")
        start, marker = found.start(), found[1][0]
        end = start + 2
        if marker != EOI:
            length = int.from_bytes(data[end : end + 2], "big")
            known = marker in FRAMES or marker in TABLES or marker in (SOS, COM) or APP0 <= marker <= APP15
            if length < 2 or not known:
                raise Quarantine(Reason.CORRUPT_IMAGE, f"jpeg: no proper segment at byte {start}")
            end += length
            if end > len(data):
                raise Quarantine(Reason.TRUNCATED, f"jpeg: ends at byte {len(data)}, within a segment")
        if marker == SOS:
            following = _NEXT_MARKER.search(data, end)
            end = following.start() if following else end
        yield marker, start, end
        position = end


def has_adobe_segment(data: bytes) -> bool:
    """Whether a JPEG says that it follows Adobe, who store CMYK inverted; where it does not, readers differ."""
    return any(
        marker == APP14 and data[start + 4 : end].startswith(b"Adobe") and end - start - 4 >= _ADOBE_LENGTH
        for marker, start, end in segments(data)
    )


def check_length(data: bytes, width: int, height: int) -> None:
    """Refuses a JPEG that is too short for its size, before memory is taken for its pixels.

    Each block of 8 x 8 takes a bit at least, since Huffman's codes do (T.81, annex C). Arithmetic coding may take less.

    Raises:
        Quarantine: TRUNCATED.
    """
    if 8 * len(data) < (width // 8) * (height // 8):
        frame = next((marker for marker, *_ in segments(data) if marker in FRAMES), 0)
        if frame < _FIRST_ARITHMETIC_FRAME:
            raise Quarantine(Reason.TRUNCATED, f"jpeg: {len(data)} bytes cannot hold {width} x {height} px")


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
