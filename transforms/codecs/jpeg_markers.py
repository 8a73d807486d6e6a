"""JPEG's segments (ITU-T T.81, annex B): following them through a file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from faceveil.transforms.quarantine import Quarantine, Reason

SOI, EOI, SOS, COM, APP0, APP1, APP2, APP14, APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
"""Markers by their second byte (T.81, table B.1)."""

FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAME, _FIRST_ARITHMETIC_FRAME = 0xC2, 0xC9
_MAX_COMPONENTS = 4  # that a scan may code together, and that any picture has
TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # DHT, DAC, DQT, DNL, DRI
# What may stand between a scan's header and the next marker: coded data (FF 00 is a coded FF), restart markers, and
# any number of FF as fill.
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)

ADOBE, ADOBE_LENGTH = b"Adobe", 12
"""What the content of Adobe's APP14 segment begins with, and its bytes."""


JFIF, JFIF_LENGTH = b"JFIF\0", 14
"""The same of JFIF's APP0 segment (https://www.w3.org/Graphics/JPEG/jfif3.pdf)."""

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
"""What the contents of the APP1 segments of EXIF and XMP begin with."""

_READABLE = ((APP0, JFIF, JFIF_LENGTH), (APP1, EXIF, 0), (APP1, XMP, 0), (APP14, ADOBE, ADOBE_LENGTH))


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


def with_end(data: bytes) -> bytes:
    """The JPEG, with an end marker if it ends without one behind a scan, which may or may not be whole.

    Raises:
        Quarantine: as `segments`, for whatever else it lacks.
    """
    position, last = 0, SOI
    try:
        for marker, start, _ in segments(data):
            position, last = start, marker
    except Quarantine:
        if last != SOS or _NEXT_MARKER.search(data, position + 2):
            raise
        # A byte of it may be there, or zeros in its place; a zero behind FF belongs to that.
        coded = data.rstrip(b"\xff") if data.endswith(b"\xff") else data.rstrip(b"\0")
        return coded + (b"\0" if coded.endswith(b"\xff") else b"") + b"\xff\xd9"
    return data


def without_metadata(data: bytes) -> bytes:
    """The same JPEG less what Pillow cannot read of its metadata: it refuses pictures for segments that are cut off.

    EXIF and XMP stay, and so do JFIF's and Adobe's segments if they are whole.

    Raises:
        Quarantine: as `segments`.
    """
    kept = [data[:2]]
    for marker, start, end in segments(data):
        content = data[start + 4 : end]
        if marker == SOS:
            return b"".join((*kept, data[start:]))
        if not (marker == COM or APP0 <= marker <= APP15) or any(
            marker == kind and content.startswith(beginning) and len(content) >= length
            for kind, beginning, length in _READABLE
        ):
            kept.append(data[start:end])
    return b"".join(kept)


def has_adobe_segment(data: bytes) -> bool:
    """Whether a JPEG says that it follows Adobe, who store CMYK inverted; where it does not, readers differ."""
    for marker, start, end in segments(data):
        if marker == SOS:  # behind it no reader looks for one
            return False
        if marker == APP14 and data[start + 4 : end].startswith(ADOBE) and end - start - 4 >= ADOBE_LENGTH:
            return True
    return False


def check_length(data: bytes, width: int, height: int) -> None:
    """Refuses a JPEG that is too short for its size, before memory is taken for its pixels.

    Huffman's codes take a bit at least (T.81, annex C). A block of 8 x 8 takes two of them, for its DC coefficient and
    for its end, or, where a progressive JPEG sends nothing but DC, one. Arithmetic coding may take less.

    Raises:
        Quarantine: TRUNCATED.
    """
    if 8 * len(data) >= _MAX_COMPONENTS * 2 * (width // 8) * (height // 8):  # nearly all end here
        return
    for marker, start, end in segments(data):
        if marker in FRAMES:
            factors = [(sampling >> 4 or 1, sampling & 15 or 1) for sampling in data[start + 11 : end : 3]]
            across, down = max(a for a, _ in factors), max(d for _, d in factors)
            blocks = sum((width * a // (8 * across)) * (height * d // (8 * down)) for a, d in factors)
            bits = 1 if marker == _PROGRESSIVE_FRAME else 2
            if marker < _FIRST_ARITHMETIC_FRAME and 8 * len(data) < bits * blocks:
                raise Quarantine(Reason.TRUNCATED, f"jpeg: {len(data)} bytes cannot hold {width} x {height} px")
            return


def segment(marker: int, content: bytes) -> bytes:
    """One segment with its length."""
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
