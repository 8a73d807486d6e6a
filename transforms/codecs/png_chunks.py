"""What PNG's chunks may hold (PNG specification, third edition, https://www.w3.org/TR/png-3/): lengths and values."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from faceveil.transforms.codecs.accounting import Unaccounted, inflate

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}  # table 11.1
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of each pass the first column and row, and the steps between columns and rows (section 8.1)."""


class PngHeader(NamedTuple):
    """IHDR's fields that say how the pixels are stored."""

    width: int
    height: int
    depth: int
    colour_type: int
    interlace: int

    @property
    def has_palette(self) -> bool:
        """Whether pixels are indices."""
        return self.colour_type == _PALETTE

    @property
    def pixel_bits(self) -> int:
        """The bits of one pixel."""
        return self.depth * _CHANNELS[self.colour_type]

    def passes(self) -> list[tuple[int, int]]:
        """Width and height of the pictures that are stored one behind the other: one, or seven interlaced ones."""
        if not self.interlace:
            return [(self.width, self.height)]
        sides = (
            (-(-(self.width - left) // across), -(-(self.height - top) // down)) for left, top, across, down in _ADAM7
        )
        return [(width, height) for width, height in sides if width > 0 and height > 0]


def read_header(content: bytes) -> PngHeader:
    """The fields of IHDR.

    Raises:
        Unaccounted: it has another length, or values that do not exist.
    """
    if len(content) != 13:
        raise Unaccounted("its IHDR chunk has a wrong length")
    width, height, depth, colour_type, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    if depth not in _DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise Unaccounted("its IHDR chunk has unknown values")
    return PngHeader(width, height, depth, colour_type, interlace)


def check_pixels(stream: bytes, header: PngHeader) -> None:
    """Decompresses the content of all IDAT chunks, to see that it holds the rows of the picture and nothing else.

    Raises:
        Unaccounted: it does not, or there are values in the bits that fill up rows.
    """
    passes = header.passes()
    strides = [-(-width * header.pixel_bits // 8) for width, _ in passes]
    fill_bits = [8 * stride - width * header.pixel_bits for stride, (width, _) in zip(strides, passes, strict=True)]
    length = sum((stride + 1) * height for stride, (_, height) in zip(strides, passes, strict=True))
    rows, behind = inflate(stream, length, keep=any(fill_bits))
    if behind:
        raise Unaccounted("there are bytes behind the zlib stream")
    start = 0
    for stride, fill, (_, height) in zip(strides, fill_bits, passes, strict=True):
        end = start + (stride + 1) * height
        if fill and (_without_filters(rows[start:end], stride, height)[:, -1] & (1 << fill) - 1).any():
            raise Unaccounted("there are values behind the ends of rows")
        start = end


def _without_filters(rows: bytes, stride: int, height: int) -> np.ndarray:
    """Bytes of filtered rows as they were: filters of pixels of less than a byte are those of pixels of a byte."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", stride, height, 8, _GREY, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts)
    with Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)), formats=("PNG",)) as image:
        return np.asarray(image)


def read_palette(content: bytes, header: PngHeader) -> bytes:
    """The colours of PLTE that pixels can have; empty where they are only a suggestion (section 11.2.2)."""
    if header.colour_type != _PALETTE:
        return b""
    if len(content) % 3 or not content:
        raise Unaccounted("its palette has a wrong length")
    return content[: 3 << header.depth]


def read_transparency(content: bytes, header: PngHeader, colours: int) -> bytes:
    """The content of tRNS that means something (section 11.3.1.1): alpha of colours, or one colour."""
    if header.colour_type == _PALETTE:
        return content[:colours]
    if header.colour_type not in (_GREY, _RGB):
        return b""
    if len(content) != 2 * _CHANNELS[header.colour_type] or not _all_below(content, header.depth):
        raise Unaccounted("its transparent colour is none that pixels can have")
    return content


def read_text(name: bytes, content: bytes, most: int) -> bytes:
    """The text of tEXt, zTXt or iTXt (section 11.3.3), of so many bytes at most; empty where it is damaged."""
    _, _, rest = content.partition(b"\0")
    is_packed = name == b"zTXt"
    if name == b"zTXt":
        rest = rest[1:]  # the compression's method
    elif name == b"iTXt":
        is_packed = rest[:1] != b"\0"
        rest = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated keyword
    if not is_packed:
        return rest[:most]
    try:
        return zlib.decompressobj().decompress(rest, max(most, 1))
    except zlib.error:
        return b""


def _all_below(content: bytes, depth: int) -> bool:
    return all(value < 1 << depth for (value,) in struct.iter_unpack(">H", content))


def _is_background(content: bytes, header: PngHeader, colours: int) -> bool:
    if header.colour_type == _PALETTE:
        return len(content) == 1 and content[0] < colours
    return len(content) == (2 if header.colour_type in (_GREY, _GREY_ALPHA) else 6) and _all_below(
        content, header.depth
    )


def _are_significant_bits(content: bytes, header: PngHeader, _: int) -> bool:
    depth = 8 if header.colour_type == _PALETTE else header.depth
    channels = 3 if header.colour_type == _PALETTE else _CHANNELS[header.colour_type]
    return len(content) == channels and all(1 <= bits <= depth for bits in content)


def _of_length(length: int) -> Callable[[bytes, PngHeader, int], bool]:
    return lambda content, *_: len(content) == length


_IS_PROPER: dict[bytes, Callable[[bytes, PngHeader, int], bool]] = {
    b"bKGD": _is_background,
    b"sBIT": _are_significant_bits,
    b"pHYs": lambda content, *_: len(content) == 9 and content[8] <= 1,
    b"gAMA": _of_length(4),
    b"cHRM": _of_length(32),
    b"sRGB": lambda content, *_: len(content) == 1 and content[0] <= 3,
    b"cICP": lambda content, *_: len(content) == 4 and content[2] == 0 and content[3] <= 1,
    b"iCCP": lambda content, *_: bool(content),
}


def is_proper(name: bytes, content: bytes, header: PngHeader, colours: int) -> bool:
    """Whether a chunk that changes no pixel has the length and values that the specification knows.

    Args:
        name: of the chunk.
        content: of the chunk.
        header: of the pixels.
        colours: in the palette.
    """
    return _IS_PROPER[name](content, header, colours)
