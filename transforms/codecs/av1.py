"""The size that an AV1 bitstream says its frames have, from its sequence header.

AV1 Bitstream & Decoding Process Specification (https://aomediacodec.github.io/av1-spec/), sections 5.3 to 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator

from faceveil.transforms.codecs.accounting import Unaccounted

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, TILE_GROUP, FRAME = 1, 2, 3, 4, 6
"""Types of open bitstream units (section 6.2.2)."""


class _Bits:
    """Reads bits, the most significant of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("av1: the sequence header is cut off")
        return self._number >> self._left & (1 << count) - 1

    def skip_uvlc(self) -> None:
        """A number in exponential Golomb code (section 4.10.3)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros)


_LONGEST_HEADER = 1024  # far above what 32 operating points take


def frame_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the largest frame that a bitstream may hold.

    Args:
        data: open bitstream units, as an AVIF's items hold them.

    Raises:
        ValueError: there is no sequence header, or it is cut off.
    """
    position = 0
    while position < len(data):
        header = data[position]
        position += 1 + (header >> 2 & 1)
        size = len(data) - position
        if header >> 1 & 1:
            size, position = _leb128(data, position)
        if header >> 3 & 15 == SEQUENCE_HEADER:
            return _size_in_sequence_header(_Bits(data[position : position + min(size, _LONGEST_HEADER)]))
        position += size
    raise ValueError("av1: there is no sequence header")


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The open bitstream units (section 5.3): type, and bytes with their header.

    Raises:
        Unaccounted: one ends beyond the data.
    """
    position = 0
    while position < len(data):
        header, start = data[position], position
        position += 1 + (header >> 2 & 1)
        size = len(data) - position
        if header >> 1 & 1:
            try:
                size, position = _leb128(data, position)
            except ValueError as error:
                raise Unaccounted(str(error)) from error
        position += size
        if position > len(data) or size < 0:
            raise Unaccounted("an AV1 unit ends beyond its item")
        yield header >> 3 & 15, data[start:position]


def split(unit: bytes) -> tuple[bytes, bytes]:
    """A unit's header without its size, and its body."""
    position = 1 + (unit[0] >> 2 & 1)
    body_at = _leb128(unit, position)[1] if unit[0] >> 1 & 1 else position
    return unit[:position], unit[body_at:]


def join(head: bytes, body: bytes) -> bytes:
    """A unit of such parts, with its size."""
    size, rest = b"", len(body)
    while rest > 0x7F:
        size, rest = size + bytes((rest & 0x7F | 0x80,)), rest >> 7
    return bytes((head[0] | 2,)) + head[1:] + size + bytes((rest,)) + body


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """A number in little-endian base 128 (section 4.10.5), and where it ends."""
    value = 0
    for index in range(8):
        if position + index >= len(data):
            break
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise ValueError("av1: the size of a unit is cut off")


def _size_in_sequence_header(bits: _Bits) -> tuple[int, int]:
    """By section 5.5.1; names of fields are those there."""
    bits.take(4)  # seq_profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing_info_present_flag
        bits.take(64)
        if bits.take(1):  # equal_picture_interval
            bits.skip_uvlc()
        if bits.take(1):  # decoder_model_info_present_flag
            delay_bits = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)  # operating_point_idc
        if bits.take(5) > 7:  # seq_level_idx
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)
