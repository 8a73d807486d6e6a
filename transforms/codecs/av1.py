"""The open bitstream units of an AV1 still picture, as AVIF's items hold them, and the tiles in them.

AV1 Bitstream & Decoding Process Specification (https://aomediacodec.github.io/av1-spec/), sections 5.3, 5.10 and 5.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from faceveil.transforms.codecs import av1_frame, av1_sequence
from faceveil.transforms.codecs.accounting import Unaccounted

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, TILE_GROUP, FRAME = 1, 2, 3, 4, 6
"""Types of open bitstream units (section 6.2.2)."""


class Unit(NamedTuple):
    """An open bitstream unit.

    Attributes:
        header: its first byte, and a second one if it has an extension.
        size_bytes: how many bytes say how long the body is; 0 where it goes on up to the end of the data.
        body: what it holds.
    """

    header: bytes
    size_bytes: int
    body: bytes

    @property
    def kind(self) -> int:
        """One of the types above, or another."""
        return self.header[0] >> 3 & 15

    def with_body(self, body: bytes) -> Unit:
        """The unit with another body, whose length takes as few bytes as it can."""
        return self if body == self.body else self._replace(size_bytes=min(self.size_bytes, 1), body=body)

    def __bytes__(self) -> bytes:
        return self.header + (_leb128(len(self.body), self.size_bytes) if self.size_bytes else b"") + self.body


@dataclass(frozen=True)
class Picture:
    """A still picture whose coded data are divided into tiles.

    Attributes:
        frame: its header.
        tiles: the coded data of each, in their order.
    """

    frame: av1_frame.FrameHeader
    tiles: tuple[bytes, ...]
    _parts: tuple[_Part, ...]

    def joined(self, tiles: Sequence[bytes], *, plain: bool = False) -> bytes:
        """Its units with these coded data.

        Args:
            tiles: as many as there are.
            plain: whether decoders shall leave out the filters that they can, and film grain.
        """
        units = []
        size_bytes = av1_frame.LONGEST_SIZE if plain else self.frame.size_bytes
        for unit, prefix, header_bytes, first, end in self._parts:
            pieces = [prefix]
            if header_bytes and plain:
                pieces = [self.frame.plain_header(alone=unit.kind == FRAME_HEADER), prefix[header_bytes:]]
            for number in range(first, end):
                if number < end - 1:
                    pieces.append((len(tiles[number]) - 1).to_bytes(size_bytes, "little"))
                pieces.append(tiles[number])
            units.append(bytes(unit.with_body(b"".join(pieces))))
        return b"".join(units)


class _Part(NamedTuple):
    """A unit, what stands in it before its tiles, how much of this is the frame's header, and which tiles it has."""

    unit: Unit
    prefix: bytes
    header_bytes: int
    first: int
    end: int


def units(data: bytes) -> Iterator[Unit]:
    """The open bitstream units (section 5.3).

    Raises:
        Unaccounted: one ends beyond the data, is of a layer, or has bits that mean nothing.
    """
    position = 0
    while position < len(data):
        header = data[position : position + 1 + (data[position] >> 2 & 1)]
        if header[0] & 0x81 or any(header[1:]):  # obu_forbidden_bit, obu_reserved_1bit; numbers of layers
            raise Unaccounted("an AV1 unit has a header that a still picture's has not")
        start = position = position + len(header)
        size = len(data) - position
        if header[0] >> 1 & 1:
            size, position = _read_leb128(data, position)
        if position + size > len(data) or size < 0:
            raise Unaccounted("an AV1 unit ends beyond its item")
        yield Unit(header, position - start, data[position : position + size])
        position += size


def picture(data: bytes) -> Picture:
    """A still picture, divided into its tiles.

    Args:
        data: its units: a sequence header, then a frame, or a frame's header and groups of tiles.

    Raises:
        Unaccounted: it holds something else, or is of a kind that is not known.
    """
    sequence = frame = None
    tiles: list[bytes] = []
    parts = []
    for unit in units(data):
        first, header_bytes, at = len(tiles), 0, len(unit.body)
        if unit.kind == SEQUENCE_HEADER and not sequence:
            sequence = av1_sequence.sequence_header(unit.body)
        elif unit.kind in (FRAME_HEADER, FRAME) and sequence and not frame:
            frame, header_bytes = av1_frame.frame_header(unit.body, sequence, alone=unit.kind == FRAME_HEADER)
        elif not (unit.kind == TILE_GROUP and frame) and (unit.kind != TEMPORAL_DELIMITER or unit.body):
            raise Unaccounted("the units of an AV1 picture are not those of a still one")
        if unit.kind in (FRAME, TILE_GROUP) and frame:
            at = header_bytes
            start, last, length = av1_frame.tile_group(unit.body[at:], frame, whole=unit.kind == FRAME)
            if not first == start <= last < frame.tiles:
                raise Unaccounted("the tiles of an AV1 picture are not in their order")
            at += length
            tiles += _tiles(unit.body[at:], last - start, frame.size_bytes)
        parts.append(_Part(unit, unit.body[:at], header_bytes, first, len(tiles)))
    if not frame or len(tiles) != frame.tiles:
        raise Unaccounted("an AV1 picture lacks tiles")
    return Picture(frame, tuple(tiles), tuple(parts))


def _tiles(body: bytes, sized: int, size_bytes: int) -> Iterator[bytes]:
    """The tiles of a group: so many with their sizes before them, and one that takes the rest."""
    position = 0
    for _ in range(sized):
        size = int.from_bytes(body[position : position + size_bytes], "little") + 1
        position += size_bytes
        yield body[position : position + size]
        position += size
    if position >= len(body):
        raise Unaccounted("the tiles of an AV1 picture are longer than their unit")
    yield body[position:]


def frame_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the largest frame that a bitstream may hold.

    Args:
        data: open bitstream units, as an AVIF's items hold them.

    Raises:
        Unaccounted: there is no sequence header, or it is cut off.
    """
    position = 0
    while position < len(data):
        header = data[position]
        position += 1 + (header >> 2 & 1)
        size = len(data) - position
        if header >> 1 & 1:
            size, position = _read_leb128(data, position)
        if header >> 3 & 15 == SEQUENCE_HEADER:
            return av1_sequence.largest_size(data[position : position + size])
        position += size
    raise Unaccounted("there is no AV1 sequence header")


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """A number in little-endian base 128 (section 4.10.5), and where it ends."""
    value = 0
    for index in range(8):
        if position + index >= len(data):
            break
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise Unaccounted("the size of an AV1 unit is cut off")


def _leb128(value: int, least: int) -> bytes:
    """A number in little-endian base 128, in so many bytes at least."""
    groups = max(-(-value.bit_length() // 7), least)
    return bytes(value >> 7 * group & 0x7F | 0x80 * (group < groups - 1) for group in range(groups))
