"""Which parts of a JPEG draw its picture, and whether every byte of them is accounted for.

libjpeg reports bytes of a scan that it has not decoded, but neither tables that nothing uses, nor scans that send again
what another has sent. So frame, scans and tables are followed here, by ITU-T T.81, annexes B, F and G.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from faceveil.transforms.codecs.jpeg_markers import FRAMES, SOS, segment, segments

DHT, DAC, DQT, DNL, DRI = 0xC4, 0xCC, 0xDB, 0xDC, 0xDD
_SEQUENTIAL, _PROGRESSIVE = {0xC0, 0xC1, 0xC9}, {0xC2, 0xCA}  # of Huffman's codes and of arithmetic coding (table B.1)
_ARITHMETIC = {0xC9, 0xCA}

_MAX_SCANS = 24
"""libjpeg's own script has 18 for four components and 10 for three. A scan may end in up to six bytes that libjpeg
reads ahead and does not miss, and its table may hold symbols that it does not use."""

_MAX_INTERVALS = 1024
"""Restart intervals whose padding of up to seven bits is taken on trust; more are written again to be sure."""

_LARGEST_PADDING = 16
"""Pixels of MCUs beyond the picture's edge, which no decoder shows; the usual samplings have 15 at most."""

_DC = frozenset(range(12))
_AC = frozenset({0x00, 0xF0, *(16 * run + size for run in range(16) for size in range(1, 11))})
_AC_FIRST = _AC | frozenset(16 * run for run in range(16))
_AC_REFINED = frozenset(16 * run + size for run in range(16) for size in (0, 1))
"""The symbols of 8-bit pictures (tables F.1, F.2, G.1, G.2). A decoder takes others for one of these."""


@dataclass(frozen=True)
class Component:
    """A component as the frame describes it: sampling factors, quantisation table."""

    across: int
    down: int
    table: int


@dataclass(frozen=True)
class Frame:
    """The frame header (section B.2.2), with the components by their identifiers."""

    marker: int
    width: int
    height: int
    components: dict[int, Component]

    @property
    def mcu_width(self) -> int:
        """In pixels; a component alone has MCUs of one block (section A.2.2)."""
        return 8 * max(c.across for c in self.components.values()) if len(self.components) > 1 else 8

    @property
    def mcu_height(self) -> int:
        """In pixels."""
        return 8 * max(c.down for c in self.components.values()) if len(self.components) > 1 else 8


@dataclass
class _Table:
    """One definition of a table and whether a scan uses it; Huffman's with its symbols."""

    content: bytes
    symbols: bytes = b""
    used: bool = False


@dataclass(frozen=True)
class Stream:
    """A JPEG whose bytes are accounted for.

    Attributes:
        frame: its frame header.
        parts: its segments from first table to last scan, less tables that nothing uses, by the byte they began at.
        scans: the scans among them, header and coded data.
        intervals: restart intervals of all scans together.
        is_complete: whether its scans send every bit of every coefficient.
    """

    frame: Frame
    parts: dict[int, bytes]
    scans: tuple[bytes, ...]
    intervals: int
    is_complete: bool

    @property
    def keeps_tables(self) -> bool:
        """Whether one set of Huffman tables codes all of it."""
        return self.frame.marker in _SEQUENTIAL and len(self.scans) == 1

    @property
    def needs_proof(self) -> bool:
        """Whether padding may hold so much that it takes coding the picture again to know that it holds nothing."""
        frame = self.frame
        beyond = max(-frame.width % frame.mcu_width, -frame.height % frame.mcu_height)
        return self.intervals > _MAX_INTERVALS or beyond >= _LARGEST_PADDING


class _UnaccountedError(Exception):
    """There are bytes without a known meaning."""


@dataclass
class _Reader:
    """What has been read so far."""

    tables: dict[tuple[int, int], _Table] = field(default_factory=dict)
    definitions: list[_Table] = field(default_factory=list)
    frame: Frame | None = None
    progress: dict[int, list[int]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    intervals: int = 0


def follow(data: bytes, tables: bytes = b"") -> Stream | None:
    """Follows a JPEG's frame, tables and scans; None where a byte of them has no meaning or one too many.

    That libjpeg decodes the scans without complaint is another thing, which has to be seen to as well. What is known
    then: each scan has as many restart markers as belong there, no fill bytes, and sends coefficients that no other
    scan has sent; each table that is left is used, and holds no symbol twice.

    Args:
        data: the JPEG.
        tables: tables that were defined before, as in TIFF: a JPEG without a picture.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its segments cannot be followed to the end marker.
    """
    reader = _Reader()
    try:
        if tables:
            _read(reader, tables)
        parts = _read(reader, data)
    except (_UnaccountedError, IndexError):
        return None
    scans = tuple(part for part in parts.values() if isinstance(part, bytes) and part[1] == SOS)
    if reader.frame is None or reader.seen != reader.frame.components.keys() or not 0 < len(scans) <= _MAX_SCANS:
        return None
    _keep_copies(reader)
    is_complete = reader.frame.marker in _SEQUENTIAL or not any(map(any, reader.progress.values()))
    return Stream(reader.frame, _written(parts), scans, reader.intervals, is_complete)


def used_tables(data: bytes, pictures: Iterable[bytes]) -> bytes:
    """A TIFF's JPEGTables with those alone that one of its pictures uses.

    Args:
        data: JPEGTables.
        pictures: whose bytes are accounted for, with these tables.

    Returns:
        Such tables; empty where the given ones cannot be read, so that no picture uses them.

    Raises:
        Quarantine: as `follow`.
    """
    used: set[int] = set()
    parts: dict[int, bytes | _Segment] = {}
    try:
        for picture in pictures:
            reader = _Reader()
            parts = _read(reader, data)
            of_tables = len(reader.definitions)
            _read(reader, picture)
            used |= {number for number in range(of_tables) if reader.definitions[number].used}
            for number in used:
                reader.definitions[number].used = True
    except (_UnaccountedError, IndexError):
        return b""
    return b"\xff\xd8" + b"".join(_written(parts).values()) + b"\xff\xd9"


@dataclass
class _Segment:
    """A segment of tables, as it was and table by table."""

    marker: int
    whole: bytes
    tables: list[_Table]


def _read(reader: _Reader, data: bytes) -> dict[int, bytes | _Segment]:
    parts: dict[int, bytes | _Segment] = {}
    for marker, start, end in segments(data):
        content = data[start + 4 : end]
        if marker in (DHT, DAC, DQT, DRI):
            parts[start] = _Segment(marker, data[start:end], _define(reader, marker, content))
        elif marker in FRAMES:
            if reader.frame is not None:
                raise _UnaccountedError
            reader.frame = _frame(marker, content)
            reader.progress = {number: [-1] * 64 for number in reader.frame.components}
            parts[start] = data[start:end]
        elif marker == SOS:
            coded_at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            while end > coded_at and data[end - 1] == 0xFF:  # fill bytes before the next marker
                end -= 1
            restarts = _scan(reader, data[start + 4 : coded_at])
            _check_coded(data, coded_at, end, restarts)
            parts[start] = data[start:end]
    return parts


def _keep_copies(reader: _Reader) -> None:
    """Lets a table stay that is defined once, never used and a copy of one that is, as in many cameras' files."""
    used = {table.content[1:] for table in reader.definitions if table.used}
    slots = [table.content[:1] for table in reader.definitions]
    for table in reader.tables.values():
        if table.content[1:] in used and slots.count(table.content[:1]) == 1:
            table.used = True


def _written(parts: dict[int, bytes | _Segment]) -> dict[int, bytes]:
    written = {}
    for start, part in parts.items():
        if isinstance(part, bytes):
            written[start] = part
        elif all(table.used for table in part.tables):
            written[start] = part.whole
        elif kept := b"".join(table.content for table in part.tables if table.used):
            written[start] = segment(part.marker, kept)
    return written


def _define(reader: _Reader, marker: int, content: bytes) -> list[_Table]:
    """The tables that a segment defines (sections B.2.4.1 to B.2.4.4)."""
    if marker == DRI and len(content) != 2:
        raise _UnaccountedError
    found: list[_Table] = []
    position = 0
    while position < len(content):
        symbols = b""
        kind = content[position]
        if marker == DRI:
            kind, end = 0, 2
        elif marker == DQT:
            end = position + 1 + 64 * (1 + (kind >> 4))
            values = content[position + 1 : end]
            smallest = min(values if kind < 0x10 else map(max, values[::2], values[1::2]), default=0)
            if kind >> 4 > 1 or kind & 15 > 3 or not smallest:
                raise _UnaccountedError
            kind &= 15
        elif marker == DAC:
            end = position + 2
            value = content[position + 1]
            if kind >> 4 > 1 or kind & 15 > 3 or not (0 < value < 64 if kind >> 4 else value & 15 <= value >> 4):
                raise _UnaccountedError
        else:
            counts = content[position + 1 : position + 17]
            end = position + 17 + sum(counts)
            symbols = content[position + 17 : end]
            if kind >> 4 > 1 or kind & 15 > 3 or len(set(symbols)) < len(symbols):
                raise _UnaccountedError
        if end > len(content):
            raise _UnaccountedError
        table = _Table(content[position:end], symbols)
        found.append(table)
        reader.definitions.append(table)
        reader.tables[marker, kind] = table
        position = end
    return found


def _frame(marker: int, content: bytes) -> Frame:
    count = content[5]
    components = {
        number: Component(sampling >> 4, sampling & 15, table)
        for number, sampling, table in zip(content[6::3], content[7::3], content[8::3], strict=False)
    }
    frame = Frame(marker, int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big"), components)
    if (
        marker not in _SEQUENTIAL | _PROGRESSIVE
        or len(content) != 6 + 3 * count
        or len(components) != count
        or content[0] != 8
        or not (frame.width and frame.height)
        or not all(1 <= c.across <= 4 and 1 <= c.down <= 4 and c.table <= 3 for c in components.values())
    ):
        raise _UnaccountedError
    return frame


def _scan(reader: _Reader, content: bytes) -> int:
    """Reads a scan's header (section B.2.3) and marks what it uses; returns how many restart markers it must have."""
    frame, count = reader.frame, content[0]
    if frame is None or len(content) != 4 + 2 * count:
        raise _UnaccountedError
    numbers, tables = content[1:-3:2], content[2:-3:2]
    first, last, bits = content[-3:]
    known = [number for number in frame.components if number in numbers]
    if not count or known != list(numbers):  # they come in the frame's order, each once
        raise _UnaccountedError
    high, low = bits >> 4, bits & 15
    is_progressive = frame.marker in _PROGRESSIVE
    if not is_progressive:
        if (first, last, bits) != (0, 63, 0) or reader.seen & set(numbers):
            raise _UnaccountedError
    elif first > last or last > 63 or (first == 0) != (last == 0) or (first and count > 1):
        raise _UnaccountedError
    for number, table in zip(numbers, tables, strict=True):
        if number not in reader.seen:
            _use(reader, DQT, frame.components[number].table)
        if is_progressive:
            _advance(reader.progress[number], first, last, high, low)
        dc, ac = table >> 4, table & 15
        if frame.marker in _ARITHMETIC:
            _use(reader, DAC, dc)
            _use(reader, DAC, 0x10 | ac)
            continue
        if first == 0 and not high:
            _use(reader, DHT, dc, _DC)
        if last:
            refined = _AC_REFINED if high else _AC_FIRST
            _use(reader, DHT, 0x10 | ac, refined if is_progressive else _AC)
    reader.seen |= set(numbers)
    interval = _use(reader, DRI, 0)
    every = int.from_bytes(interval.content, "big") if interval else 0
    intervals = -(-_mcus(frame, numbers) // every) if every else 1
    reader.intervals += intervals
    return intervals - 1


def _advance(sent: list[int], first: int, last: int, high: int, low: int) -> None:
    """Marks the bits of one component's coefficients as sent (section G.1.1): once each, from the highest down."""
    if low > 13 or (first and sent[0] < 0):
        raise _UnaccountedError
    for place in range(first, last + 1):
        if sent[place] != (high or -1) or (high and low != high - 1):
            raise _UnaccountedError
        sent[place] = low


def _use(reader: _Reader, marker: int, number: int, symbols: frozenset[int] | None = None) -> _Table | None:
    """The table in force, now used; None where there is none: Motion JPEG leaves out those of annex K.3."""
    table = reader.tables.get((marker, number))
    if table is not None:
        if symbols is not None and not symbols.issuperset(table.symbols):
            raise _UnaccountedError
        table.used = True
    return table


def _mcus(frame: Frame, numbers: bytes) -> int:
    """How many MCUs a scan has (section A.2)."""
    if len(numbers) > 1:
        return -(-frame.width // frame.mcu_width) * -(-frame.height // frame.mcu_height)
    one = frame.components[numbers[0]]
    if len(frame.components) == 1:
        one = Component(1, 1, one.table)
    columns = -(-frame.width * one.across // frame.mcu_width)
    return columns * -(-frame.height * one.down // frame.mcu_height)


def _check_coded(data: bytes, start: int, end: int, restarts: int) -> None:
    """Refuses coded data with fill bytes, or with other markers than the restart markers, in their order."""
    coded = np.frombuffer(data, np.uint8, end - start, start)
    behind = coded[1:][coded[:-1] == 0xFF]
    markers = behind[behind != 0]
    if not np.array_equal(markers, 0xD0 + np.arange(restarts) % 8):
        raise _UnaccountedError
