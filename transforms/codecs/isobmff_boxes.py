"""Boxes, of which files by ISO/IEC 14496-12 are made (section 4.2): reading and writing them, whatever they hold."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from faceveil.transforms.quarantine import Quarantine, Reason


class Reader:
    """Numbers from a box's content, most significant byte first."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self._data, self._position, self._end = data, position, end

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are not as many.
        """
        self._position += size
        if self._position > self._end:
            raise ValueError("a box is shorter than what it holds")
        return self._data[self._position - size : self._position]

    def number(self, size: int) -> int:
        """The next number, of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def version_and_flags(self) -> tuple[int, int]:
        """What the content of a full box begins with."""
        return self.number(1), self.number(3)


def read_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes in a range of bytes: name, start and end of the content.

    Raises:
        ValueError: one is shorter than its own header.
        Quarantine: TRUNCATED where one ends beyond the range.
        struct.error: the range ends within a header.
    """
    while start < end:
        size, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = start + size if size else end
        if not content <= stop:
            raise ValueError(f"the box at byte {start} is too short")
        if stop > end:
            raise Quarantine(Reason.TRUNCATED, f"heif: the box at byte {start} ends beyond the end")
        yield name, content, stop
        start = stop


def write_box(name: bytes, content: bytes) -> bytes:
    """A box as it is written."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def write_full_box(name: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box of a kind that has a version and flags."""
    return write_box(name, struct.pack(">I", version << 24 | flags) + content)
