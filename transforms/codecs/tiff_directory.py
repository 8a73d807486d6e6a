"""TIFF's directories: read, and write.

TIFF 6.0 (Adobe, 1992), section 2; BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html). EXIF is a TIFF
without pixels (Exif 2.32, CIPA DC-008), so `exif.py` reads and writes its directories here too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from faceveil.transforms.quarantine import Quarantine, Reason

EXIF_DIRECTORY = 34665
STRIPS, TILES = (273, 279), (324, 325)  # offsets, byte counts
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ASCII, _SHORT, _LONG, _UNDEFINED = 2, 3, 4, 7
_NUMBERS = {1: "B", _SHORT: "H", _LONG: "I", 13: "I", 16: "Q"}


class Flavour(NamedTuple):
    """How numbers are written: struct's sign for the byte order, and whether offsets have 8 bytes (BigTIFF)."""

    order: str
    big: bool = False


@dataclass(frozen=True)
class Entry:
    """One tag's value: its type and count as in TIFF 6.0, section 2, and its bytes in the file's order."""

    type: int
    count: int
    value: bytes

    def numbers(self, flavour: Flavour) -> tuple[int, ...]:
        """The value as whole numbers; empty when it is of another type."""
        letter = _NUMBERS.get(self.type)
        return struct.unpack(f"{flavour.order}{self.count}{letter}", self.value) if letter else ()


Directory = dict[int, Entry]


def shorts(flavour: Flavour, *values: int) -> Entry:
    """An entry of 16-bit numbers."""
    return Entry(_SHORT, len(values), struct.pack(f"{flavour.order}{len(values)}H", *values))


def longs(flavour: Flavour, *values: int) -> Entry:
    """An entry of 32-bit numbers, or 64-bit ones in a BigTIFF."""
    type_, letter = (16, "Q") if flavour.big else (_LONG, "I")
    return Entry(type_, len(values), struct.pack(f"{flavour.order}{len(values)}{letter}", *values))


def flavour_of(data: bytes) -> tuple[Flavour, int]:
    """The flavour, and where the first directory begins.

    Raises:
        Quarantine: CORRUPT_IMAGE when the data begin like no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = int.from_bytes(data[2:4], "little" if order == "<" else "big")
    if order is None or version not in (42, 43) or len(data) < 16:
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: no proper header")
    flavour = Flavour(order, version == 43)
    return flavour, struct.unpack_from(f"{order}Q" if flavour.big else f"{order}I", data, 8 if flavour.big else 4)[0]


def read_directory(data: bytes, flavour: Flavour, start: int) -> tuple[Directory, int]:
    """The entries of the directory at a byte, and where the next one begins: 0 for none.

    Entries of unknown types, and those whose value does not lie in the data, are left out: readers do without them,
    and where the picture needs them, it cannot be read.

    Raises:
        Quarantine: TRUNCATED when the directory reaches beyond the data, CORRUPT_IMAGE when its values overlap so
            often that they would fill the memory.
    """
    entries, following, _ = _read_directory(data, flavour, start, 2 * len(data))
    return entries, following


def _read_directory(data: bytes, flavour: Flavour, start: int, most: int) -> tuple[Directory, int, int]:
    """As `read_directory`, and the bytes of the directory with its values, which may not be more than `most`."""
    order, big = flavour
    number, offset = ("Q", "Q") if big else ("H", "I")
    inline = 8 if big else 4
    total = 0
    try:
        (count,) = struct.unpack_from(order + number, data, start)
        position = start + struct.calcsize(order + number)
        entries: Directory = {}
        for _ in range(count):
            tag, type_, values = struct.unpack_from(f"{order}HH{offset}", data, position)
            at = position + 4 + inline
            size = _SIZES.get(type_, 0) * values
            if size > inline:
                (at,) = struct.unpack_from(order + offset, data, at)
            total += 4 + 2 * inline
            if type_ in _SIZES and at + size <= len(data):
                total += size
                if total > most:
                    raise Quarantine(Reason.CORRUPT_IMAGE, f"tiff: what the directory at byte {start} holds overlaps")
                entries.setdefault(tag, Entry(type_, values, data[at : at + size]))
            position += 4 + 2 * inline
        (following,) = struct.unpack_from(order + offset, data, position)
    except (struct.error, OverflowError) as error:  # BigTIFF's offsets may be too large for any memory
        raise Quarantine(Reason.TRUNCATED, f"tiff: the directory at byte {start} lies beyond the end") from error
    return entries, following, total


def pages(data: bytes) -> tuple[Flavour, list[Directory]]:
    """The directories of the main chain, in order; each page or thumbnail has one.

    Raises:
        Quarantine: CORRUPT_IMAGE when there is none, they form a ring or overlap.
    """
    flavour, start = flavour_of(data)
    directories: list[Directory] = []
    seen: set[int] = set()
    left = 2 * len(data)
    while start:
        if start in seen:
            raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: its directories form a ring")
        seen.add(start)
        entries, start, used = _read_directory(data, flavour, start, left)
        directories.append(entries)
        left -= used
    if not directories:
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: there is no directory")
    return flavour, directories


def write(
    flavour: Flavour,
    directory: Mapping[int, Entry],
    exif: Mapping[int, Entry] | None = None,
    segments: Sequence[bytes] = (),
    tags: tuple[int, int] = STRIPS,
) -> bytes:
    """A TIFF of one directory: header, directory, EXIF directory, segments, and nothing else.

    Args:
        flavour: of the values in the entries.
        directory: the entries, without those of `tags` and of the EXIF directory.
        exif: the EXIF directory's entries, if there is to be one.
        segments: the coded strips or tiles.
        tags: the tags of the segments' offsets and byte counts.
    """
    entries = dict(directory)
    if segments:
        entries |= {tag: longs(flavour, *[0] * len(segments)) for tag in tags}
    if exif:
        entries[EXIF_DIRECTORY] = longs(flavour, 0)
    header = struct.pack(
        flavour.order + ("2sHHHQ" if flavour.big else "2sHI"),
        b"II" if flavour.order == "<" else b"MM",
        *((43, 8, 0, 16) if flavour.big else (42, 8)),
    )
    # Only now that all sizes are known, so are all offsets.
    exif_at = len(header) + len(_packed(flavour, entries, 0))
    exif_part = _packed(flavour, exif, exif_at) if exif else b""
    if exif:
        entries[EXIF_DIRECTORY] = longs(flavour, exif_at)
    offsets, position = [], exif_at + len(exif_part)
    for segment in segments:
        offsets.append(position if segment else 0)
        position += len(segment) + len(segment) % 2
    if segments:
        entries[tags[0]] = longs(flavour, *offsets)
        entries[tags[1]] = longs(flavour, *map(len, segments))
    body = (segment + b"\0" * (len(segment) % 2) for segment in segments)
    return b"".join((header, _packed(flavour, entries, len(header)), exif_part, *body))


def _packed(flavour: Flavour, entries: Mapping[int, Entry], start: int) -> bytes:
    """A directory that begins at a byte, with the values that do not fit into their entries behind it."""
    order, big = flavour
    number, offset = ("Q", "Q") if big else ("H", "I")
    inline = 8 if big else 4
    table = [struct.pack(order + number, len(entries))]
    values = b""
    values_at = start + struct.calcsize(order + number) + len(entries) * (4 + 2 * inline) + inline
    for tag, entry in sorted(entries.items()):
        value = entry.value
        if len(value) > inline:
            value = struct.pack(order + offset, values_at + len(values))
            values += entry.value + b"\0" * (len(entry.value) % 2)
        table.append(struct.pack(f"{order}HH{offset}", tag, entry.type, entry.count) + value.ljust(inline, b"\0"))
    return b"".join((*table, bytes(inline), values))
