"""ICC profiles: only what colour management reads of them.

ICC.1:2022 (https://www.color.org/specification/ICC.1-2022-05.pdf; ISO 15076-1), and for the types of version 2
ICC.1:2001-04. A profile may hold tags of anybody's own, texts of any length and gaps; none of it changes a colour.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import zlib

from faceveil.transforms.codecs.icc_types import Parsed, parse_element, parse_text

_HEADER, _ENTRY, _ALIGNMENT = 128, 12, 4
_MAX_TAGS = 64
_LARGEST = 2**24  # bytes; profiles of printing presses take two million
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac", b"abst"}  # links and named colours are not for images (section 8.1)
_CHANNELS = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4, b"Lab ": 3, b"XYZ ": 3, b"YCbr": 3}
_PLATFORMS = {b"APPL", b"MSFT", b"SGI ", b"SUNW", b"TGNT", bytes(4)}
_D50 = bytes.fromhex("0000f6d6000100000000d32d")

_TEXTS = (b"desc", b"cprt", b"dmnd", b"dmdd", b"vued")
_LUTS = (b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"gamt", b"pre0", b"pre1", b"pre2")
_TAGS = {
    tag: types
    for tags, types in (
        (_TEXTS, (b"text", b"desc", b"mluc")),
        ((b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"lumi"), (b"XYZ ",)),
        ((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), (b"curv", b"para")),
        (_LUTS, (b"mft1", b"mft2", b"mAB ", b"mBA ")),
        ((b"tech", b"rig0", b"rig2", b"ciis"), (b"sig ",)),
        ((b"chad",), (b"sf32",)),
        *(((tag,), (tag,)) for tag in (b"chrm", b"view", b"meas", b"cicp")),
    )
    for tag in tags
}
"""The tags that are kept, with the types that they may have (section 9.2)."""

_OF_ONE_SPACE = {
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"), b"RGB "),
    b"kTRC": b"GRAY",
}

_CONSTANTS = {
    "283e482d9b10db98fb7df2f6ef4bdf4ddf8de5a07d2c7530cc361ec4b29ed39a",
    "49429d4dd70f439f6fa47a298e5ffbd280375d2cbd18708b1e05a34aafe5d219",
}
"""SHA-256 of two profiles that macOS came with, "Generic RGB Profile", which hold its name in thirty languages."""


@functools.lru_cache(maxsize=16)
def clean(profile: bytes) -> bytes:
    """The same profile with the tags that colour management reads, and nothing beside them.

    Colours are transformed as before. Texts are cut to one short line. A profile in which that changes nothing is
    returned as it is.

    Returns:
        The profile; empty where it is none, or none for images.
    """
    if hashlib.sha256(profile).hexdigest() in _CONSTANTS:
        return profile
    try:
        return _clean(profile)
    except (struct.error, ValueError, IndexError):
        return b""


def clean_png(content: bytes) -> bytes:
    """The content of a PNG's iCCP chunk with a clean profile, under the name it has if that is a short text.

    Returns:
        The content; empty where it holds no profile.
    """
    name, _, packed = content.partition(b"\0")
    profile, behind = _unpack(packed)
    cleaned = clean(profile)
    if not cleaned:
        return b""
    is_named = 0 < len(name) <= 79 and name.isascii() and name.decode().isprintable()
    again = zlib.compress(cleaned, 1)
    if is_named and cleaned == profile and not behind and len(packed) <= len(again) + len(again) // 4 + 64:
        return content
    return (name if is_named else b"ICC profile") + b"\0\0" + zlib.compress(cleaned)


def unpack_png(content: bytes) -> bytes:
    """The profile in a PNG's iCCP chunk as it is; empty where it holds none."""
    return _unpack(content.partition(b"\0")[2])[0]


def _unpack(packed: bytes) -> tuple[bytes, bytes]:
    """The profile behind an iCCP chunk's name, and the bytes behind it; empty where it is none, or too large."""
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed[1:], _LARGEST)
    except zlib.error:
        return b"", b""
    return (profile, unpacker.unused_data) if unpacker.eof and packed[0] == 0 else (b"", b"")


def _clean(profile: bytes) -> bytes:
    (size,) = struct.unpack_from(">I", profile)
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    if not _HEADER + 4 <= size <= min(len(profile), _LARGEST) or count > _MAX_TAGS:
        raise ValueError("no profile's size")
    header = _clean_header(profile[:_HEADER])
    space, pcs = header[16:20], header[20:24]
    tags: dict[bytes, bytes] = {}
    spans = {(0, _HEADER + 4 + _ENTRY * count)}
    as_it_was = header == profile[:_HEADER] and size == len(profile)
    for number in range(count):
        tag, offset, length = struct.unpack_from(">4sII", profile, _HEADER + 4 + _ENTRY * number)
        if offset < _HEADER or offset + length > size:
            raise ValueError("a tag beyond the end")
        element = profile[offset : offset + length]
        kept = _clean_element(tag, element, space, pcs) if tag not in tags else b""
        if kept:
            tags[tag] = kept
        spans.add((offset, offset + length))
        as_it_was = as_it_was and kept == element != b""
    if not _is_complete(tags, space):
        raise ValueError("no colours")
    if as_it_was and _has_no_gaps(profile, spans):
        return profile
    return _written(header, tags)


def _clean_header(header: bytes) -> bytes:
    """The header (section 7.2) with its reserved fields zero and its codes four printable characters or zero."""
    if header[36:40] != b"acsp" or header[8] not in (2, 4) or header[12:16] not in _CLASSES:
        raise ValueError("no profile for images")
    if header[16:20] not in _CHANNELS or header[20:24] not in (b"XYZ ", b"Lab "):
        raise ValueError("an unknown colour space")
    year, month, day, hour, minute, second = struct.unpack_from(">6H", header, 24)
    is_date = 1970 <= year < 2200 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60
    # Some of Adobe's profiles have their intent in the other byte order.
    intent = header[64:68] if header[64:68].strip(b"\0") in (b"", b"\1", b"\2", b"\3") else bytes(4)
    return b"".join(
        (
            header[:4],
            _code(header[4:8]),
            header[8:10] + b"\0\0",
            header[12:24],
            header[24:36] if is_date else bytes(12),
            b"acsp",
            header[40:44] if header[40:44] in _PLATFORMS else bytes(4),
            bytes((0, 0, 0, header[47] & 3)),
            _code(header[48:52]),
            _code(header[52:56]),
            bytes(7) + bytes((header[63] & 15,)),
            intent,
            _D50,
            _code(header[80:84]),
            header[84:100],
            bytes(28),
        )
    )


def _code(value: bytes) -> bytes:
    return value if value.rstrip(b"\0").isascii() and value.rstrip(b"\0").decode().isprintable() else bytes(4)


def _clean_element(tag: bytes, element: bytes, space: bytes, pcs: bytes) -> bytes:
    """A tag's element as it is to be written; empty if the tag goes."""
    kind = element[:4]
    if kind not in _TAGS.get(tag, ()) or _OF_ONE_SPACE.get(tag, space) != space:
        return b""
    if tag in _TEXTS:
        return parse_text(element)
    parsed = parse_element(element)
    if parsed is None or (tag in _LUTS and not _fits(tag, parsed, space, pcs)):
        return b""
    return parsed.element


def _fits(tag: bytes, parsed: Parsed, space: bytes, pcs: bytes) -> bool:
    """Whether a table leads from and to as many channels as its tag says."""
    device, connection = _CHANNELS[space], _CHANNELS[pcs]
    expected = {b"A2B": (device, connection), b"B2A": (connection, device), b"gam": (connection, 1)}
    return expected.get(tag[:3], (connection, connection)) == parsed.channels


def _is_complete(tags: dict[bytes, bytes], space: bytes) -> bool:
    needed = {tag for tag, only in _OF_ONE_SPACE.items() if only == space}
    return b"A2B0" in tags or (bool(needed) and needed <= tags.keys())


def _has_no_gaps(profile: bytes, spans: set[tuple[int, int]]) -> bool:
    """Whether elements lie one behind the other, with zeros to align them, and overlap only where they are the same."""
    position = 0
    for start, end in sorted(spans):
        if start < position or start - position >= _ALIGNMENT or any(profile[position:start]):
            return False
        position = end
    return len(profile) - position < _ALIGNMENT and not any(profile[position:])


def _written(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    places: dict[bytes, int] = {}
    table, body = struct.pack(">I", len(tags)), b""
    first = _HEADER + 4 + _ENTRY * len(tags)
    for tag, element in tags.items():
        if element not in places:
            places[element] = first + len(body)
            body += element + bytes(-len(element) % _ALIGNMENT)
        table += tag + struct.pack(">II", places[element], len(element))
    size = struct.pack(">I", first + len(body))
    return size + header[4:84] + bytes(16) + header[100:] + table + body  # its checksum is another now
