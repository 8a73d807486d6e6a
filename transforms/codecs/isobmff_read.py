"""AVIF's and HEIF's lists of items, as their boxes have them (ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from faceveil.transforms.codecs import icc
from faceveil.transforms.codecs.isobmff_boxes import Reader, read_boxes, write_box
from faceveil.transforms.codecs.isobmff_items import Item, Meta
from faceveil.transforms.quarantine import Quarantine, Reason


def read(data: bytes) -> Meta:
    """The items of a file.

    Raises:
        Quarantine: MULTIPLE_FRAMES for a sequence, UNSUPPORTED_IMAGE, CORRUPT_IMAGE or TRUNCATED.
    """
    try:
        top: dict[bytes, tuple[int, int]] = {}
        try:
            for name, start, end in read_boxes(data, 0, len(data)):
                top.setdefault(name, (start, end))
        except (Quarantine, struct.error, ValueError):
            if b"meta" not in top:  # else what stands behind it is no box, or cut off, as the items' places will show
                raise
        if b"moov" in top:
            raise Quarantine(Reason.MULTIPLE_FRAMES, "a sequence, if only of one picture")
        if b"meta" not in top:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: there is no list of pictures (meta box) in it")
        start, end = top[b"meta"]
        parts = {name: (begin, stop) for name, begin, stop in read_boxes(data, start + 4, end)}
        if not {b"pitm", b"iloc", b"iinf", b"iprp"} <= parts.keys():
            raise Quarantine(Reason.CORRUPT_IMAGE, "heif: its list of pictures (meta box) is not complete")
        return _parse(data, parts)
    except (struct.error, IndexError, ValueError, KeyError) as error:
        raise Quarantine(Reason.CORRUPT_IMAGE, f"heif: its boxes cannot be followed: {error}") from error


def _parse(data: bytes, parts: dict[bytes, tuple[int, int]]) -> Meta:
    at, _ = parts[b"pitm"]
    primary = int.from_bytes(data[at + 4 : at + (6 if data[at] == 0 else 8)], "big")
    properties: list[bytes] = []
    associations: dict[int, tuple[tuple[int, bool], ...]] = {}
    for name, start, end in read_boxes(data, *parts[b"iprp"]):
        if name == b"ipco":
            properties = [_property(kind, data[begin:stop]) for kind, begin, stop in read_boxes(data, start, end)]
        elif name == b"ipma":
            associations.update(_read_uses(Reader(data, start, end)))
    if any(number >= len(properties) for pairs in associations.values() for number, _ in pairs):
        raise ValueError("an item has a property that there is not")
    contents = _read_contents(data, parts)
    items = {}
    start, end = parts[b"iinf"]
    for _, begin, stop in read_boxes(data, start + (6 if data[start] == 0 else 8), end):
        info = Reader(data, begin, stop)
        version, flags = info.version_and_flags()
        number = info.number(2 if version == 2 else 4)
        protection, kind = info.number(2), info.take(4)
        if version < 2 or protection:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: an item is of an old kind or protected")
        items[number] = Item(kind, flags, contents.get(number, b""), associations.get(number, ()))
    if primary not in items:
        raise ValueError("there is no primary picture")
    references = []
    if b"iref" in parts:
        start, end = parts[b"iref"]
        wide = 4 if data[start] else 2
        for kind, begin, stop in read_boxes(data, start + 4, end):
            reference = Reader(data, begin, stop)
            source = reference.number(wide)
            references += [(kind, source, reference.number(wide)) for _ in range(reference.number(2))]
    return Meta(primary, items, references, properties)


def _property(kind: bytes, content: bytes) -> bytes:
    """A property's box, with a clean ICC profile if it has one; one of no meaning where that is none."""
    if kind == b"colr" and content[:4] in (b"prof", b"rICC"):
        profile = icc.clean(content[4:])
        return write_box(kind, content[:4] + profile) if profile else write_box(b"free", b"")
    return write_box(kind, content)


def _read_uses(reader: Reader) -> Iterator[tuple[int, tuple[tuple[int, bool], ...]]]:
    """The properties of each item, numbered from 0, from an ipma box; number 0 in the file means none."""
    version, flags = reader.version_and_flags()
    bits = 15 if flags & 1 else 7
    for _ in range(reader.number(4)):
        item = reader.number(4 if version else 2)
        pairs = [divmod(reader.number((bits + 1) // 8), 1 << bits) for _ in range(reader.number(1))]
        yield item, tuple((number - 1, bool(essential)) for essential, number in pairs if number)


def _read_contents(data: bytes, parts: dict[bytes, tuple[int, int]]) -> dict[int, bytes]:
    """The bytes of each item, by the iloc box."""
    reader = Reader(data, *parts[b"iloc"])
    version, _ = reader.version_and_flags()
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    contents = {}
    known: dict[tuple[tuple[int, int], ...], bytes] = {}
    total = 0
    for _ in range(reader.number(4 if version == 2 else 2)):
        item = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version else 0
        if reader.number(2) or method > 1:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: an item lies in another file or item")
        from_, to = (0, len(data)) if method == 0 else parts[b"idat"]
        base = from_ + reader.number(base_size)
        extents = []
        for _ in range(reader.number(2)):
            if version:
                reader.number(index_size)
            start = base + reader.number(offset_size)
            length = reader.number(length_size) or to - start  # 0: up to the end
            if start + length > to:
                raise Quarantine(Reason.TRUNCATED, "heif: an item lies beyond the end")
            extents.append((start, length))
        place = tuple(extents)
        if place not in known:  # several items may be the same data, such as tiles of one colour
            total += sum(length for _, length in place)
            if total > 2 * len(data):
                raise ValueError("items overlap so often that they would fill the memory")
            known[place] = b"".join(data[start : start + length] for start, length in place)
        contents[item] = known[place]
    return contents
