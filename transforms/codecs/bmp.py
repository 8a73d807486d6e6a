"""BMP's headers (https://learn.microsoft.com/windows/win32/gdi/bitmap-storage), stripping and writing."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from faceveil.transforms.codecs import icc, palettes
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
"""Of the second header, which tells its version."""

_FILE_HEADER, _CORE, _INFO, _V4, _V5 = 14, 12, 40, 108, 124
_RLE8, _RLE4, _BITFIELDS, _ALPHABITFIELDS = 1, 2, 3, 6
_EMBEDDED, _LINKED, _SRGB = b"DEBM", b"KNIL", b"BGRs"  # a linked profile is a path on someone's disk


class _Parts(NamedTuple):
    """The second header, masks and palette behind it, the pixels as stored, the embedded ICC profile."""

    header: bytes
    palette: bytes
    pixels: bytes
    profile: bytes


class _Layout(NamedTuple):
    """What the second header says of the pixels; a row of theirs takes `stride` bytes, unless they are run lengths."""

    width: int
    height: int
    bits: int
    compression: int
    colours: int

    @property
    def stride(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4


def strip(data: bytes, exif: bytes) -> bytes:  # noqa: ARG001  BMP has no place for EXIF
    """The same BMP without what lies between its headers and its pixels, and behind them; ICC profiles stay.

    Bits that stand for nothing become 0: those that fill up rows or colours of the palette, and those of pixels that
    belong to no channel, unless they are the same in all pixels.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its parts do not lie in the file.
        Unaccounted: there is more in its run lengths than the picture.
    """
    layout, parts = _split(data)
    is_packed = layout.compression in (_RLE8, _RLE4)
    pixels = parts.pixels[: _rle_length(parts.pixels, layout)] if is_packed else _without_fill(parts, layout)
    stripped = _join(parts._replace(pixels=pixels))
    if layout.bits <= 8:
        palettes.check_indices(stripped, "bmp")
    return stripped


def _split(data: bytes) -> tuple[_Layout, _Parts]:
    """The parts; pixels that are run lengths go on to the end of the data."""
    try:
        pixels_at, size = struct.unpack_from("<II", data, 10)
        header = data[_FILE_HEADER : _FILE_HEADER + size]
        if size == _CORE:
            width, height, _, bits = struct.unpack_from("<HHHH", header, 4)
            compression = colours = 0
        else:
            width, height, _, bits = struct.unpack_from("<iiHH", header, 4)
            (compression,) = struct.unpack_from("<I", header.ljust(_INFO, b"\0"), 16)
            (colours,) = struct.unpack_from("<I", header.ljust(_INFO, b"\0"), 32)
    except struct.error as error:
        raise Quarantine(Reason.TRUNCATED, "bmp: ends within its headers") from error
    layout = _Layout(abs(width), abs(height), bits, compression, colours)
    palette_at = _FILE_HEADER + size
    masks = {_BITFIELDS: 12, _ALPHABITFIELDS: 16}.get(compression, 0) if size == _INFO else 0
    if colours > (most := 2**bits if bits <= 8 else 0):  # above 8 bits they are a suggestion for screens of few colours
        colours = most
        header = header[:32] + struct.pack("<I", most) + header[36:]
    palette_end = palette_at + masks + (colours or most) * (3 if size == _CORE else 4)
    if pixels_at == 0 or (pixels_at == palette_at and most):  # readers go by the palette where this is so plainly wrong
        pixels_at = palette_end
    # Else the file's own word on where pixels begin is what they go by, even where it cuts the palette short.
    palette = np.frombuffer(data[palette_at : min(palette_end, pixels_at)], np.uint8).copy()
    if size != _CORE:
        palette[masks + 3 :: 4] = 0
    pixels = data[pixels_at:]
    if compression not in (_RLE8, _RLE4):
        pixels = pixels[: layout.stride * layout.height]
        if len(pixels) < layout.stride * layout.height:
            raise Quarantine(Reason.TRUNCATED, f"bmp: {len(pixels)} of {layout.stride * layout.height} bytes of pixels")
    if pixels_at < palette_at:
        raise Quarantine(Reason.TRUNCATED, "bmp: its pixels begin within its headers")
    return layout, _Parts(header, palette.tobytes(), pixels, _profile(data, header))


def _without_fill(parts: _Parts, layout: _Layout) -> bytes:
    """Uncompressed pixels with 0 in the bits that stand for nothing."""
    rows = np.frombuffer(parts.pixels, np.uint8).reshape(layout.height, layout.stride).copy()
    used = layout.width * layout.bits
    rows[:, -(-used // 8) :] = 0
    if used % 8:
        rows[:, used // 8] &= 0xFF << 8 - used % 8 & 0xFF
    if layout.bits in (16, 32):
        channels = _channels(parts, layout)
        values = rows[:, : used // 8].view(f"<u{layout.bits // 8}")
        unused = values & ~channels
        if (unused != unused[:1, :1]).any():
            values &= channels
    return rows.tobytes()


def _channels(parts: _Parts, layout: _Layout) -> np.unsignedinteger[Any]:
    """The bits of a 16- or 32-bit pixel that belong to some channel."""
    whole = np.uint16 if layout.bits == 16 else np.uint32
    if layout.compression not in (_BITFIELDS, _ALPHABITFIELDS):
        return whole(0x7FFF if layout.bits == 16 else 0xFFFFFF)
    masks = parts.header[_INFO : _INFO + 16] if len(parts.header) > _INFO else parts.palette[:16]
    if len(masks) < 16:  # without one of alpha
        masks = masks[:12]
    together = 0
    for (mask,) in struct.iter_unpack("<I", masks[: len(masks) // 4 * 4]):
        together |= mask
    return whole(together & np.iinfo(whole).max or np.iinfo(whole).max)


def _rle_length(data: bytes, layout: _Layout) -> int:
    """Bytes of run-length coded pixels up to their end marker, or the end of the data.

    Raises:
        Unaccounted: they leave the picture, where decoders do not follow, or bytes that fill up have values.
    """
    if layout.bits != (8 if layout.compression == _RLE8 else 4):
        raise Unaccounted("its run lengths are of another kind than its pixels")
    position = x = y = 0
    while position + 1 < len(data):
        count, value = data[position], data[position + 1]
        position += 2
        if count:
            x += count
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            break
        elif value == 2:  # a jump
            if position + 1 >= len(data):
                break
            x, y = x + data[position], y + data[position + 1]
            position += 2
        else:  # pixels as they are, in an even number of bytes
            x += value
            literal = value if layout.compression == _RLE8 else (value + 1) // 2
            if any(data[position + literal : position + literal + literal % 2]):
                raise Unaccounted("there is a value in a byte that fills up a run of pixels")
            position += literal + literal % 2
        if x > layout.width or y > layout.height or (y == layout.height and x):
            raise Unaccounted("its run lengths leave the picture")
    return min(position, len(data))


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
    _, original = _split(data)
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
