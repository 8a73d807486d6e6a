"""Cutting off what no decoder reads of WebP's compressed data (VP8, RFC 6386; VP8L and ALPH, RFC 9649).

How far a picture's codes reach, only decoding them tells. libwebp refuses a picture whose codes go on behind its
data, or shows other pixels. So where it shows the same without the last few bytes, they were not read.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.codecs.accounting import Unaccounted, without_tail
from faceveil.transforms.runtime.memory import is_out_of_memory

_SLACK = 8
"""Bytes at the end of a stream that encoders may write in vain: libwebp's own writes up to 7, mostly 1 to 3."""

_KEY_FRAME_HEADER = 10  # its tag of 3 bytes, start code and size (RFC 6386, section 9.1)
_START_CODE = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F
_RAW_ALPHA = 0  # ALPH's compression method (RFC 9649, section 2.7.1.2)

Shows = Callable[[bytes], bool]
"""Whether the picture stays the same with this content of a chunk."""


def decode(webp: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a file; None when libwebp refuses some of it."""
    try:
        pixels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if is_out_of_memory(error):
            raise
        return None
    return pixels


def size(name: bytes, content: bytes) -> tuple[int, int]:
    """Width and height of a VP8 or VP8L chunk's picture.

    Raises:
        Unaccounted: its header is none.
    """
    if name == b"VP8 ":
        if len(content) < _KEY_FRAME_HEADER or content[0] & 1 or content[3:6] != _START_CODE:
            raise Unaccounted("its VP8 data begin with no key frame")
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    if len(content) < 5 or content[0] != _VP8L_SIGNATURE or content[4] >> 5:
        raise Unaccounted("its VP8L data begin with no proper header")
    (bits,) = struct.unpack_from("<I", content, 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def vp8l(content: bytes, is_same: Shows) -> bytes:
    """A VP8L chunk's content without what no decoder reads."""
    return without_tail(content, is_same, _SLACK)


def vp8(content: bytes, is_same: Shows) -> bytes:
    """A VP8 chunk's content without the tails of its partitions that no decoder reads.

    Args:
        content: of the chunk.
        is_same: asked of other contents.

    Raises:
        Unaccounted: its partitions do not lie in it.
    """
    parts = _partitions(content)

    def is_enough(part: bytes, number: int) -> bool:
        return is_same(_join(content, [*parts[:number], part, *parts[number + 1 :]]))

    for number, part in enumerate(parts):
        parts[number] = without_tail(part, functools.partial(is_enough, number=number), _SLACK)
    return _join(content, parts)


def _partitions(content: bytes) -> list[bytes]:
    """The first partition, and those of the coefficients (RFC 6386, section 9.5)."""
    first = int.from_bytes(content[:3], "little") >> 5
    start = _KEY_FRAME_HEADER + first
    parts = [content[_KEY_FRAME_HEADER:start]]
    sizes_at, others = start, _coefficient_partitions(parts[0]) - 1
    start += 3 * others
    for number in range(others):
        length = int.from_bytes(content[sizes_at + 3 * number : sizes_at + 3 * number + 3], "little")
        parts.append(content[start : start + length])
        start += length
    if start > len(content):
        raise Unaccounted("its VP8 partitions are longer than their chunk")
    return [*parts, content[start:]]


def _join(content: bytes, parts: list[bytes]) -> bytes:
    tag = int.from_bytes(content[:3], "little") & 0x1F | len(parts[0]) << 5
    sizes = b"".join(len(part).to_bytes(3, "little") for part in parts[1:-1])
    header = tag.to_bytes(3, "little") + content[3:_KEY_FRAME_HEADER]
    return header + parts[0] + sizes + b"".join(parts[1:])


def _coefficient_partitions(first: bytes) -> int:
    """How many there are, from the frame header (section 9.2 to 9.5; names of fields are those of section 19.2)."""
    bits = _Bits(first)
    bits.take(2)  # color_space, clamping_type
    if bits.take(1):  # segmentation_enabled
        update_map, update_data = bits.take(1), bits.take(1)
        if update_data:
            bits.take(1)  # segment_feature_mode
            for length in (7, 7, 7, 7, 6, 6, 6, 6):
                bits.take_optional(length + 1)
        if update_map:
            for _ in range(3):
                bits.take_optional(8)
    bits.take(10)  # filter_type, loop_filter_level, sharpness_level
    if bits.take(1) and bits.take(1):  # loop_filter_adj_enable, mode_ref_lf_delta_update
        for _ in range(8):
            bits.take_optional(7)
    return 1 << bits.take(2)


class _Bits:
    """Bits of even chance from the boolean decoder (section 7.3)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 2
        self._value = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
        self._range, self._bit_count = 255, 0

    def take(self, count: int) -> int:
        """A number of so many bits, the most significant first."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._bit()
        return value

    def take_optional(self, count: int) -> None:
        """A flag, and a number if it is set."""
        if self.take(1):
            self.take(count)

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        bit = self._value >= split << 8
        self._range, self._value = (self._range - split, self._value - (split << 8)) if bit else (split, self._value)
        while self._range < 128:
            self._range, self._value, self._bit_count = self._range << 1, self._value << 1, self._bit_count + 1
            if self._bit_count == 8:
                self._bit_count = 0
                self._value |= self._data[self._position] if self._position < len(self._data) else 0
                self._position += 1
        return int(bit)


def alpha(content: bytes, pixels: int, is_same: Shows) -> bytes:
    """An ALPH chunk's content without what no decoder reads.

    Args:
        content: of the chunk.
        pixels: of the picture.
        is_same: asked of other contents.
    """
    if not content or content[0] & 3 == _RAW_ALPHA:
        return content[: 1 + pixels]
    return without_tail(content, is_same, _SLACK, least=2)
