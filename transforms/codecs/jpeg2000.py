"""JPEG 2000 (ITU-T T.800): codestreams and JP2 files; what their headers say, and whether all is there.

OpenJPEG decodes what is there of a codestream that is cut off. tensorflow-io reads only JP2 files, so `wrapped` makes
a new one of each codestream: what else a file holds, such as palettes, decides nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.quarantine import Quarantine, Reason

_CODESTREAM = b"\xff\x4f\xff\x51"
_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_SRGB, _GREY = 16, 17  # enumerated colour spaces (annex I.5.3.3)
_SOT, _EOC = 0xFF90, 0xFFD9  # markers (annex A)
_HIGH_THROUGHPUT = 0x4000  # a bit of what a decoder has to be able to do (ITU-T T.814)
_MODES = {(1, 8): "L", (1, 16): "I;16", (3, 8): "RGB", (3, 16): "RGB;16"}


@dataclass(frozen=True)
class Codestream:
    """Where the codestream lies, its size in pixels, channels and bits of each, and the colour profile, if any."""

    start: int
    end: int
    width: int
    height: int
    channels: int
    bits: int
    profile: bytes = b""


def probe(data: bytes) -> ImageInfo:
    """What the header says; grey or RGB, of 8 or 16 bits as it has."""
    found = find_codestream(data)
    mode = _MODES[found.channels, found.bits]
    return ImageInfo("png", found.width, found.height, 1, mode, hides_pixels=True, source="jpeg2000")


def find_codestream(data: bytes) -> Codestream:
    """Reads the headers, and looks for the end.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE, MULTIPLE_FRAMES, TRUNCATED or CORRUPT_IMAGE.
    """
    try:
        if data.startswith(_CODESTREAM):
            return _codestream(data, 0, len(data), b"")
        return _file(data)
    except (struct.error, IndexError):
        raise _truncated(data) from None


def wrapped(data: bytes, found: Codestream) -> bytes:
    """The codestream in a JP2 file of its own (annex I): a header that says what it says itself."""
    sizes = struct.pack(">2IH4B", found.height, found.width, found.channels, found.bits - 1, 7, 0, 0)
    colours = struct.pack(">3BI", 1, 0, 0, _SRGB if found.channels == 3 else _GREY)
    boxes = (
        (b"ftyp", b"jp2 \0\0\0\0jp2 "),
        (b"jp2h", _box(b"ihdr", sizes) + _box(b"colr", colours)),
        (b"jp2c", data[found.start : found.end]),
    )
    return _SIGNATURE + b"".join(_box(*box) for box in boxes)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _file(data: bytes) -> Codestream:
    codestreams, headers = [], []
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"jp2c":
            codestreams.append((start, end))
        elif name == b"jp2h":
            headers = list(_boxes(data, start, end))
    if len(codestreams) > 1:
        raise Quarantine(Reason.MULTIPLE_FRAMES, f"jpeg2000: {len(codestreams)} pictures in one file")
    if not codestreams:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg2000: it has no codestream")
    profile = b""
    for name, start, end in headers:
        if name == b"pclr":
            raise _unsupported("with a palette")
        if name == b"cdef" and not _is_usual(data[start:end]):
            raise _unsupported("whose channels have meanings of their own, such as alpha")
        if name == b"colr" and data[start] == 2:
            profile = data[start + 3 : end]
        elif name == b"colr" and struct.unpack_from(">B2xI", data, start) not in ((1, _SRGB), (1, _GREY)):
            raise _unsupported("of another colour space than sRGB, grey or a profile's")
    return _codestream(data, *codestreams[0], profile)


def _is_usual(definition: bytes) -> bool:
    """Whether a channel definition says what holds without one: the first channel is the first colour, and so on."""
    usual = b"".join(struct.pack(">3H", number, 0, number + 1) for number in range(len(definition) // 6))
    return definition[2:] == usual


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of what each box holds."""
    while at + 8 <= stop:
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = at + length if length else stop
        if end > stop or end < start:
            raise _truncated(data)
        yield name, start, end
        at = end


def _codestream(data: bytes, start: int, end: int, profile: bytes) -> Codestream:
    if data[start : start + 4] != _CODESTREAM:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg2000: its codestream does not begin as one")
    capabilities, *grid, channels = struct.unpack_from(">H8IH", data, start + 6)
    width, height, left, top = grid[:4]
    components = [struct.unpack_from(">3B", data, start + 42 + 3 * number) for number in range(channels)]
    if capabilities & _HIGH_THROUGHPUT:
        raise _unsupported("of high throughput (HTJ2K)")
    if left or top or any((across, down) != (1, 1) for _, across, down in components):
        raise _unsupported("of which channels have fewer pixels than others, or an offset")
    depths = {depth for depth, _, _ in components}
    bits = min(depths, default=0) + 1
    if len(depths) != 1 or (channels, bits) not in _MODES:
        told = ", ".join(str((depth & 0x7F) + 1) for depth, _, _ in components)
        raise _unsupported(f"with channels of {told} bits; 1 or 3 of 8 or 16 bits are")
    if not width or not height:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg2000: it has no pixels")
    return Codestream(start, _end(data, start + 2, end), width, height, channels, bits, profile)


def _end(data: bytes, at: int, stop: int) -> int:
    """Follows the markers and the tiles' parts to the end marker; what is behind it does not count."""
    while at + 2 <= stop:
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _EOC:
            return at + 2
        if marker != _SOT:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
            continue
        (part,) = struct.unpack_from(">I", data, at + 6)
        at = at + part if part else stop - 2
        if 0 < part < 14:
            raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg2000: a tile is shorter than its header")
    raise _truncated(data)


def _unsupported(kind: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, f"jpeg2000 {kind}, which is not read here")


def _truncated(data: bytes) -> Quarantine:
    return Quarantine(Reason.TRUNCATED, f"jpeg2000: ends at byte {len(data)}, before its pixels do")
