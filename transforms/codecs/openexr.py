"""OpenEXR (https://openexr.com/en/latest/OpenEXRFileLayout.html): what its header says, and whether all is there.

The library in tensorflow-io ends the process where a file is cut off, so the places of all pieces are looked at first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.quarantine import Quarantine, Reason

_TILED, _DEEP, _PARTS = 0x200, 0x800, 0x1000  # bits of the version
_LINES = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256)
"""Of a piece, by the compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB."""
_LONGEST = 255  # of a name
HALF, FLOAT = 1, 2
"""What values may be; 0 is whole numbers."""


@dataclass(frozen=True)
class ShownChannels:
    """What is needed of a file: its size in pixels, and the kind of values of each channel that is shown."""

    width: int
    height: int
    channels: dict[str, int]


def probe(data: bytes) -> ImageInfo:
    """What the header says; becomes RGB or grey of 8 bits."""
    found = shown_channels(data)
    mode = "RGB" if len(found.channels) == 3 else "L"
    return ImageInfo("png", found.width, found.height, 1, mode, hides_pixels=True, source="openexr")


def shown_channels(data: bytes) -> ShownChannels:
    """Reads the header, and looks for all pieces.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE, MULTIPLE_FRAMES, TRUNCATED or CORRUPT_IMAGE.
    """
    try:
        return _shown_channels(data)
    except (struct.error, IndexError):
        raise _truncated(data) from None


def _shown_channels(data: bytes) -> ShownChannels:
    (version,) = struct.unpack_from("<I", data, 4)
    if version & _PARTS:
        raise Quarantine(Reason.MULTIPLE_FRAMES, "openexr: several parts in one file")
    if version & _DEEP:
        raise _unsupported("of deep pixels")
    attributes, at = _attributes(data)
    try:
        window = struct.unpack("<4i", attributes["dataWindow"])
        compression = attributes["compression"][0]
        channels = _channels(attributes["channels"])
        lines = _LINES[compression]
    except (KeyError, IndexError, struct.error):
        raise Quarantine(Reason.CORRUPT_IMAGE, "openexr: the header lacks window, channels or compression") from None
    width, height = window[2] - window[0] + 1, window[3] - window[1] + 1
    if width < 1 or height < 1:
        raise Quarantine(Reason.CORRUPT_IMAGE, "openexr: its window is empty")
    pieces = -(-height // lines)
    if version & _TILED:
        across, down, levels = struct.unpack_from("<2IB", attributes.get("tiles", b""))
        if levels & 15 or not across or not down:
            raise _unsupported("with reduced copies (mipmaps)")
        pieces = -(-width // across) * -(-height // down)
    _check_pieces(data, at, pieces, 16 if version & _TILED else 4)
    return ShownChannels(width, height, channels)


def _attributes(data: bytes) -> tuple[dict[str, bytes], int]:
    """The header's attributes, and where it ends."""
    found: dict[str, bytes] = {}
    at = 8
    while data[at]:
        name, at = _name(data, at)
        _, at = _name(data, at)
        (length,) = struct.unpack_from("<I", data, at)
        at += 4 + length
        found[name] = data[at - length : at]
    return found, at + 1


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at, at + _LONGEST + 1)
    if end < 0:
        raise IndexError
    return data[at:end].decode("latin-1"), end + 1


def _channels(listed: bytes) -> dict[str, int]:
    """The channels that are shown: R, G and B, or Y alone; alpha, depth and all others are left out."""
    found: dict[str, tuple[int, int, int]] = {}
    at = 0
    while listed[at]:
        name, at = _name(listed, at)
        kind, across, down = struct.unpack_from("<i4x2i", listed, at)
        found[name] = kind, across, down
        at += 16
    names = next((names for names in ("RGB", "Y") if set(names) <= found.keys()), "")
    if not names or (names == "Y" and {"RY", "BY"} & found.keys()):
        raise _unsupported(f"with the channels {', '.join(sorted(found)) or 'none'}, not R, G, B or Y alone")
    shown = {name: found[name] for name in names}
    if any(kind not in (HALF, FLOAT) for kind, _, _ in shown.values()):
        raise _unsupported("of whole numbers")
    if any((across, down) != (1, 1) for _, across, down in shown.values()):
        raise _unsupported("of which channels have fewer pixels than others")
    return {name: kind for name, (kind, _, _) in shown.items()}


def _check_pieces(data: bytes, at: int, count: int, before_size: int) -> None:
    """Each piece has its place in a table behind the header: where it lies, then its size, then its bytes."""
    if at + 8 * count > len(data):
        raise _truncated(data)
    for place in struct.unpack_from(f"<{count}Q", data, at):
        if place + before_size + 4 > len(data):
            raise _truncated(data)
        (size,) = struct.unpack_from("<I", data, place + before_size)
        if not place or place + before_size + 4 + size > len(data):
            raise _truncated(data)


def _unsupported(kind: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, f"openexr {kind}, which is not read here")


def _truncated(data: bytes) -> Quarantine:
    return Quarantine(Reason.TRUNCATED, f"openexr: ends at byte {len(data)}, before its header or pixels do")
