"""AVIF's and HEIF's boxes: which pictures they hold, which way up, and writing them again without metadata.

ISO/IEC 14496-12 (boxes; iloc, iinf, iref, iprp in section 8.11) and ISO/IEC 23008-12 (items, properties, orientation).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs import av1, isobmff_payloads, isobmff_tails
from faceveil.transforms.codecs.isobmff_boxes import Reader, read_boxes, write_box, write_full_box
from faceveil.transforms.codecs.orientation import upright
from faceveil.transforms.quarantine import Quarantine, Reason

_PICTURES = {b"av01", b"hvc1", b"grid", b"iovl", b"iden"}
"""Types of items that are coded as AV1 or HEVC or put together from other items."""

_CODED = {b"av01", b"hvc1"}

_PROPERTIES = {
    *(b"av1C", b"hvcC", b"ispe", b"pixi", b"colr", b"auxC", b"irot", b"imir", b"clap", b"pasp", b"lsel"),
    *(b"a1op", b"a1lx", b"clli", b"mdcv", b"amve", b"cclv"),
}
"""Properties that a decoder needs or that say how the picture looks; descriptions and times go."""

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_TO_PARTS, _AUXILIARY, _PREMULTIPLIED, _THUMBNAIL = b"dimg", b"auxl", b"prem", b"thmb"
_TONE_MAP = b"tmap"  # a second rendering of the same picture, from it and a gain map


@dataclass(frozen=True)
class _Item:
    """A coded or derived picture, or metadata.

    Attributes:
        type: four characters.
        flags: bit 0 marks it as not for display.
        data: its bytes, put together from its extents.
        properties: number in `_Meta.properties` (from 0) and whether it is essential, in order.
    """

    type: bytes
    flags: int
    data: bytes
    properties: tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class _Meta:
    """The items of a file: by number, with the references between them as (type, from, to)."""

    primary: int
    items: dict[int, _Item]
    references: list[tuple[bytes, int, int]]
    properties: list[bytes]


class Facts(NamedTuple):
    """What the boxes say about a file's primary picture.

    Attributes:
        pictures: how many there are to see; thumbnails, tiles, alpha, depth and gain maps do not count.
        orientation: EXIF's number for how rotation and mirroring turn the primary one upright.
        is_deep: whether it is AV1 of more than 8 bits per channel.
    """

    pictures: int
    orientation: int
    is_deep: bool


def facts(data: bytes) -> Facts:
    """Look at the boxes alone, and at the beginning of AV1's data.

    Raises:
        Quarantine: MULTIPLE_FRAMES for a sequence, UNSUPPORTED_IMAGE, CORRUPT_IMAGE or TRUNCATED.
    """
    meta = _read(data)
    needed = _needed(meta)
    for number in needed:
        _check_size(meta, number)
    derived = {number for number, item in meta.items.items() if item.type == _TONE_MAP}
    parts = {to for kind, source, to in meta.references if kind == _TO_PARTS and source not in derived}
    hidden = parts | {source for kind, source, _ in meta.references if kind in (_AUXILIARY, _THUMBNAIL)}
    shown = {
        number
        for number, item in meta.items.items()
        if item.type in _PICTURES and not item.flags & 1 and number not in hidden
    }
    # The AV1 codec configuration box: bit 6 of its third byte is high_bitdepth
    # (https://aomediacodec.github.io/av1-isobmff/, section 2.3.3).
    codings = (box for number in needed for box in _boxes_of(meta, number) if box[4:8] == b"av1C")
    return Facts(len(shown | {meta.primary}), _orientation(meta), any(box[10] & 0x40 for box in codings))


def _check_size(meta: _Meta, number: int) -> None:
    """Refuses an AV1 picture of another size than its file says: libavif would decode it, and resize it to that."""
    item = meta.items[number]
    said = [struct.unpack_from(">II", box, 12) for box in _boxes_of(meta, number) if box[4:8] == b"ispe"]
    if item.type == b"av01" and said:
        try:
            coded = av1.frame_size(item.data)
        except ValueError as error:
            raise Quarantine(Reason.CORRUPT_IMAGE, str(error)) from error
        if coded != said[0]:
            raise Quarantine(Reason.CORRUPT_IMAGE, f"avif: it is said to be {said[0]} px large, but coded as {coded}")


def _orientation(meta: _Meta) -> int:
    stored = turned = np.arange(6).reshape(2, 3)
    for box in _boxes_of(meta, meta.primary):
        if box[4:8] == b"irot":
            turned = np.rot90(turned, box[8] & 3)  # anticlockwise
        elif box[4:8] == b"imir":
            turned = turned[:, ::-1] if box[8] & 1 else turned[::-1]
    return next(number for number in range(1, 9) if np.array_equal(upright(stored, number), turned))


def _boxes_of(meta: _Meta, number: int) -> list[bytes]:
    """The properties of an item."""
    return [meta.properties[property_] for property_, _ in meta.items[number].properties]


def strip(data: bytes, exif: bytes) -> bytes:
    """The primary picture in a file of its own: with its tiles, its alpha and what describes them, coded as it was.

    Names of items, thumbnails, other auxiliary pictures, EXIF, XMP and boxes of other kinds go.

    Args:
        data: the file.
        exif: EXIF to write, a TIFF header first, without the orientation; none if empty.

    Raises:
        Quarantine: as `facts`.
        Unaccounted: there is more in the pictures' items than the pictures.
    """
    meta = _read(data)
    kept = sorted(_needed(meta))
    renumbered = {number: index for index, number in enumerate(kept, 1)}
    clean = {
        place: isobmff_payloads.property_box(meta.properties[place])
        for place in {place for number in kept for place, _ in _kept_properties(meta, number)}
    }
    used = sorted(place for place, box in clean.items() if box)
    places = {property_: index for index, property_ in enumerate(used, 1)}
    infos, associations, contents = [], [], []
    for number in kept:
        item = meta.items[number]
        infos.append(_info(renumbered[number], item.type, item.flags))
        pairs = [(places[place], essential) for place, essential in _kept_properties(meta, number) if clean[place]]
        associations.append((renumbered[number], pairs))
        parts = sum(kind == _TO_PARTS and source == number for kind, source, _ in meta.references)
        boxes = [clean[place] for place, _ in _kept_properties(meta, number)]
        content = isobmff_payloads.item(item.type, item.data, boxes, parts)
        if item.type in _CODED:
            content = isobmff_tails.without_tails(item.type, content, boxes)
        contents.append(content)
    links = [
        (kind, renumbered[source], renumbered[to])
        for kind, source, to in meta.references
        if kind in (_TO_PARTS, _AUXILIARY, _PREMULTIPLIED) and source in renumbered and to in renumbered
    ]
    if exif:
        infos.append(_info(len(kept) + 1, b"Exif", 1))
        contents.append(bytes(4) + exif)  # four bytes say where the TIFF header begins
        links.append((b"cdsc", len(kept) + 1, renumbered[meta.primary]))

    def meta_box(start: int) -> bytes:
        return write_full_box(
            b"meta",
            b"".join(
                (
                    write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
                    write_full_box(b"pitm", struct.pack(">H", renumbered[meta.primary])),
                    _locations(contents, start),
                    write_full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos)),
                    write_full_box(b"iref", _links(links)) if links else b"",
                    write_box(
                        b"iprp",
                        write_box(b"ipco", b"".join(clean[number] for number in used)) + _uses(associations),
                    ),
                )
            ),
        )

    name, start, end = next(read_boxes(data, 0, len(data)))
    file_type = write_box(name, isobmff_payloads.file_type(data[start:end]))
    content_at = len(file_type) + len(meta_box(0)) + 8
    return file_type + meta_box(content_at) + write_box(b"mdat", b"".join(contents))


def copy_colours(source: bytes, target: bytes) -> bytes:
    """The target with the source's colour primaries and transfer function, where both files name some.

    Encoders that are not told them write sRGB's. How colours are coded (matrix and range) stays the target's.
    """
    source_box, target_box = _coding_of_colours(source), _coding_of_colours(target)
    if not source_box or not target_box:
        return target
    # A colr box: size, name, kind; primaries, transfer function, matrix (two bytes each); range.
    return target.replace(target_box, target_box[:12] + source_box[12:16] + target_box[16:], 1)


def _coding_of_colours(data: bytes) -> bytes:
    """The primary picture's colr box of the kind nclx; empty if there is none."""
    meta = _read(data)
    return next((box for box in _boxes_of(meta, meta.primary) if box[4:12] == b"colrnclx"), b"")


def _needed(meta: _Meta) -> set[int]:
    """The primary picture, what it is put together from, and their alpha."""
    following: defaultdict[int, list[int]] = defaultdict(list)
    for reference, source, to in meta.references:
        if reference == _TO_PARTS:
            following[source].append(to)
        elif reference == _AUXILIARY and _is_alpha(meta, source):
            following[to].append(source)
    needed: set[int] = set()
    more = [meta.primary]
    while more:
        number = more.pop()
        if number not in needed:
            needed.add(number)
            more += following[number]
    for number in needed:
        if number not in meta.items or meta.items[number].type not in _PICTURES:
            kind = meta.items[number].type.decode("latin-1") if number in meta.items else "missing"
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, f"heif: the picture is, or is made from, an item of type {kind}")
    return needed


def _is_alpha(meta: _Meta, number: int) -> bool:
    boxes = _boxes_of(meta, number) if number in meta.items else []
    return any(box[4:8] == b"auxC" and box[12:].startswith(_ALPHA) for box in boxes)


def _kept_properties(meta: _Meta, number: int) -> list[tuple[int, bool]]:
    pairs = [pair for pair in meta.items[number].properties if meta.properties[pair[0]][4:8] in _PROPERTIES]
    return isobmff_payloads.first_of_each(pairs, meta.properties)


def _read(data: bytes) -> _Meta:
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


def _parse(data: bytes, parts: dict[bytes, tuple[int, int]]) -> _Meta:
    at, _ = parts[b"pitm"]
    primary = int.from_bytes(data[at + 4 : at + (6 if data[at] == 0 else 8)], "big")
    properties: list[bytes] = []
    associations: dict[int, tuple[tuple[int, bool], ...]] = {}
    for name, start, end in read_boxes(data, *parts[b"iprp"]):
        if name == b"ipco":
            properties = [write_box(kind, data[begin:stop]) for kind, begin, stop in read_boxes(data, start, end)]
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
        items[number] = _Item(kind, flags, contents.get(number, b""), associations.get(number, ()))
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
    return _Meta(primary, items, references, properties)


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
            total += length
            if total > 2 * len(data):
                raise ValueError("items overlap so often that they would fill the memory")
            extents.append(data[start : start + length])
        contents[item] = b"".join(extents)
    return contents


def _info(number: int, kind: bytes, flags: int) -> bytes:
    return write_full_box(b"infe", struct.pack(">HH", number, 0) + kind + b"\0", version=2, flags=flags & 1)


def _locations(contents: list[bytes], start: int) -> bytes:
    parts = [struct.pack(">HH", 0x4400, len(contents))]  # offsets and lengths of four bytes, no base
    for number, content in enumerate(contents, 1):
        parts.append(struct.pack(">HHHII", number, 0, 1, start, len(content)))
        start += len(content)
    return write_full_box(b"iloc", b"".join(parts))


def _links(links: list[tuple[bytes, int, int]]) -> bytes:
    """One box for all references of one kind from one item."""
    targets: dict[tuple[bytes, int], list[int]] = {}
    for kind, source, to in links:
        targets.setdefault((kind, source), []).append(to)
    return b"".join(
        write_box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for (kind, source), to in targets.items()
    )


def _uses(associations: list[tuple[int, list[tuple[int, bool]]]]) -> bytes:
    wide = any(place > 127 for _, pairs in associations for place, _ in pairs)
    content = struct.pack(">I", len(associations))
    for number, pairs in associations:
        content += struct.pack(">HB", number, len(pairs))
        for place, essential in pairs:
            content += struct.pack(">H", essential << 15 | place) if wide else bytes((essential << 7 | place,))
    return write_full_box(b"ipma", content, flags=int(wide))
