"""Whether the strips or tiles of a TIFF hold the picture and nothing else (TIFF 6.0, sections 3, 9, 13, 15 and 22)."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from faceveil.transforms.codecs import ccitt, jpeg_markers, lzw
from faceveil.transforms.codecs.accounting import Unaccounted, inflate
from faceveil.transforms.runtime.memory import is_out_of_memory

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
_FAX = (ccitt.MODIFIED_HUFFMAN, ccitt.T4, ccitt.T6)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_YCBCR = 6


class SegmentLayout(NamedTuple):
    """What the tags say of the pixels.

    Attributes:
        width: of the picture.
        height: of the picture.
        samples: per pixel.
        bits: of a sample.
        has_planes: whether each channel has strips or tiles of its own.
        segment_width: of a strip or tile.
        segment_height: of a tile, or of all strips but the last.
        is_tiled: whether they are tiles.
        compression: the tag's number.
        photometric: the tag's number.
        subsampling: of YCbCr, across and down.
        is_reversed: whether the bits of bytes are in reverse order (FillOrder 2).
        t4_options: of fax data.
    """

    width: int
    height: int
    samples: int
    bits: int
    has_planes: bool
    segment_width: int
    segment_height: int
    is_tiled: bool
    compression: int
    photometric: int
    subsampling: tuple[int, int]
    is_reversed: bool
    t4_options: int

    @property
    def across(self) -> int:
        """How many tiles lie beside each other."""
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        """How many strips or tiles lie below each other."""
        return -(-self.height // self.segment_height)

    @property
    def pixel_bits(self) -> int:
        """The bits of a pixel in a segment."""
        return self.bits * (1 if self.has_planes else self.samples)

    def rows(self, number: int) -> int:
        """The rows of a segment, by its number."""
        if self.is_tiled:
            return self.segment_height
        return min(self.segment_height, self.height - number % self.down * self.segment_height)

    def length(self, rows: int) -> int:
        """The bytes of so many rows of a segment."""
        across, down = self.subsampling
        if self.photometric == _YCBCR and (across, down) != (1, 1):
            if self.has_planes or self.bits != 8 or self.samples != 3 or across < 1 or down < 1:
                raise Unaccounted("its chroma is stored in an unknown way")
            return -(-rows // down) * -(-self.segment_width // across) * (across * down + 2)
        return -(-self.segment_width * self.pixel_bits // 8) * rows


def accounted(segments: Sequence[bytes], layout: SegmentLayout) -> list[bytes]:
    """The strips or tiles that the picture has, without the bytes that no decoder reads.

    Bytes behind the coded data go, but for zeros, which some encoders append.

    Raises:
        Unaccounted: one holds more than its rows, or its compression cannot be followed.
    """
    if min(layout.width, layout.height, layout.segment_width, layout.segment_height) < 1:
        raise Unaccounted("it has no pixels")
    expected = layout.across * layout.down * (layout.samples if layout.has_planes else 1)
    if len(segments) != expected:  # Pillow shows the last of too many uncompressed ones, other readers the first
        raise Unaccounted(f"it has {len(segments)} strips or tiles, and needs {expected}")
    if layout.is_reversed and layout.compression not in (NONE, *_FAX):
        raise Unaccounted("its bits are in reverse order")
    kept = []
    for number, segment in enumerate(segments):
        used = _used(segment, layout, layout.rows(number)) if segment else 0
        kept.append(segment[:used] if any(segment[used:]) else segment)
    return kept


def _used(segment: bytes, layout: SegmentLayout, rows: int) -> int:
    """How many bytes of a segment its rows need."""
    if layout.compression == JPEG:
        _check_frame(segment, layout, rows)
        return len(segment)
    if layout.compression in _FAX:
        if layout.pixel_bits != 1:
            raise Unaccounted("its fax data are not of one bit per pixel")
        bits = segment.translate(_REVERSED) if layout.is_reversed else segment
        return ccitt.used_bytes(bits, layout.segment_width, rows, layout.compression, layout.t4_options)
    length = layout.length(rows)
    if layout.compression == NONE:
        if len(segment) < length:
            raise Unaccounted(f"a strip or tile has {len(segment)} bytes, and needs {length}")
        used, expanded = length, segment[:length]
    elif layout.compression in (DEFLATE, OLD_DEFLATE):
        expanded, behind = inflate(segment, length, keep=_fill_bits(layout) > 0)
        used = len(segment) - len(behind)
    elif layout.compression == LZW:
        used, expanded = lzw.used_bytes(segment, 8, length, tiff=True), b""
    elif layout.compression == PACKBITS:
        used, expanded = _packbits_used(segment, length), b""
    else:
        raise Unaccounted(f"the compression {layout.compression} cannot be followed")
    if _fill_bits(layout):
        _check_fill(expanded or _expanded(segment, layout.compression, length, rows), layout, rows)
    return used


def _check_frame(segment: bytes, layout: SegmentLayout, rows: int) -> None:
    """That a JPEG has the size of its strip or tile: decoders do not show what is beyond."""
    for marker, start, _ in jpeg_markers.segments(segment):
        if marker in jpeg_markers.FRAMES:
            height, width = struct.unpack_from(">HH", segment, start + 5)
            if (width, height) != (layout.segment_width, rows):
                raise Unaccounted(f"a JPEG in it is of {width} x {height} px, not {layout.segment_width} x {rows}")


def _packbits_used(segment: bytes, length: int) -> int:
    """The bytes that decoders of PackBits (section 9) read to get so many."""
    position = total = 0
    while total < length and position < len(segment):
        head = segment[position]
        if head < 128:
            total, position = total + head + 1, position + head + 2
        elif head > 128:
            total, position = total + 257 - head, position + 2
        else:
            position += 1
    if total != length or position > len(segment):
        raise Unaccounted(f"a strip or tile holds {total} of {length} bytes")
    return position


def _fill_bits(layout: SegmentLayout) -> int:
    """The bits at the end of each row that fill up a byte."""
    return -layout.segment_width * layout.pixel_bits % 8


def _check_fill(expanded: bytes, layout: SegmentLayout, rows: int) -> None:
    last = np.frombuffer(expanded, np.uint8).reshape(rows, -1)[:, -1]
    fill = (1 << _fill_bits(layout)) - 1
    if layout.is_reversed or (last & fill).any():
        raise Unaccounted("there are values in the bits that fill up rows")


def _expanded(segment: bytes, compression: int, length: int, rows: int) -> bytes:
    """The decompressed bytes of a segment, by libtiff: as the pixels of a grey picture."""
    tags = {256: length // rows, 257: rows, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: rows, 279: 0}
    tags |= {273: 10 + 12 * len(tags) + 4, 279: len(segment)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + segment
    with Image.open(io.BytesIO(tiff), formats=("TIFF",)) as image:
        return image.tobytes()


def check_margins(canvas: bytes, layout: SegmentLayout) -> None:
    """That tiles which reach beyond the picture's right and lower edge go on with one colour or the pixels of the edge.

    Args:
        canvas: a TIFF of the same tiles that is as large as they are together.
        layout: of the picture.

    Raises:
        Unaccounted: they hold something else, or cannot be decoded.
    """
    if layout.bits > 8 and layout.samples > 1:  # Pillow hands out 8 bits
        pixels = cv2.imdecode(np.frombuffer(canvas, np.uint8), cv2.IMREAD_UNCHANGED)
    else:
        try:
            with Image.open(io.BytesIO(canvas), formats=("TIFF",)) as image:
                pixels = np.asarray(image)
        except Exception as error:  # as in decoder_errors: Pillow promises no list of them
            if is_out_of_memory(error):
                raise
            raise Unaccounted(f"its tiles cannot be decoded: {error}") from error
    if pixels is None:
        raise Unaccounted("its tiles cannot be decoded")
    height, width = layout.height, layout.width
    padding = [(0, pixels.shape[0] - height), (0, pixels.shape[1] - width), *[(0, 0)] * (pixels.ndim - 2)]
    outside = np.ones(pixels.shape[:2], np.bool_)
    outside[:height, :width] = False
    margins = pixels[outside]
    goes_on = np.array_equal(pixels, np.pad(pixels[:height, :width], padding, mode="edge"))
    if not goes_on and (margins != margins[:1]).any():
        raise Unaccounted("there are other pixels in its tiles, beyond the edges of the picture")
