"""HEVC pictures whose rows of blocks are coded apart from each other, and bytes that are hidden between these.

As with AV1's tiles, nothing here reads headers: where a slice says how long its rows are is found by trying.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pillow_heif

from faceveil.transforms.codecs.isobmff_boxes import write_box
from tests.transforms.codecs.test_hidden_streams_isobmff import build

_PPS = 34
_LONGEST_HEADER = 300  # bits before the number of rows


@dataclass(frozen=True)
class Slice:
    """A slice: the bits of its header before the number of its entry points and behind these, rows of blocks."""

    before: str
    rows: tuple[bytes, ...]
    behind: str = ""

    def unit(self) -> bytes:
        """The slice with its length."""
        lengths = [len(row) - 1 for row in self.rows[:-1]]
        wide = max(length.bit_length() for length in lengths) or 1
        bits = self.before + _exponential(len(lengths)) + _exponential(wide - 1)
        bits += "".join(f"{length:0{wide}b}" for length in lengths) + self.behind + "1"
        header = _escaped(_bytes(bits))
        unit = header + b"".join(self.rows)
        return struct.pack(">I", len(unit)) + unit


def read(boxes: list[bytes], item: bytes, rows: int) -> Slice:
    """The one slice of an item, which has so many rows of blocks."""
    expected = shown(build(boxes, b"hvc1", item))
    for before, parts in _candidates(item[4:], rows):
        found = Slice(before, parts)
        if found.unit() != item:
            continue
        longer = Slice(before, (parts[0] + b"\x80", *parts[1:]))
        if np.array_equal(shown(build(boxes, b"hvc1", longer.unit())), expected):
            return found
    raise AssertionError("there are no rows")


def shown(data: bytes) -> np.ndarray:
    """What libheif shows."""
    return np.asarray(pillow_heif.open_heif(data))


def with_header_extension(boxes: list[bytes]) -> list[bytes]:
    """Properties whose picture parameter set lets headers of slices have an extension, which decoders skip."""
    configuration = next(box for box in boxes if box[4:8] == b"hvcC")
    at = configuration.index(bytes((_PPS << 1, 1)))
    length = int.from_bytes(configuration[at - 2 : at], "big")
    bits = "".join(f"{byte:08b}" for byte in configuration[at : at + length])
    end = bits.rindex("1")  # behind slice_segment_header_extension_present_flag and pps_extension_present_flag
    assert bits[end - 2 : end] == "00"
    changed = _bytes(bits[: end - 2] + "101")
    new = write_box(b"hvcC", configuration[8:at] + changed + configuration[at + length :])
    return [new if box is configuration else box for box in boxes]


def extension(secret: bytes) -> str:
    """The extension of a slice's header, as bits: a length and so many bytes."""
    return _exponential(len(secret)) + "".join(f"{byte:08b}" for byte in secret)


def _candidates(unit: bytes, rows: int) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    plain = _unescaped(unit[:2000])
    bits = "".join(f"{byte:08b}" for byte in plain)
    for at in range(16, _LONGEST_HEADER):
        count, position = _read(bits, at)
        wide, position = _read(bits, position)
        if count != rows - 1 or wide > 31:
            continue
        lengths = []
        for _ in range(count):
            lengths.append(int(bits[position : position + wide + 1], 2) + 1)
            position += wide + 1
        header = len(_escaped(plain[: position // 8 + 1]))
        starts = [header + sum(lengths[:row]) for row in range(rows)]
        if starts[-1] < len(unit):
            yield bits[:at], tuple(unit[start:end] for start, end in zip(starts, [*starts[1:], len(unit)], strict=True))


def _read(bits: str, position: int) -> tuple[int, int]:
    """A number in exponential Golomb code, and where it ends."""
    zeros = bits.index("1", position) - position
    end = position + 2 * zeros + 1
    return int(bits[position + zeros : end], 2) - 1, end


def _exponential(number: int) -> str:
    return "0" * ((number + 1).bit_length() - 1) + f"{number + 1:b}"


def _bytes(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _escaped(data: bytes) -> bytes:
    result, zeros = bytearray(), 0
    for byte in data:
        if zeros == 2 and byte <= 3:
            result.append(3)
            zeros = 0
        result.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(result)


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")
