"""BMP's headers (https://learn.microsoft.com/windows/win32/gdi/bitmap-storage), stripping and writing."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs import icc
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
"""Of the second header, which tells its version."""

_FILE_HEADER, _CORE, _OS2, _INFO, _V4, _V5 = 14, 12, 64, 40, 108, 124
_RLE8, _RLE4, _BITFIELDS, _ALPHABITFIELDS = 1, 2, 3, 6
_EMBEDDED, _LINKED, _SRGB = b"DEBM", b"KNIL", b"BGRs"  # a linked profile is a path on someone's disk


class _Parts(NamedTuple):
    """The second header, masks and palette behind it, the pixels as stored, the embedded ICC profile."""

    header: bytes
    palette: bytes
    pixels: bytes
    profile: bytes


def strip(data: bytes, exif: bytes) -> bytes:  # noqa: ARG001  BMP has no place for EXIF
    """The same BMP without what lies between its headers and its pixels, and behind them; ICC profiles stay.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its parts do not lie in the file.
    """
    return _join(_split(data))


def _split(data: bytes) -> _Parts:
    try:
        pixels_at, size = struct.unpack_from("<II", data, 10)
        header = data[_FILE_HEADER : _FILE_HEADER + size]
        if size == _CORE:
            width, height, _, bits = struct.unpack_from("<HHHH", header, 4)
            compression = image_bytes = colours = 0
        else:
            width, height, _, bits = struct.unpack_from("<iiHH", header, 4)
            compression, image_bytes = struct.unpack_from("<II", header.ljust(_INFO, b"\0"), 16)
            (colours,) = struct.unpack_from("<I", header.ljust(_INFO, b"\0"), 32)
    except struct.error as error:
        raise Quarantine(Reason.TRUNCATED, "bmp: ends within its headers") from error
    masks = {_BITFIELDS: 12, _ALPHABITFIELDS: 16}.get(compression, 0) if size == _INFO else 0
    entries = min(colours or 2**bits, 256) if bits <= 8 else colours
    palette_bytes = masks + entries * (3 if size == _CORE else 4)
    # The file's own word on where pixels begin is what readers go by, even where it cuts the palette short.
    palette = data[_FILE_HEADER + size : min(_FILE_HEADER + size + palette_bytes, pixels_at)]
    stride = (abs(width) * bits + 31) // 32 * 4
    if compression in (_RLE8, _RLE4):
        length = _rle_length(data, pixels_at, compression) if size != _OS2 else image_bytes
    else:
        length = stride * abs(height)
    pixels = data[pixels_at : pixels_at + length]
    if len(pixels) < length or pixels_at < _FILE_HEADER + size:
        raise Quarantine(Reason.TRUNCATED, f"bmp: {len(pixels)} of {length} bytes of pixels")
    return _Parts(header, palette, pixels, _profile(data, header))


def _rle_length(data: bytes, start: int, compression: int) -> int:
    """Bytes of run-length coded pixels up to their end marker, or the end of the data."""
    position = start
    while position + 1 < len(data):
        count, value = data[position], data[position + 1]
        position += 2
        if count == 0 and value == 1:
            break
        if count == 0 and value == 2:  # a jump
            position += 2
        elif count == 0 and value > 2:  # pixels as they are, in an even number of bytes
            literal = value if compression == _RLE8 else (value + 1) // 2
            position += literal + literal % 2
    return min(position, len(data)) - start


def _profile(data: bytes, header: bytes) -> bytes:
    if len(header) < _V5 or header[56:60] != _EMBEDDED:
        return b""
    offset, size = struct.unpack_from("<II", header, 112)
    return icc.clean(data[_FILE_HEADER + offset : _FILE_HEADER + offset + size])


def _join(parts: _Parts) -> bytes:
    header, palette, pixels, profile = parts
    pixels_at = _FILE_HEADER + len(header) + len(palette)
    if len(header) >= _V5:
        if header[56:60] == _LINKED or (header[56:60] == _EMBEDDED and not profile):
            header = header[:56] + _SRGB + header[60:]
        place = struct.pack("<II", pixels_at + len(pixels) - _FILE_HEADER if profile else 0, len(profile))
        header = header[:112] + place + header[120:]
    size = pixels_at + len(pixels) + len(profile)
    return struct.pack("<2sIII", b"BM", size, 0, pixels_at) + header + palette + pixels + profile


def encode(pixels: Pixels, data: bytes) -> bytes:
    """Encode 8-bit grey, RGB or RGBA, uncompressed, with the original's density and colour space.

    Args:
        pixels: of mode L, RGB or RGBA.
        data: the original.
    """
    original = _split(data)
    height, width, channels = pixels.values.shape
    has_colour_space = len(original.header) >= _V4
    size = len(original.header) if has_colour_space else _V4 if channels == 4 else _INFO
    compression = _BITFIELDS if channels == 4 else 0
    density = original.header[24:32] if len(original.header) >= _INFO else bytes(8)
    colours = 256 if channels == 1 else 0
    header = struct.pack("<IiiHHII8sII", size, width, height, 1, 8 * channels, compression, 0, density, colours, 0)
    if size >= _V4:
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if channels == 4 else bytes(16)
        header += masks + (original.header[56:] if has_colour_space else _SRGB + bytes(48))
    palette = np.arange(256, dtype=np.uint32) * 0x010101 if channels == 1 else np.zeros(0, np.uint32)
    rows = np.zeros((height, -(-width * channels // 4) * 4), np.uint8)
    stored = pixels.values[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels.values
    rows[:, : width * channels] = stored[::-1].reshape(height, -1)
    return _join(_Parts(header, palette.astype("<u4").tobytes(), rows.tobytes(), original.profile))
